"""One event's life: wherever it is now, from the stream to the table."""

from uuid import UUID

from django.db import DatabaseError

from notifications import events, representation, wiring
from notifications.models import Notification
from notifications.stream import states


def life(event_id: UUID) -> dict[str, object] | None:
    """A notification and its life, as JSON-ready fields; None when it was never accepted.

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
    if row is not None:
        return representation.life_of_row(row)
    return in_flight and representation.life_of_event(events.decode(in_flight.payload), in_flight)
