"""What has to be remembered from look to look, so that what is missing just now is not taken for gone.

Times are seconds of a clock that never jumps.
"""

from collections.abc import Sequence
from typing import Final

from notifications.stream.register import Process

# Everybody tells of itself every two seconds: who did not by then had the time to.
COMING_BACK_SECONDS: Final = 5.0
STORED_SECONDS: Final = 2.0


class Roll:
    """Whether the register tells who runs. One that is new, or was emptied, misses those who have not told yet."""

    def __init__(self, own: str) -> None:
        """`own`: the name under which this process tells of itself."""
        self._own = own
        self._there: set[str] = set()
        self._called_at = self._missed_at = -COMING_BACK_SECONDS

    def call(self, processes: Sequence[Process], at: float) -> None:
        """What was found in the register at that time."""
        names = {process.name for process in processes}
        # Who stops or dies stays in it for longer than that.
        emptied = at - self._called_at <= COMING_BACK_SECONDS and not self._there <= names
        self._there = {process.name for process in processes if process.state in {"alive", "silent"}}
        alive = {process.name for process in processes if process.state == "alive"}
        if emptied or self._own not in alive:
            self._missed_at = at
        self._called_at = at

    def is_known(self, at: float) -> bool:
        """Whether everybody who runs had the time to tell."""
        return at - self._missed_at >= COMING_BACK_SECONDS


class Storing:
    """Whether something was stored in the last two seconds: a server that stores is there, however slow to answer."""

    def __init__(self) -> None:
        self._stored: int | None = None
        self._seen_at = self._stored_at = -STORED_SECONDS

    def saw(self, stored: int, at: float) -> None:
        """So many were stored in all by then. What was stored between two looks far apart may be long ago."""
        if self._stored is not None and stored > self._stored and at - self._seen_at <= STORED_SECONDS:
            self._stored_at = at
        self._stored, self._seen_at = stored, at

    def lately(self, at: float) -> bool:
        """Whether any was, of those two seconds."""
        return at - self._stored_at < STORED_SECONDS
