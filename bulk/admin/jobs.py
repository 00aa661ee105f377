"""Bulk jobs in Django's admin: the list, whose bars move while somebody looks."""
# ruff: noqa: ARG002 - Django's signatures

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from bulk.admin import words
from bulk.admin.listing import JobList, StatusFilter, search
from bulk.admin.pages import LIST, ONE, TEMPLATES
from bulk.admin.single import SingleJobs
from bulk.models import BulkJob
from notifications.admin.pages import View

CHANGING = '<span data-job="{}" data-shows="{}">{}</span>'


@admin.register(BulkJob)
class BulkJobAdmin(SingleJobs):
    """The newest first. Nobody adds one here: a list comes over the API or from the command line."""

    list_display = ["shown_title", "state", "progress", "failed_ones", "speed", "left", "made"]
    list_filter = (StatusFilter,)
    list_per_page = 50
    ordering = ["-id"]  # UUIDv7: by when they were made, along the primary key
    # Only so that there is a search field: see listing.search.
    search_fields = ["=type"]
    search_help_text = "An id, a type, or words in the title."
    show_facets = admin.ShowFacets.NEVER
    change_list_template = f"{TEMPLATES}/list.html"

    def get_urls(self) -> list[URLPattern]:
        """Ours only: Django's own would write rows."""
        pages: dict[str, tuple[str, View]] = {
            "": (LIST, self.changelist_view),
            "<uuid:job_id>/change/": (ONE, self.look),
            "<uuid:job_id>/pause/": ("pause", self.pause),
            "<uuid:job_id>/resume/": ("resume", self.resume),
            "<uuid:job_id>/rate/": ("rate", self.set_rate),
            "<uuid:job_id>/cancel/": ("cancel", self.cancel),
        }
        return [path(route, self.wrap(view), name=f"bulk_bulkjob_{name}") for route, (name, view) in pages.items()]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """The filter, and nothing by a hand-written address."""
        return lookup == StatusFilter.parameter_name

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Those whose lists are all here, without what may be large."""
        shown: QuerySet[Any] = super().get_queryset(request).exclude(status=BulkJob.Status.RECEIVING)
        return shown.defer("payload", "answer")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ANN401
        """Ours."""
        return JobList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """See listing.search."""
        return search(queryset, search_term.strip()), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
        """The list."""
        return super().changelist_view(request, {"title": "Bulk jobs", **(extra_context or {})})

    @admin.display(description="title and type")
    def shown_title(self, row: Any) -> SafeString:  # noqa: ANN401 - a row of JobList, here and below
        """Whose writing direction is its own business."""
        return format_html("<bdi>{}</bdi><small>{}</small>", row.title, row.type)

    @admin.display(description="status")
    def state(self, row: Any) -> SafeString:  # noqa: ANN401
        """What it is at."""
        status = row.told["status"]
        shown = '<span class="dlq-state {}" data-job="{}" data-shows="status">{}</span>'
        return format_html(shown, status, row.pk, status)

    @admin.display(description="progress")
    def progress(self, row: Any) -> str:  # noqa: ANN401
        """As a bar and in numbers."""
        return render_to_string(f"{TEMPLATES}/row.html", {"told": row.told})

    @admin.display(description="failed")
    def failed_ones(self, row: Any) -> SafeString:  # noqa: ANN401
        """How many are dead letters."""
        return _changing(row, "failed")

    @admin.display(description="rate")
    def speed(self, row: Any) -> SafeString:  # noqa: ANN401
        """As measured; below it, the limit."""
        limit = format_html("<small>of {}</small>", row.rate_limit) if row.rate_limit else ""
        return format_html("{}{}", _changing(row, "rate"), limit)

    @admin.display(description="time left")
    def left(self, row: Any) -> SafeString:  # noqa: ANN401
        """At this rate."""
        return _changing(row, "eta")

    @admin.display(description="made (UTC)")
    def made(self, row: Any) -> SafeString:  # noqa: ANN401
        """When, and by whom."""
        at = words.moment(row.created_at).removesuffix(" UTC")
        return format_html("{}<small>by <bdi>{}</bdi></small>", at, row.created_by)


def _changing(row: Any, name: str) -> SafeString:  # noqa: ANN401
    return format_html(CHANGING, row.pk, name, row.told[name])
