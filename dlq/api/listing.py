"""One page of the letters: what is asked for, which they are, where the next page begins."""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from django.db.models import QuerySet

from dlq.api import rules
from dlq.api.rules import FILTERS, rule
from dlq.models import DeadLetter
from dlq.replay import LOOKUPS
from notifications import events
from notifications.api.query import DEFAULT_LIMIT, LIMIT_BOUND, Bounds, asked

STATUSES: Final = {label: value for value, label in DeadLetter.Status.choices}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Place(NamedTuple):
    """A letter's place in the order of the list, newest last failure first."""

    failed_at: datetime
    letter_id: UUID


class Page(NamedTuple):
    """The letters of a page, and the cursor of the next one; None on the last."""

    letters: list[DeadLetter]
    following: str | None


def page(parameters: Mapping[str, str]) -> Page:
    """The page that a query asks for. Raises Invalid with every broken rule."""
    query = asked(parameters, BOUNDS)
    limit = int(query.get("limit", DEFAULT_LIMIT))
    found = list(_chosen(query)[: limit + 1])
    shown = found[:limit]
    return Page(shown, cursor(shown[-1]) if len(found) > limit else None)


def cursor(letter: DeadLetter) -> str:
    """Where a page ends. Opaque to clients, so that what it holds may change."""
    microseconds = (letter.last_failed_at - EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{microseconds}.{letter.pk}".encode()).decode().rstrip("=")


def _chosen(query: Mapping[str, str]) -> QuerySet[DeadLetter]:
    given = {LOOKUPS[name]: _value(name, query[name]) for name in FILTERS.keys() & query.keys()}
    letters = DeadLetter.objects.filter(**given)
    if "replay" in query:
        letters = letters.filter(replay=UUID(query["replay"]))
    if "status" in query:
        letters = letters.filter(status=STATUSES[query["status"]])
    if "cursor" in query and (place := _place(query["cursor"])):
        # The first condition alone makes the index begin where the page does.
        letters = letters.filter(last_failed_at__lte=place.failed_at).exclude(
            last_failed_at=place.failed_at, pk__gte=place.letter_id
        )
    return letters.order_by("-last_failed_at", "-pk")


def _value(name: str, text: str) -> object:
    # PostgreSQL knows no zone that is more than sixteen hours from UTC.
    return rules.since(text) if name in {"since", "until"} else msgspec.convert(text, FILTERS[name])


def _place(text: str) -> Place | None:
    try:
        microseconds, _, letter_id = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(".")
        return Place(EPOCH + timedelta(microseconds=int(microseconds)), UUID(letter_id))
    except (ValueError, binascii.Error, OverflowError):
        return None


# What each parameter takes, as a sentence and as a check.
BOUNDS: Final[Bounds] = {
    **{name: (rule(kind), partial(events.fits, kind=kind)) for name, kind in FILTERS.items()},
    "since": (rule(rules.Since), rules.is_since),
    "until": (rule(rules.Since), rules.is_since),
    "replay": (rule(rules.Order), partial(events.fits, kind=rules.Order)),
    "status": (f"must be one of: {', '.join(STATUSES)}", STATUSES.__contains__),
    "limit": LIMIT_BOUND,
    "cursor": ("must be the 'next' of an earlier page", lambda value: _place(value) is not None),
}
