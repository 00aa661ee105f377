"""Schedules in Django's admin."""

from scheduler.admin.schedules import ScheduleAdmin

__all__ = ["ScheduleAdmin"]
