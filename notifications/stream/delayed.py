"""Events that wait for their next attempt. Due is what Redis' own clock says."""

from typing import Final, NamedTuple

from notifications.stream import keys, scripts
from notifications.stream.agenda import AWAY_MS, Agenda, begun
from notifications.stream.client import Shards

MOVE_AT_ONCE: Final = 500


class Moved(NamedTuple):
    """What one round did: how many events went into their lanes, and when the next is due (None: none waits)."""

    events: int
    next_in_ms: int | None


def move_due(shards: Shards, agenda: Agenda | None = None) -> Moved:
    """Move what is due, at most MOVE_AT_ONCE of each shard. Any number of processes may do this at once.

    A shard whose node is away waits for it. `agenda`: what is asked for the shards to look at, and told when there is
    something to do in them; `next_in_ms` is of these alone then. None: all of them.
    """
    with begun(shards, agenda) as looked_at:
        calls = [(_names(shard), [MOVE_AT_ONCE]) for shard in looked_at]
        answers = scripts.run_where_possible(shards.client, "move", calls)
    moved, waits = 0, []
    for shard, told in zip(looked_at, answers, strict=True):
        count, next_in_ms = told or (0, AWAY_MS)
        moved += count
        if next_in_ms >= 0:
            waits.append(next_in_ms)
            if agenda:
                agenda.note(shard, next_in_ms)
    return Moved(moved, min(waits, default=None))


def _names(shard: int) -> list[str]:
    lanes = (keys.lane(shard, lane) for lane in keys.LANES)
    return [keys.delayed(shard), keys.payloads(shard), *lanes, keys.inflight(shard)]
