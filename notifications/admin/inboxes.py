"""Inboxes and notifications in Django's admin: looked at, never changed.

Made for tables of any size: every query walks an index and stops early.
"""
# ruff: noqa: ARG002 - Django's signatures

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from notifications import events, representation
from notifications.models import Inbox, Notification

if TYPE_CHECKING:
    # Django's classes take type parameters for the type checker only.
    AnyModelAdmin = admin.ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:
    AnyModelAdmin = admin.ModelAdmin
    AnyPaginator = Paginator

MOST_LISTED: Final = 10_000


class BoundedPaginator(AnyPaginator):
    """Counts no further than it lists: the whole table is not looked at to show its newest page."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, or MOST_LISTED."""
        rows: Any = self.object_list
        found: int = rows.order_by().values("pk")[:MOST_LISTED].count()
        return found


class Discreet(AnyModelAdmin):
    """Who lacks the permission learns nothing of what exists: Django looks for an object first to show its history."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What was done to an object in the admin."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return super().history_view(request, object_id, extra_context)


class LookOnly(Discreet):
    """Nobody adds, changes or deletes: what is accepted goes through the pipeline, or not at all."""

    actions = None
    paginator = BoundedPaginator
    show_full_result_count = False
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """None by a hand-written address: `?body__contains=` would read the whole table."""
        return False


@admin.register(Notification)
class NotificationAdmin(LookOnly):
    """The newest first; others by their recipient or their id."""

    list_display = ["shown_title", "of", "seq", "type", "accepted", "stored", "read", "source"]
    ordering = ["-id"]  # UUIDv7: by time of acceptance, along the primary key
    search_fields = ["=recipient"]
    search_help_text = f"A recipient or an id, exactly. Without, the newest {MOST_LISTED:,} are listed."
    fields = (
        *("id", "of", "seq", "type", "shown_title", "shown_body", "shown_data"),
        *("accepted", "stored", "read", "attempts", "source", "source_id"),
    )
    readonly_fields = fields

    class Media:
        css = {"all": ["notify/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without what only the detail page shows, which may be 20 KiB a row."""
        return super().get_queryset(request).defer("body", "data")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By index only: the id, or else the recipient's inbox in its own order."""
        if not search_term:
            return queryset, False
        event_id = _uuid(search_term)
        by_id = queryset.filter(pk=event_id) if event_id else queryset.none()
        # A recipient's name may look like an id.
        return by_id if by_id.exists() else queryset.filter(recipient=search_term).order_by("-seq"), False

    @admin.display(description="title")
    def shown_title(self, row: Notification) -> SafeString:
        """Its writing direction is its own business."""
        return format_html("<bdi>{}</bdi>", row.title)

    @admin.display(description="recipient")
    def of(self, row: Notification) -> SafeString:
        """Whose it is."""
        return format_html("<bdi>{}</bdi>", row.recipient)

    @admin.display(description="body")
    def shown_body(self, row: Notification) -> SafeString:
        """With its lines as they were sent."""
        return format_html('<div class="notify-text" dir="auto">{}</div>', row.body)

    @admin.display(description="data")
    def shown_data(self, row: Notification) -> SafeString:
        """Readable."""
        return format_html('<pre class="notify-text">{}</pre>', json.dumps(row.data, indent=2, ensure_ascii=False))

    @admin.display(description="accepted (UTC)")
    def accepted(self, row: Notification) -> str:
        """When its producer was told 202."""
        return representation.timestamp_ms(events.accepted_ms(str(row.pk)))

    @admin.display(description="stored (UTC)")
    def stored(self, row: Notification) -> str:
        """When it came into the inbox."""
        return representation.timestamp(row.stored_at)

    @admin.display(description="read (UTC)")
    def read(self, row: Notification) -> str:
        """When it was read."""
        return representation.timestamp(row.read_at) if row.read_at else "unread"


@admin.register(Inbox)
class InboxAdmin(LookOnly):
    """One recipient's counts."""

    list_display = ["recipient", "unread", "seq"]
    ordering = ["recipient"]
    fields = ["recipient", "unread", "seq", "version"]
    search_fields = ["=recipient"]
    search_help_text = "A recipient, exactly."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The one with that primary key."""
        return queryset.filter(pk=search_term) if search_term else queryset, False


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
