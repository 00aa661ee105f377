"""A way from synchronous code into the channel layer: one event loop in a thread of its own.

Workers and request threads are synchronous; the channel layer belongs to an event loop, and a loop made anew for each
send would connect to Redis anew for each send.
"""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

import structlog
from channels.layers import get_channel_layer

from notifications import metrics

log = structlog.get_logger("notify.live")

SEND_SECONDS: Final = 2.0

Message = tuple[str, dict[str, Any]]


class Outbox:
    """Sends messages to channels, in the order they were given. What cannot be sent in time is dropped, and said."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last: Future[None] | None = None
        self._dropping = False

    def send(self, messages: Sequence[Message]) -> None:
        """Hand messages to the loop and return; waits only while the call before this one is not through."""
        if not messages:
            return
        with self._lock:
            self._await_last()
            self._last = asyncio.run_coroutine_threadsafe(self._send(messages), self._running_loop())

    def flush(self) -> None:
        """Wait until what was sent is out, or dropped."""
        with self._lock:
            self._await_last()

    def _await_last(self) -> None:
        if self._last is not None:
            try:
                self._last.result(timeout=SEND_SECONDS + 1)
            except FutureTimeoutError:
                self._last.cancel()
            self._last = None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="notify-outbox", daemon=True).start()
        return self._loop

    async def _send(self, messages: Sequence[Message]) -> None:
        layer = get_channel_layer()
        left = list(reversed(messages))
        try:
            async with asyncio.timeout(SEND_SECONDS):
                while left:
                    await layer.send(*left[-1])
                    left.pop()
        except Exception as error:  # noqa: BLE001 - a frame is a hint: whatever stops it, `sync` and `resume` mend it
            metrics.frames.labels("dropped").inc(sum(len(message.get("frames", ())) for _, message in left))
            self._say(error)
        else:
            self._say(None)

    def _say(self, error: Exception | None) -> None:
        """One line when frames begin to be dropped, one when they flow again."""
        if (error is not None) == self._dropping:
            return
        self._dropping = error is not None
        if error is not None:
            log.warning("live.dropping", error=repr(error))
        else:
            log.info("live.flowing")
