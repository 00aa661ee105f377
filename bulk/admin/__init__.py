"""Bulk jobs in Django's admin."""

from bulk.admin.jobs import BulkJobAdmin

__all__ = ["BulkJobAdmin"]
