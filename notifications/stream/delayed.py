"""Events that wait for their next attempt. Due is what Redis' own clock says."""

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
    calls = [(_names(shard), [MOVE_AT_ONCE]) for shard in shards.each()]
    moved, waits = 0, []
    for count, next_in_ms in scripts.run_each(shards.client, "move", calls):
        moved += count
        if next_in_ms >= 0:
            waits.append(next_in_ms)
    return Moved(moved, min(waits, default=None))


def _names(shard: int) -> list[str]:
    lanes = (keys.lane(shard, lane) for lane in keys.LANES)
    return [keys.delayed(shard), keys.payloads(shard), *lanes, keys.inflight(shard)]
