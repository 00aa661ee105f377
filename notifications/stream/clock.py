"""Redis' clock, as seen from here: what a deadline is measured by that a script has to keep."""

import time
from typing import Any, Final

import redis

REFRESH_SECONDS: Final = 30.0


class ServerClock:
    """Estimates the server's time from one look every 30 s and this process' own monotonic clock.

    So neither a host whose clock is wrong nor one that steps does any harm; a server whose clock steps is noticed by
    who is told that a deadline passed, and asks to `refresh`.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._offset_ms = 0.0
        self._looked = float("-inf")

    def now_ms(self) -> int:
        """The server's Unix time in milliseconds; raises RedisError when it has to look and cannot."""
        if time.monotonic() - self._looked > REFRESH_SECONDS:
            self.refresh()
        return int(time.monotonic() * 1000 + self._offset_ms)

    def refresh(self) -> None:
        """Look again."""
        asked = time.monotonic()
        answer: Any = self._client.time()
        seconds, microseconds = answer
        self._offset_ms = seconds * 1000 + microseconds / 1000 - time.monotonic() * 1000
        self._looked = asked
