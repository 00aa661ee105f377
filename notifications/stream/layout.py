"""The number of shards that Redis is filled with. It is kept there, so that no process ever begins with another one.

It decides where everything of a recipient lies: a process with another number would write where nobody reads.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from redis.client import Pipeline
from redis.exceptions import OutOfMemoryError

from notifications.exceptions import OtherShards, StillWaits
from notifications.stream import keys
from notifications.stream.client import Shards

CHUNK: Final = 1000
# What a shard holds that is nowhere else, as it is asked for in `_ask`.
HELD: Final = ("live", "bulk", "retries", "dead letters to be recorded", "changes of schedules to be recorded")


def fix(shards: Shards) -> None:
    """See to it that Redis is filled with this number of shards: the first one that comes fixes it.

    Raises OtherShards; and RedisError.
    """
    found = fixed(shards)
    if found is None:
        # A Redis that is full takes it when it is so no more.
        with suppress(OutOfMemoryError):
            first: Any = shards.client.set(keys.layout(), shards.count, nx=True, get=True)
            found = first and int(first)
    if found not in {None, shards.count}:
        raise OtherShards(shards.count, found)


def fixed(shards: Shards) -> int | None:
    """The number that Redis is filled with; None where it is empty. Raises RedisError."""
    found: Any = shards.client.get(keys.layout())
    return int(found) if found else None


def change(shards: Shards, running: Sequence[str]) -> int:
    """Take away all that is ours, and fix this number of shards; returns how many keys that were.

    What they held is in PostgreSQL, and comes back from there. `running`: the processes that are alive. Raises
    StillWaits, and then nothing was done, where there are any, or something is in Redis only; and RedisError.
    """
    before = Shards(shards.client, fixed(shards) or shards.count)
    ours = list(shards.client.scan_iter(keys.everything(), count=CHUNK))
    if waits := [*_waits(before, ours), *running]:
        raise StillWaits(", ".join(waits))
    for start in range(0, len(ours), CHUNK):
        pipe = shards.client.pipeline(transaction=False)
        for name in ours[start : start + CHUNK]:
            pipe.delete(name)
        pipe.execute()
    fix(shards)
    return len(ours)


def _waits(shards: Shards, names: list[bytes]) -> list[str]:
    """What keeps the shards from being changed."""
    pipe = shards.client.pipeline(transaction=False)
    for shard in shards.each():
        _ask(pipe, shard)
    answers = pipe.execute()
    counts = {what: sum(answers[place :: len(HELD)]) for place, what in enumerate(HELD)}
    counts["bulk jobs"] = len({name.partition(b":job:")[2] for name in names} - {b""})
    return [f"{count} {what}" for what, count in counts.items() if count]


def _ask(pipe: Pipeline, shard: int) -> None:
    for lane in keys.LANES:
        pipe.xlen(keys.lane(shard, lane))
    pipe.zcard(keys.delayed(shard))
    pipe.xlen(keys.dead_letters(shard))
    pipe.xlen(keys.changes(shard))
