"""Redis' clock, as seen from here: what a deadline is measured by that a script has to keep."""

import math
import time
from typing import Final, NamedTuple

import redis

from notifications.stream.client import place_of, time_at

REFRESH_SECONDS: Final = 30.0
# A look that took longer than this tells little, and is soon repeated.
VAGUE_MS: Final = 20.0
SOON_SECONDS: Final = 1.0


# Of a cluster, each node has a clock of its own; callers' rates are kept in as many slots as there are callers.
MOST_KEPT: Final = 4096


class _Offset(NamedTuple):
    """A server's clock less this process' monotonic one, how vague that is, and until when it is good."""

    ms: float
    vague_ms: float
    until: float


class ServerClock:
    """Estimates the server's time from one look every 30 s and this process' own monotonic clock.

    So neither a host whose clock is wrong nor one that steps does any harm; a server whose clock steps is noticed by
    who is told that a deadline passed, and asks to `refresh`. In a cluster it is the time of the node that serves a
    key, where one is given.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._offsets: dict[str, _Offset] = {}

    def now_ms(self, key: str = "") -> int:
        """The server's Unix time in milliseconds; raises RedisError when it has to look and cannot."""
        return int(time.monotonic() * 1000 + self._offset(key).ms)

    def latest_ms(self, key: str = "") -> int:
        """The server's time at the latest: what is due so long after this is never early by the server's clock."""
        return self.now_ms(key) + 1 + math.ceil(self._offset(key).vague_ms)

    def refresh(self, key: str = "") -> None:
        """Look again."""
        self._look(key, place_of(self._client, key))

    def _offset(self, key: str) -> _Offset:
        place = place_of(self._client, key)
        known = self._offsets.get(place)
        return known if known and time.monotonic() <= known.until else self._look(key, place)

    def _look(self, key: str, place: str) -> _Offset:
        asked = time.monotonic()
        seconds, microseconds = time_at(self._client, key)
        answered = time.monotonic()
        vague_ms = (answered - asked) * 1000
        if len(self._offsets) >= MOST_KEPT:
            self._offsets.clear()
        self._offsets[place] = found = _Offset(
            ms=seconds * 1000 + microseconds / 1000 - answered * 1000,
            vague_ms=vague_ms,
            until=asked + (REFRESH_SECONDS if vague_ms < VAGUE_MS else SOON_SECONDS),
        )
        return found
