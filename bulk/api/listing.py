"""One page of the bulk jobs: what is asked for, which they are, where the next page begins."""

from collections.abc import Mapping
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from bulk.models import BulkJob
from notifications import events
from notifications.api.query import DEFAULT_LIMIT, LIMIT_BOUND, Bounds, asked
from notifications.events import TYPE_RULE, EventType

RECEIVING: Final = BulkJob.Status.RECEIVING
STATUSES: Final = {label: value for value, label in BulkJob.Status.choices if value != RECEIVING}


class Page(NamedTuple):
    """The rows of a page, and the cursor of the next one; None on the last."""

    rows: list[BulkJob]
    following: str | None


def jobs() -> QuerySet[BulkJob]:
    """Every job whose list is all here."""
    return BulkJob.objects.exclude(status=RECEIVING)


def page(parameters: Mapping[str, str]) -> Page:
    """The page that a query asks for, newest first. Raises Invalid with every broken rule."""
    query = asked(parameters, BOUNDS)
    limit = int(query.get("limit", DEFAULT_LIMIT))
    rows = jobs()
    if "type" in query:
        rows = rows.filter(type=query["type"])
    if "status" in query:
        rows = rows.filter(status=STATUSES[query["status"]])
    if "cursor" in query:
        rows = rows.filter(pk__lt=UUID(query["cursor"]))
    found = list(rows.order_by("-pk")[: limit + 1])
    shown = found[:limit]
    return Page(shown, str(shown[-1].pk) if len(found) > limit else None)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


# What each parameter takes, as a sentence and as a check.
BOUNDS: Final[Bounds] = {
    "type": (TYPE_RULE, partial(events.fits, kind=EventType)),
    "status": (f"must be one of: {', '.join(STATUSES)}", STATUSES.__contains__),
    "limit": LIMIT_BOUND,
    "cursor": ("must be the 'next' of an earlier page", _is_id),
}
