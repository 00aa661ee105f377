"""Where an accepted event is, as long as it is no row: the look behind `status`, and behind a search."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from redis.exceptions import ResponseError

from notifications.stream import keys
from notifications.stream.client import Shards

# An event that moves on between the two looks is looked for again; it does not move often in a millisecond.
LOOKS: Final = 5
# How many entries of a stream, or retries, are asked for at once by who goes through the newest.
AT_ONCE: Final = 200


class InFlight(NamedTuple):
    """An event that waits or is dead: `status` (`scheduled`, `cancelled`, `queued`, `retrying`, `dead`), its payload,
    its error, its attempts, and, where it waits for its time, that time in Unix ms. Where it is an entry of a stream:
    the stream's name, `live`, `bulk` or `dlq`, and the entry's id."""

    status: str
    payload: bytes
    error: str | None = None
    attempts: int = 0
    due_ms: int | None = None
    place: str = ""
    entry_id: str = ""

    @property
    def since_ms(self) -> int | None:
        """Since when it is in its stream, Unix ms of Redis' clock."""
        return int(self.entry_id.partition("-")[0]) if self.entry_id else None


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


def holder(shards: Shards, event_id: str, state: InFlight) -> str | None:
    """The name of the worker that has an event in hand; None where it is in no lane, or nobody has read it yet."""
    if state.place not in keys.LANES:
        return None
    client: Any = shards.client
    stream = _stream(shards.of_id(event_id), state.place)
    try:
        held = client.xpending_range(stream, keys.GROUP, state.entry_id, state.entry_id, 1)
    except ResponseError:
        # No group: no worker was ever here.
        return None
    name: str | None = held[0]["consumer"].decode(errors="replace") if held else None
    return name


def newest(shards: Shards, shard: int, limit: int) -> Iterator[InFlight]:
    """The events of a shard that are in flight: `limit` each of its retries, its lanes and its dead letters.

    The latest due, and the last come, first. Without those in chunks of bulk jobs, which have no state of their own,
    and without those of schedules. An event that moves meanwhile may be missed, or come twice.
    """
    yield from _newest_retries(shards, shard, limit)
    for place in (*keys.LANES, "dlq"):
        yield from _newest_entries(shards, shard, place, limit)


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
    entries: Any = shards.client.xrange(_stream(shard, place), where, where)
    return _of_entry(place, *entries[0], status=status) if entries else None


def _of_entry(place: str, entry_id: bytes, fields: dict[bytes, bytes], *, status: str) -> InFlight:
    error = fields.get(b"error")
    return InFlight(
        status,
        fields[b"event"],
        error.decode() if error is not None else None,
        int(fields.get(b"attempts", b"0")),
        place=place,
        entry_id=entry_id.decode(),
    )


def _stream(shard: int, place: str) -> str:
    streams = {"dlq": keys.dead_letters(shard)} | {lane: keys.lane(shard, lane) for lane in keys.LANES}
    return streams[place]


def _newest_retries(shards: Shards, shard: int, limit: int) -> Iterator[InFlight]:
    client: Any = shards.client
    for start in range(0, limit, AT_ONCE):
        end = min(start + AT_ONCE, limit) - 1
        due = client.zrange(keys.delayed(shard), start, end, desc=True, withscores=True)
        if not due:
            return
        parked = client.hmget(keys.payloads(shard), [event_id for event_id, _ in due])
        for (_, score), payload in zip(due, parked, strict=True):
            if payload:
                yield InFlight("retrying", payload.partition(b" ")[2], due_ms=int(score))


def _newest_entries(shards: Shards, shard: int, place: str, limit: int) -> Iterator[InFlight]:
    client: Any = shards.client
    below, left = "+", limit
    while left > 0:
        entries = client.xrevrange(_stream(shard, place), max=below, count=min(AT_ONCE, left))
        for entry_id, fields in entries:
            if b"event" in fields and b"to" not in fields:
                yield _of_entry(place, entry_id, fields, status="dead" if place == "dlq" else "queued")
        if not entries:
            return
        below, left = f"({entries[-1][0].decode()}", left - len(entries)
