"""Where an accepted event is, as long as it is no row: the look behind `status`."""

from typing import Any, NamedTuple

from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.keys import Lane


class InFlight(NamedTuple):
    """An event that waits or is dead: `status` (`queued`, `dead`), its payload, its error, its attempts."""

    status: str
    payload: bytes
    error: str | None
    attempts: int


def in_flight(shards: Shards, event_id: str) -> InFlight | None:
    """The state of an event that is no row yet; None when it is settled, or was never accepted."""
    shard = shards.of_id(event_id)
    state: Any = shards.client.hget(keys.inflight(shard), event_id)
    if not state:
        return None
    status, place, entry_id = state.decode().split(" ")
    entries: Any = shards.client.xrange(_stream(shard, place), entry_id, entry_id)
    if not entries:
        return None
    fields: dict[bytes, bytes] = entries[0][1]
    error = fields.get(b"error")
    return InFlight(
        status, fields[b"event"], error.decode() if error is not None else None, int(fields.get(b"attempts", b"0"))
    )


def _stream(shard: int, place: str) -> str:
    lanes: dict[str, Lane] = {"live": "live", "bulk": "bulk"}
    return keys.lane(shard, lanes[place]) if place in lanes else keys.dead_letters(shard)
