"""Time, as a Django app."""

from django.apps import AppConfig


class SchedulerConfig(AppConfig):
    """Fires what is due."""

    name = "scheduler"
    verbose_name = "Scheduler"
