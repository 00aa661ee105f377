"""The core as a Django app."""

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """Events in, notifications out."""

    name = "notifications"
    verbose_name = "Notifications"
