"""Everything under /api/notify."""

from django.urls import path

from notifications.api import accepting

urlpatterns = [
    path("", accepting.NotifyOne.as_view(), name=accepting.ONE.name),
    path("/batch", accepting.NotifyBatch.as_view(), name=accepting.BATCH.name),
]
