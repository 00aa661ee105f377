"""The way to the dashboards: one group of all gateways that hold one, told from synchronous code.

A frame is a hint: it may get lost, and what it tells can be asked for. So nobody waits for one to be sent, and what
cannot be sent in time is dropped.
"""

import asyncio
import threading
from typing import Any, Final

import structlog
from channels.layers import get_channel_layer

from notifications import representation

log = structlog.get_logger("notify.live")

GROUP: Final = "dashboards"
SEND_SECONDS: Final = 2.0
MAX_UNDER_WAY: Final = 100


class Teller:
    """Sends frames to the group from an event loop in a thread of its own, which the first frame starts."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._room = threading.BoundedSemaphore(MAX_UNDER_WAY)
        self._loop: asyncio.AbstractEventLoop | None = None

    def tell(self, frame: dict[str, Any]) -> None:
        """Hand a frame to the loop and return. It is as it was at the call, whatever the caller makes of it later."""
        if not self._room.acquire(blocking=False):
            log.debug("dashboard.dropped", error="too many frames are under way")
            return
        try:
            sending = self._send(representation.frame(frame))
        except BaseException:
            self._room.release()
            raise
        future = asyncio.run_coroutine_threadsafe(sending, self._running_loop())
        future.add_done_callback(lambda _: self._room.release())

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="notify-dashboard", daemon=True).start()
            return self._loop

    async def _send(self, text: str) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await get_channel_layer().group_send(GROUP, {"type": "frame", "text": text})
        except Exception as error:  # noqa: BLE001 - whatever stops it, the next frame or a look tells the same
            log.debug("dashboard.dropped", error=repr(error))


_teller: Final = Teller()


def tell(frame: dict[str, Any]) -> None:
    """Send a frame, JSON-ready, to every dashboard that is open. Never waits and never raises; any thread may."""
    try:
        _teller.tell(frame)
    except Exception as error:  # noqa: BLE001 - no frame is worth its caller's work
        log.debug("dashboard.dropped", error=repr(error))
