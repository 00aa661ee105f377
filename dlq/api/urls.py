"""Everything under /api/dlq."""

from django.urls import path

from dlq.api import views

urlpatterns = [
    path("dlq", views.Letters.as_view(), name="dlq"),
    path("dlq/replay", views.ReplayMany.as_view(), name="dead-letters-replay"),
    path("dlq/<uuid:letter_id>", views.OneLetter.as_view(), name="dead-letter"),
    path("dlq/<uuid:letter_id>/replay", views.ReplayOne.as_view(), name="dead-letter-replay"),
]
