"""Everything under /api/."""

from django.urls import path, re_path

from notifications.api import accepting, problems, reading, recipients

urlpatterns = [
    path("notify", accepting.NotifyOne.as_view(), name="notify"),
    path("notify/batch", accepting.NotifyBatch.as_view(), name="notify-batch"),
    path("notifications", reading.Notifications.as_view(), name="notifications"),
    path("notifications/<uuid:event_id>", reading.OneNotification.as_view(), name="notification"),
    path("recipients/<path:recipient>/unread", reading.Unread.as_view(), name="unread"),
    path("recipients/<path:recipient>/read", recipients.MarkRead.as_view(), name="read"),
    path("recipients/<path:recipient>/token", recipients.Token.as_view(), name="token"),
    re_path(r"^", problems.not_found),
]
