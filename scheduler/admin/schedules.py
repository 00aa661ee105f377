"""Schedules in Django's admin: the list.

Made for a table of a million, of which a page takes milliseconds; only a filter that few of them pass reads it all.
"""
# ruff: noqa: ARG002 - Django's signatures

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from redis.exceptions import RedisError

from notifications.admin.pages import View
from scheduler import door
from scheduler.admin import words
from scheduler.admin.listing import RunsFilter, ScheduleList, StatusFilter, as_id, search
from scheduler.admin.making import Making
from scheduler.admin.pages import LIST, ONE, to
from scheduler.admin.single import SingleSchedules
from scheduler.exceptions import Unknown
from scheduler.models import Schedule

FILTERS = (StatusFilter, RunsFilter)


@admin.register(Schedule)
class ScheduleAdmin(Making, SingleSchedules):
    """The newest first, each as it is now."""

    list_display = ["shown_title", "kind", "state", "when", "next_run", "last_run", "how_often"]
    list_filter = FILTERS
    list_per_page = 50
    ordering = ["-id"]  # UUIDv7: by when they were made, along the primary key
    # Only so that there is a search field: see listing.search.
    search_fields = ["=recipient"]
    search_help_text = "A recipient, or how it begins; or an id."
    show_facets = admin.ShowFacets.NEVER
    change_list_template = "admin/scheduler/schedule/list.html"

    def get_urls(self) -> list[URLPattern]:
        """Ours only: Django's own would write rows."""
        pages: dict[str, tuple[str, View]] = {
            "": (LIST, self.changelist_view),
            "add/": ("add", self.add_view),
            "<uuid:schedule_id>/change/": (ONE, self.look),
            "<uuid:schedule_id>/edit/": ("edit", self.edit),
            "<uuid:schedule_id>/cancel/": ("cancel", self.cancel),
            "<uuid:schedule_id>/run/": ("run", self.run_now),
        }
        return [
            path(route, self.wrap(view), name=f"scheduler_schedule_{name}") for route, (name, view) in pages.items()
        ]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """The filters, and nothing by a hand-written address."""
        return lookup in {kind.parameter_name for kind in FILTERS}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ANN401
        """Ours."""
        return ScheduleList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By index only."""
        return search(queryset, search_term.strip()), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
        """The list; of an id that no row has yet, its page."""
        schedule_id = as_id(request.GET.get(SEARCH_VAR, "").strip())
        if schedule_id and self.has_view_permission(request) and _is_no_row_yet(schedule_id):
            return to(ONE, schedule_id)
        return super().changelist_view(request, {"title": "Schedules", **(extra_context or {})})

    @admin.display(description="title and recipient")
    def shown_title(self, row: Any) -> SafeString:  # noqa: ANN401 - a row of ScheduleList, here and below
        """Whose writing directions are their own business."""
        event = row.now.event
        return format_html("<bdi>{}</bdi><small>→ <bdi>{}</bdi></small>", event.title, event.recipient)

    @admin.display(description="type")
    def kind(self, row: Any) -> str:  # noqa: ANN401
        """The event's."""
        return str(row.now.event.type)

    @admin.display(description="status")
    def state(self, row: Any) -> SafeString:  # noqa: ANN401
        """Whether it waits."""
        return format_html('<span class="dlq-state {}">{}</span>', row.now.status, row.now.status)

    @admin.display(description="when")
    def when(self, row: Any) -> str:  # noqa: ANN401
        """As it was asked for."""
        return words.when(row.now)

    @admin.display(description="next run (UTC)")
    def next_run(self, row: Any) -> SafeString | None:  # noqa: ANN401
        """And by its own clock, where that is another."""
        due_ms = row.now.due_ms
        if due_ms is None:
            return None
        # Its zone is named beside it.
        local = words.local(row.now, due_ms).rpartition(" ")[0]
        return _two_lines(due_ms, f"{local} local" if local else "")

    @admin.display(description="last run (UTC)")
    def last_run(self, row: Any) -> SafeString | None:  # noqa: ANN401
        """And how long ago that was."""
        last_ms = row.now.about.last_run_ms
        return None if last_ms is None else _two_lines(last_ms, words.distance(last_ms))

    @admin.display(description="runs")
    def how_often(self, row: Any) -> str:  # noqa: ANN401
        """So far."""
        return f"{row.now.about.runs:,}"


def _is_no_row_yet(schedule_id: UUID) -> bool:
    try:
        return not Schedule.objects.filter(pk=schedule_id).exists() and bool(door.look(schedule_id))
    except (Unknown, RedisError):
        return False


def _two_lines(unix_ms: int, below: str) -> SafeString:
    first = words.moment_ms(unix_ms).removesuffix(" UTC")
    return format_html("{}<small>{}</small>", first, below) if below else format_html("{}", first)
