"""Everything under /api/."""

from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from notifications.api import privacy, problems, reading, recipients
from notifications.api.schema import document

urlpatterns = [
    path("notifications", reading.Notifications.as_view(), name="notifications"),
    path("notifications/<uuid:event_id>", reading.OneNotification.as_view(), name="notification"),
    path("recipients/<path:recipient>/unread", reading.Unread.as_view(), name="unread"),
    path("recipients/<path:recipient>/read", recipients.MarkRead.as_view(), name="read"),
    path("recipients/<path:recipient>/token", recipients.Token.as_view(), name="token"),
    path("recipients/<path:recipient>/export", privacy.Export.as_view(), name="export"),
    path("recipients/<path:recipient>", privacy.OneRecipient.as_view(), name="recipient"),
    path("schema/", document.Document.as_view(), name="schema"),
    # A program that mistyped an address is told so, and not that its form was too old.
    re_path(r"^", csrf_exempt(problems.not_found)),
]
