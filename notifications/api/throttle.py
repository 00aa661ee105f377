"""A log line for many: what happens to every request during an outage is told once in a while, and counted."""

import threading
import time
from typing import Any, Final

import structlog

QUIET_SECONDS: Final = 10.0


class Throttled:
    """Logs a warning at once, and then at most every QUIET_SECONDS, with how many it stands for. For any thread."""

    def __init__(self, logger: structlog.stdlib.BoundLogger, action: str) -> None:
        self._logger = logger
        self._action = action
        self._lock = threading.Lock()
        self._next = float("-inf")
        self._untold = 0

    def warn(self, **fields: Any) -> None:  # noqa: ANN401 - fields of a log line
        """It happened again."""
        with self._lock:
            self._untold += 1
            now = time.monotonic()
            if now < self._next:
                return
            times, self._untold, self._next = self._untold, 0, now + QUIET_SECONDS
        self._logger.warning(self._action, times=times, **fields)
