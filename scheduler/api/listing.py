"""One page of the schedules: what is asked for, which they are, where the next page begins."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from notifications import events
from notifications.api.query import CURSOR_BOUND, LIMIT_BOUND, Bounds, Page, asked, page_of
from notifications.events import RECIPIENT_RULE, TYPE_RULE, EventType, Recipient
from scheduler.models import Schedule

STATUSES: Final = {label: value for value, label in Schedule.Status.choices}


def page(parameters: Mapping[str, str]) -> Page[Schedule]:
    """The page that a query asks for, newest first. Raises Invalid with every broken rule."""
    query = asked(parameters, BOUNDS)
    rows = Schedule.objects.filter(**{name: query[name] for name in ("recipient", "type") if name in query})
    if "status" in query:
        rows = rows.filter(status=STATUSES[query["status"]])
    return page_of(rows, query)


# What each parameter takes, as a sentence and as a check.
BOUNDS: Final[Bounds] = {
    "recipient": (RECIPIENT_RULE, partial(events.fits, kind=Recipient)),
    "type": (TYPE_RULE, partial(events.fits, kind=EventType)),
    "status": (f"must be one of: {', '.join(STATUSES)}", STATUSES.__contains__),
    "limit": LIMIT_BOUND,
    "cursor": CURSOR_BOUND,
}
