"""The core in Django's admin."""

from django.contrib import admin

from notifications.admin.api_keys import ApiKeyAdmin
from notifications.admin.inboxes import InboxAdmin, NotificationAdmin

__all__ = ["ApiKeyAdmin", "InboxAdmin", "NotificationAdmin"]

admin.site.site_header = "Notify"
admin.site.site_title = "Notify"
admin.site.index_title = "Administration"
