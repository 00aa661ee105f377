"""Every address."""

import sys
from typing import Final

import structlog
from django.contrib import admin
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.defaults import page_not_found
from django.views.defaults import server_error as server_error_page
from django.views.generic import RedirectView
from redis.exceptions import RedisError

from notifications.api import health, problems
from notify_project import views
from notify_project.dashboard import stats
from notify_project.metrics import views as metrics_views

log = structlog.get_logger("notify.web")

admin.autodiscover()

OUTAGES: Final = (OperationalError, InterfaceError, RedisError)

urlpatterns = [
    # First, as it is asked for most.
    path("api/notify", include("notifications.api.accepting_urls")),
    path("", views.flow, name="flow"),
    path("lives/", views.lives, name="lives"),
    path("inbox/", views.inbox, name="inbox"),
    path("dead-letters/", views.dead_letters, name="dead-letters"),
    path("processes/", views.processes, name="processes"),
    path("dashboard/", include("notify_project.dashboard.urls")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics_views.metrics, name="metrics"),
    path("api/docs/", views.api_docs, name="api-docs"),
    path("api/stats", stats.Stats.as_view(), name="stats"),
    path("api/", include("dlq.api.urls")),
    path("api/", include("scheduler.api.urls")),
    path("api/", include("bulk.api.urls")),
    path("api/", include("notifications.api.urls")),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
]


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A problem for programs, a page for people."""
    if request.path.startswith("/api/"):
        return problems.not_found(request)
    return page_not_found(request, exception)


def handler500(request: HttpRequest) -> HttpResponse:
    """A problem for programs, a page for people, and a line in the log, which Django's own keeps no word of."""
    error = sys.exc_info()[1]
    if isinstance(error, OUTAGES):
        server = "Redis" if isinstance(error, RedisError) else "PostgreSQL"
        problems.unavailable[server].warn(server=server, path=request.path, error=repr(error))
    else:
        log.error("web.failed", path=request.path, exc_info=error)
    return problems.server_error(request) if request.path.startswith("/api/") else server_error_page(request)
