"""Which shards there is something to do in now, where that is a matter of time: none is asked in vain.

On one server, each is asked each time. In a cluster, where each would be a question of its own, a shard is asked when
what waits in it is due, when its bell rang (something is due before that now), and now and then.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final

from notifications.stream import bells
from notifications.stream.client import Shards

# A shard whose node is away.
AWAY_MS: Final = 250


class Agenda:
    """The shards, by when they are to be looked at next."""

    def __init__(self, shards: Shards, name_of: Callable[[int], str]) -> None:
        """`name_of`: the key of a shard that rings."""
        self._shard_of = {name_of(shard).encode(): shard for shard in shards.each()}
        self._bells = bells.for_streams(shards.client, self._shard_of)
        self._due = dict.fromkeys(shards.each(), float("-inf"))

    def begin(self) -> list[int]:
        """The shards to look at now. Nothing waits in them, unless that is noted again. Raises RedisError."""
        if self._bells is None:
            return list(self._due)
        for name in self._bells.take(self._shard_of):
            self._due[self._shard_of[name]] = float("-inf")
        present = time.monotonic()
        chosen = [shard for shard, due in self._due.items() if due <= present]
        self._due |= dict.fromkeys(chosen, float("inf"))
        return chosen

    def note(self, shard: int, next_in_ms: int) -> None:
        """There will be something to do in this shard in so many milliseconds."""
        self._due[shard] = time.monotonic() + next_in_ms / 1000

    def again(self, shards: Iterable[int]) -> None:
        """Whatever was to be done in these was not."""
        for shard in shards:
            self.note(shard, 0)
