"""Everything under /api/bulk."""

from django.urls import path

from bulk.api import views

urlpatterns = [
    path("bulk", views.Jobs.as_view(), name="bulk-jobs"),
    path("bulk/<uuid:job_id>", views.OneJob.as_view(), name="bulk-job"),
    path("bulk/<uuid:job_id>/pause", views.Pause.as_view(), name="bulk-job-pause"),
    path("bulk/<uuid:job_id>/resume", views.Resume.as_view(), name="bulk-job-resume"),
    path("bulk/<uuid:job_id>/cancel", views.Cancel.as_view(), name="bulk-job-cancel"),
]
