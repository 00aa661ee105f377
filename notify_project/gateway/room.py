"""Room in a connection's buffer: who sends waits for it, so that what a client does not read is never piled up."""

import asyncio
import time
from typing import Any

from twisted.internet.tcp import Server


class Room:
    """There is room, or none: Twisted says so when more than 64 KiB wait, and again when all of it is sent."""

    def __init__(self) -> None:
        # Made when it is needed: of a thousand sockets, hardly one ever waits.
        self._freed: asyncio.Event | None = None
        self._left = 0
        self._moved = time.monotonic()

    @property
    def full(self) -> bool:
        """Whether nothing more should be written."""
        return self._freed is not None

    def close(self) -> None:
        """No more, until it is opened."""
        if self._freed is None:
            self._freed = asyncio.Event()

    def open(self) -> None:
        """Whoever waits may go on. Also when the connection is lost, as nothing is written any more."""
        self._left, self._moved = 0, time.monotonic()
        if self._freed is not None:
            self._freed.set()
            self._freed = None

    async def free(self) -> None:
        """Return when there is room."""
        if self._freed is not None:
            await self._freed.wait()

    def stalled_seconds(self, transport: Any, now: float) -> float:  # noqa: ANN401 - Twisted's, of any kind
        """For how long the client has taken nothing of what is ready for it; `now` is of the monotonic clock."""
        left = waiting_bytes(transport)
        if left == 0 or left < self._left:
            self._moved = now
        self._left = left
        return now - self._moved


def waiting_bytes(transport: Any) -> int:  # noqa: ANN401 - Twisted's, of any kind
    """How many bytes the kernel has not taken yet; 0 where the transport does not tell (TLS)."""
    try:
        return len(transport.dataBuffer) - int(transport.offset) + int(transport._tempDataLen)  # noqa: SLF001
    except AttributeError:
        return 0


def at_once(transport: Any, data: bytes) -> None:  # noqa: ANN401 - Twisted's, of any kind
    """Write what the kernel takes now, and leave the rest to the transport.

    By itself that would ask the reactor to tell when there is room, of which there almost always is some: two more
    calls of the system and a turn of the loop, which cost more than the write.
    """
    if _is_free(transport):
        taken = transport.writeSomeData(data)
        # Where the connection is lost, the transport finds out, and tells, when it writes.
        data = data[taken:] if isinstance(taken, int) else data
    if data:
        transport.write(data)


def _is_free(transport: Any) -> bool:  # noqa: ANN401 - Twisted's, of any kind
    """Whether nothing stands between a write and the kernel: no bytes that came before, no TLS, no end."""
    free = isinstance(transport, Server) and transport.connected and not transport.disconnecting
    return free and waiting_bytes(transport) == 0
