"""Events that wait for their time: retries now, appointments too. Due is what Redis' own clock says."""

from typing import Final, NamedTuple

from notifications.stream import keys, scripts
from notifications.stream.client import Shards

MOVE_AT_ONCE: Final = 500


class Moved(NamedTuple):
    """What one round did: how many events went into their lanes, and when the next is due (None: none waits)."""

    events: int
    next_in_ms: int | None


def move_due(shards: Shards) -> Moved:
    """Move what is due, at most MOVE_AT_ONCE of each shard. Any number of processes may do this at once."""
    moved, waits = 0, []
    for shard in shards.each():
        names = [
            keys.delayed(shard),
            keys.payloads(shard),
            *(keys.lane(shard, lane) for lane in keys.LANES),
            keys.inflight(shard),
        ]
        count, next_in_ms = scripts.run(shards.client, "move", names, [MOVE_AT_ONCE])
        moved += count
        if next_in_ms >= 0:
            waits.append(next_in_ms)
    return Moved(moved, min(waits, default=None))
