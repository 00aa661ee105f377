"""Which shards there is something to do in now, where that is a matter of time: none is asked in vain.

On one server, one question (`ask`) tells it of all shards. In a cluster, where each would be a question of its own, a
shard is asked when what waits in it is due, when its bell rang (something is due before that now), and now and then.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final

from redis.exceptions import RedisError

from notifications.stream import bells, scripts
from notifications.stream.client import Shards

# A shard whose node is away.
AWAY_MS: Final = 250

NOW: Final = float("-inf")
NEVER: Final = float("inf")


class Agenda:
    """The shards, by when they are to be looked at next."""

    def __init__(self, shards: Shards, name_of: Callable[[int], str], *, timed: bool) -> None:
        """`name_of`: the key of a shard that rings. `timed`: it is a ZSET whose scores are times, Unix ms."""
        self._shard_of = {name_of(shard).encode(): shard for shard in shards.each()}
        self._bells = bells.for_streams(shards.client, self._shard_of)
        self._timed = timed
        self._due = dict.fromkeys(shards.each(), NOW)

    def begin(self) -> list[int]:
        """The shards to look at now. Nothing waits in them, unless that is noted. On one server, `ask` first."""
        if self._bells is not None:
            self._due |= dict.fromkeys((self._shard_of[name] for name in self._bells.take(self._shard_of)), NOW)
        elif not self._timed:
            self._due |= dict.fromkeys(self._due, NOW)
        present = time.monotonic()
        chosen = [shard for shard, due in self._due.items() if due <= present]
        self._due |= dict.fromkeys(chosen, NEVER)
        return chosen

    def note(self, shard: int, next_in_ms: int) -> None:
        """There will be something to do in this shard in so many milliseconds."""
        self._due[shard] = time.monotonic() + next_in_ms / 1000

    def again(self, shards: Iterable[int]) -> None:
        """Whatever was to be done in these was not."""
        for shard in shards:
            self.note(shard, 0)

    def next_in_seconds(self) -> float:
        """When there will be something to do, as far as is known; infinite where nothing waits."""
        return max(0.0, min(self._due.values()) - time.monotonic())

    def asks(self) -> list[bytes]:
        """The keys that one server is asked about; none in a cluster."""
        return list(self._shard_of) if self._bells is None and self._timed else []

    def told(self, waits: Iterable[int]) -> None:
        """What waiting.lua says of each of them."""
        for shard, next_in_ms in zip(self._due, waits, strict=False):
            if next_in_ms < 0:
                self._due[shard] = NEVER
            else:
                self.note(shard, next_in_ms)


@contextmanager
def begun(shards: Shards, agenda: Agenda | None) -> Iterator[Sequence[int]]:
    """The shards to look at now; all, without an agenda. Where Redis is away, they are to be looked at again.

    An outage that is forgotten would seem to be over, and what is due would wait for a look at all shards.
    """
    looked_at = shards.each() if agenda is None else agenda.begin()
    try:
        yield looked_at
    except RedisError:
        if agenda:
            agenda.again(looked_at)
        raise


def ask(shards: Shards, *agendas: Agenda) -> None:
    """Ask one server with one question when something is due in any of these; a cluster is not asked, it rings.

    Raises RedisError.
    """
    names = [agenda.asks() for agenda in agendas]
    if any(names):
        waits = iter(scripts.run(shards.client, "waiting", [name for asked in names for name in asked], []))
        for agenda, asked in zip(agendas, names, strict=True):
            agenda.told(islice(waits, len(asked)))
