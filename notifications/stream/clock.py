"""Redis' clock, as seen from here: what a deadline is measured by that a script has to keep."""

import math
import time
from typing import Any, Final

import redis

REFRESH_SECONDS: Final = 30.0
# A look that took longer than this tells little, and is soon repeated.
VAGUE_MS: Final = 20.0
SOON_SECONDS: Final = 1.0


class ServerClock:
    """Estimates the server's time from one look every 30 s and this process' own monotonic clock.

    So neither a host whose clock is wrong nor one that steps does any harm; a server whose clock steps is noticed by
    who is told that a deadline passed, and asks to `refresh`.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._offset_ms = 0.0
        self._vague_ms = 0.0
        self._next = float("-inf")

    def now_ms(self) -> int:
        """The server's Unix time in milliseconds; raises RedisError when it has to look and cannot."""
        if time.monotonic() > self._next:
            self.refresh()
        return int(time.monotonic() * 1000 + self._offset_ms)

    def latest_ms(self) -> int:
        """The server's time at the latest: what is due so long after this is never early by the server's clock."""
        return self.now_ms() + 1 + math.ceil(self._vague_ms)

    def refresh(self) -> None:
        """Look again."""
        asked = time.monotonic()
        answer: Any = self._client.time()
        seconds, microseconds = answer
        answered = time.monotonic()
        self._offset_ms = seconds * 1000 + microseconds / 1000 - answered * 1000
        self._vague_ms = (answered - asked) * 1000
        self._next = asked + (REFRESH_SECONDS if self._vague_ms < VAGUE_MS else SOON_SECONDS)
