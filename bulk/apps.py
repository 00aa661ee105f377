"""Bulk jobs, as a Django app."""

from django.apps import AppConfig


class BulkConfig(AppConfig):
    """One notification to many recipients."""

    name = "bulk"
    verbose_name = "Bulk"
