"""Where an accepted event is, as long as it is no row: the look behind `status`."""

from typing import Any, Final, NamedTuple

from notifications.stream import keys
from notifications.stream.client import Shards

# An event that moves on between the two looks is looked for again; it does not move often in a millisecond.
LOOKS: Final = 5


class InFlight(NamedTuple):
    """An event that waits or is dead: `status` (`scheduled`, `cancelled`, `queued`, `retrying`, `dead`), its payload,
    its error, its attempts, and, where it waits for its time, that time in Unix ms."""

    status: str
    payload: bytes
    error: str | None = None
    attempts: int = 0
    due_ms: int | None = None


def in_flight(shards: Shards, event_id: str) -> InFlight | None:
    """The state of an event that is no row yet; None when it is settled, or was never accepted."""
    shard = shards.of_id(event_id)
    for _ in range(LOOKS):
        # A transaction: an event that fires in between would be in neither place.
        pipe = shards.client.pipeline(transaction=True)
        pipe.hget(keys.inflight(shard), event_id)
        pipe.hget(keys.schedules(shard), event_id)
        pipe.zscore(keys.scheduled(shard), event_id)
        state, schedule, score = pipe.execute()
        if not state:
            return _of_schedule(schedule, score)
        if found := _look(shards, shard, event_id, state.decode()):
            return found
    return None


def _of_schedule(schedule: bytes | None, score: float | None) -> InFlight | None:
    """The state of an event that is a schedule's own: it fires once. One that fired is in flight, or settled."""
    kind, _, rest = (schedule or b"").partition(b" ")
    event = rest.rpartition(b"\n")[2]
    if kind == b"cancelled":
        return InFlight("cancelled", event)
    if kind == b"once" and score is not None:
        return InFlight("scheduled", event, due_ms=int(score))
    return None


def _look(shards: Shards, shard: int, event_id: str, state: str) -> InFlight | None:
    status, place, where, *_ = state.split(" ")
    if place == "delayed":
        parked: Any = shards.client.hget(keys.payloads(shard), event_id)
        return InFlight(status, parked.partition(b" ")[2], due_ms=int(where)) if parked else None
    places = {"dlq": keys.dead_letters(shard)} | {lane: keys.lane(shard, lane) for lane in keys.LANES}
    entries: Any = shards.client.xrange(places[place], where, where)
    if not entries:
        return None
    fields: dict[bytes, bytes] = entries[0][1]
    error = fields.get(b"error")
    return InFlight(
        status, fields[b"event"], error.decode() if error is not None else None, int(fields.get(b"attempts", b"0"))
    )
