"""One event's life: wherever it is now, from the stream to the table, or in an app that took it over."""

from collections.abc import Callable, Collection
from functools import cache
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.utils.module_loading import import_string

from notifications import representation, wiring
from notifications.events import FailedAttempt
from notifications.models import Attempt, Notification
from notifications.stream import states


def life(event_id: UUID, of: str | None = None) -> dict[str, object] | None:
    """A notification and its life, as JSON-ready fields; None when it was never accepted.

    `of` a recipient: None, too, where it is another's, and the other places are asked all the same: so the time that
    it takes hardly tells.

    Redis is asked first: an event leaves its in-flight state only after its row is committed, so one that is not found
    there is a row, or nothing. A row that is there wins: the event is stored, if not settled yet. An event that is
    still in flight is told without PostgreSQL, should that be down.
    """
    in_flight = states.in_flight(wiring.shards(), str(event_id))
    try:
        row = Notification.objects.filter(pk=event_id).first()
    except DatabaseError:
        if in_flight is None:
            raise
        row = None
    if row is not None and (of is None or of == row.recipient):
        return representation.life_of_row(row)
    if in_flight is not None:
        waiting = representation.life_of_event(in_flight)
        if of is None or (waiting is not None and of == waiting["recipient"]):
            return waiting
    lives = (found for look in _elsewhere() if (found := look(event_id)) is not None)
    return next((found for found in lives if of is None or of == found["recipient"]), None)


def failures(event_id: UUID) -> list[FailedAttempt]:
    """The attempts that failed before an event was stored, oldest first; none where it is no row."""
    return [
        FailedAttempt(
            at_ms=round(attempt.at.timestamp() * 1000),
            attempt=attempt.number,
            error=attempt.error,
            delay_ms=attempt.delay_ms,
            life=attempt.life,
        )
        for attempt in Attempt.objects.filter(notification_id=event_id)
    ]


def dead_of(source_ids: Collection[UUID]) -> dict[UUID, int]:
    """How many events of each source (a bulk job) were given up, by the app that keeps them."""
    return _dead_counted_by()(source_ids)


@cache
def _dead_counted_by() -> Callable[[Collection[UUID]], dict[UUID, int]]:
    counter: Callable[[Collection[UUID]], dict[UUID, int]] = import_string(settings.NOTIFY_DEAD_COUNTED_BY)
    return counter


@cache
def _elsewhere() -> list[Callable[[UUID], dict[str, object] | None]]:
    """Apps that stand on the core keep lives, too, and the core knows none of them: the settings name their looks."""
    return [import_string(path) for path in settings.NOTIFY_LIVES_ELSEWHERE]
