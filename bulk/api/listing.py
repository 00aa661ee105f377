"""One page of the bulk jobs: what is asked for, which they are, where the next page begins."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from bulk.models import BulkJob, visible
from notifications import events
from notifications.api.query import CURSOR_BOUND, LIMIT_BOUND, Bounds, Page, asked, page_of
from notifications.events import TYPE_RULE, EventType

RECEIVING: Final = BulkJob.Status.RECEIVING
STATUSES: Final = {label: value for value, label in BulkJob.Status.choices if value != RECEIVING}


def page(parameters: Mapping[str, str]) -> Page[BulkJob]:
    """The page that a query asks for, newest first. Raises Invalid with every broken rule."""
    query = asked(parameters, BOUNDS)
    rows = visible()
    if "type" in query:
        rows = rows.filter(type=query["type"])
    if "status" in query:
        rows = rows.filter(status=STATUSES[query["status"]])
    return page_of(rows, query)


# What each parameter takes, as a sentence and as a check.
BOUNDS: Final[Bounds] = {
    "type": (TYPE_RULE, partial(events.fits, kind=EventType)),
    "status": (f"must be one of: {', '.join(STATUSES)}", STATUSES.__contains__),
    "limit": LIMIT_BOUND,
    "cursor": CURSOR_BOUND,
}
