"""The end of a web process that waits for a server which stands still."""

import os
import sys
import threading
from typing import Final

import structlog

log = structlog.get_logger("notify.web")

# Ten seconds is the promise, of which Daphne's own orderly end takes hardly one.
GRACE_SECONDS: Final = 8.0


def in_time() -> None:
    """Make Daphne, when it is asked to stop, do so within ten seconds.

    It waits for requests that are under way, and one that waits for a frozen PostgreSQL does so until that goes on.
    What was accepted is in Redis, and a mark-read that is cut short here is mended by a worker (unread.intent).
    Other ASGI servers have a time limit of their own, as an option.
    """
    if "daphne.server" in sys.modules:
        reactor = sys.modules["twisted.internet.reactor"]
        reactor.addSystemEventTrigger("before", "shutdown", _end_after, GRACE_SECONDS)


def _end_after(seconds: float) -> None:
    def end() -> None:
        log.warning("web.cut_short")
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
