"""The dead letters, as a Django app."""

from django.apps import AppConfig


class DlqConfig(AppConfig):
    """What failed, and what to do about it."""

    name = "dlq"
    verbose_name = "Dead letters"
