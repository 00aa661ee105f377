"""One event's life: wherever it is now, from the stream to the table."""

from uuid import UUID

from django.db import DatabaseError

from notifications import events, representation, wiring
from notifications.exceptions import Invalid
from notifications.models import Notification
from notifications.stream import keys
from notifications.stream.keys import Lane


def life(event_id: UUID) -> dict[str, object] | None:
    """A notification and its life, as JSON-ready fields; None when it was never accepted.

    Redis is asked first: an event leaves its in-flight state only after its row is committed, so one that is not
    found there is a row, or nothing. A row that is there wins: the event is stored, if not settled yet. An event
    that is still in flight is told without PostgreSQL, should that be down.
    """
    text = str(event_id)
    in_flight = _in_flight(text)
    try:
        row = Notification.objects.filter(pk=event_id).first()
    except DatabaseError:
        if in_flight is None:
            raise
        row = None
    return representation.life_of_row(row) if row else in_flight


def _in_flight(event_id: str) -> dict[str, object] | None:
    shards = wiring.shards()
    shard = shards.of_id(event_id)
    state = shards.client.hget(keys.inflight(shard), event_id)
    if not state:
        return None
    status, place, entry_id = state.decode().split(" ")
    stream = keys.dead_letters(shard) if place == "dlq" else keys.lane(shard, _lane(place))
    entries = shards.client.xrange(stream, entry_id, entry_id)
    if not entries:
        return None
    fields = entries[0][1]
    try:
        event = events.decode(fields[b"event"])
    except Invalid:
        return None
    shown = representation.life_of_event(event, status)
    if status == "dead":
        shown["last_error"] = fields[b"error"].decode()
        shown["attempts"] = int(fields[b"attempts"])
    return shown


def _lane(name: str) -> Lane:
    return "bulk" if name == "bulk" else "live"
