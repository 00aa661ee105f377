"""Everything under /api/schedule."""

from django.urls import path

from scheduler.api import views

urlpatterns = [
    path("schedule", views.Schedules.as_view(), name="schedules"),
    path("schedule/<uuid:schedule_id>", views.OneSchedule.as_view(), name="schedule"),
    path("schedule/<uuid:schedule_id>/run", views.RunNow.as_view(), name="schedule-run"),
]
