"""A connection that speaks HTTP: how much it may send before a request is let in, and in how much time."""

import asyncio
import time
from enum import Enum
from typing import Any

from twisted.web import http

from notifications import metrics
from notify_project.gateway import doorkeeper, head, limits, refusals
from notify_project.gateway.refusals import Refusal
from notify_project.gateway.room import Room


class Phase(Enum):
    """Where a connection stands; each has its own time."""

    IDLE = 1
    HEAD = 2
    BODY = 3
    ANSWER = 4
    LINGER = 5


class Channel(http.HTTPChannel):  # type: ignore[misc]  # skipped, see pyproject.toml
    """Twisted's parser of requests, and what becomes of those that are too large or too slow."""

    MAX_LENGTH = limits.MAX_HEAD_BYTES
    totalHeadersSize = limits.MAX_HEAD_BYTES
    maxHeaders = limits.MAX_HEADERS

    def __init__(self) -> None:
        super().__init__()
        self.room = Room()
        self._begin(Phase.IDLE)
        self._heard = self._since
        self._taken = 0
        self._limit: int | None = 0
        self._asking: asyncio.Task[None] | None = None

    def connectionLost(self, reason: Any) -> None:  # noqa: ANN401 - Twisted's signature
        """Nothing is left of it, and nobody waits for it."""
        self.factory.channels.discard(self)
        self.room.open()
        if self._asking:
            self._asking.cancel()
        super().connectionLost(reason)

    def handed_over(self) -> None:
        """It speaks WebSocket from now on, which is no business of this class."""
        self.factory.channels.discard(self)
        # Each holds the other, and of an idle socket every kilobyte counts.
        self.requests.clear()

    def check(self, now: float) -> None:
        """End it when its time is over; called every second or so."""
        elapsed = now - self._since
        if self.room.stalled_seconds(self.transport, now) > limits.STALLED_SECONDS:
            self.transport.abortConnection()
        elif self._phase is Phase.IDLE and elapsed > limits.IDLE_SECONDS:
            self.loseConnection()
        elif self._too_slow(elapsed, now):
            self.refuse(Refusal(408, refusals.TOO_SLOW))
        elif self._phase is Phase.LINGER and elapsed > limits.LINGER_SECONDS:
            self.transport.abortConnection()

    def refuse(self, refusal: Refusal) -> None:
        """Answer, take no more, and close when the client had time to read why."""
        if self._phase is Phase.LINGER:
            return
        self._begin(Phase.LINGER)
        metrics.gateway_refused.labels(refusal.status).inc()
        self.clearLineBuffer()
        # What there is of a body is not needed any more; it may be gigabytes on the disk.
        for request in self.requests:
            if request.content is not None:
                request.content.close()
        self.transport.write(refusals.answer(refusal))
        self._networkProducer.unregisterProducer()
        self._networkProducer.resumeProducing()
        # Closed at both ends while the client still sends, it would be reset and the answer lost on the way.
        if hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def count(self, size: int) -> None:
        """So many more bytes of a body have come. Raises Refusal when that is too many."""
        self._taken += size
        self._look_at(self._taken)

    # What Twisted calls, and in this order.

    def dataReceived(self, data: bytes) -> None:
        """Bytes of whatever comes next."""
        self._heard = time.monotonic()
        if self._phase is not Phase.LINGER:
            self._awake()
            super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """The request's first line, or a header."""
        if self._phase is Phase.LINGER:
            return
        self._awake()
        if self._receivedHeaderSize + len(line) > self.totalHeadersSize:
            self.lineLengthExceeded(line)
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002
        """The line, or all lines so far, are too long."""
        if self._receivedHeaderSize:
            self.refuse(Refusal(431, refusals.HEAD_TOO_LARGE.format(limit=self.totalHeadersSize)))
        else:
            self.refuse(Refusal(414, refusals.ADDRESS_TOO_LONG.format(limit=self.totalHeadersSize)))

    def headerReceived(self, line: bytes) -> bool:
        """A header; False when it is the last."""
        if self._receivedHeaderCount >= self.maxHeaders:
            self.refuse(Refusal(431, refusals.TOO_MANY_HEADERS.format(limit=self.maxHeaders)))
        elif self._phase is not Phase.LINGER:
            return bool(super().headerReceived(line))
        return False

    def allHeadersReceived(self) -> None:
        """The request may go on with its body, or not."""
        if self._phase is Phase.LINGER:
            return
        self._taken, self._limit = 0, limits.body_bytes(self._path)
        self._begin(Phase.BODY)
        try:
            head.check(self.requests[-1].requestHeaders, self._version, bodiless=self.length == 0)
            # Before a file for it is made, and before the client is told to continue.
            self._look_at(self.length or 0)
            super().allHeadersReceived()
        except Refusal as refusal:
            self.refuse(refusal)

    def rawDataReceived(self, data: bytes) -> None:
        """A piece of a body."""
        if self._phase is Phase.LINGER:
            return
        try:
            super().rawDataReceived(data)
        except Refusal as refusal:
            self.refuse(refusal)

    def allContentReceived(self) -> None:
        """The application's turn."""
        if self._phase is not Phase.LINGER:
            self._begin(Phase.ANSWER)
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:  # noqa: ANN401
        """The connection is free for the next request, which may be here already."""
        self._begin(Phase.IDLE)
        super().requestDone(request)

    def pauseProducing(self) -> None:
        """The client does not read as fast as it is answered."""
        self.room.close()
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """It has read what there was."""
        self.room.open()
        super().resumeProducing()

    def _begin(self, phase: Phase) -> None:
        self._phase, self._since = phase, time.monotonic()

    def _awake(self) -> None:
        if self._phase is Phase.IDLE:
            self._begin(Phase.HEAD)

    def _too_slow(self, elapsed: float, now: float) -> bool:
        if self._phase is Phase.HEAD:
            return elapsed > limits.HEAD_SECONDS
        if self._phase is not Phase.BODY or self._asking:
            return False
        if now - self._heard > limits.BODY_IDLE_SECONDS:
            return True
        return elapsed > limits.BODY_IDLE_SECONDS and self._taken < elapsed * limits.MIN_BYTES_PER_SECOND

    def _look_at(self, size: int) -> None:
        """Raise Refusal where a body of so many bytes is too large, or ask whether this client may send it."""
        if self._limit is None or size <= self._limit or self._asking:
            return
        request = self.requests[-1]
        media_type = request.requestHeaders.getRawHeaders(b"Content-Type", [b""])[0]
        if not limits.unbounded(self._command, self._path, media_type):
            raise Refusal(413, refusals.BODY_TOO_LARGE.format(limit=self._limit))
        self._networkProducer.pauseProducing()
        self._asking = asyncio.ensure_future(self._ask(request))

    async def _ask(self, request: Any) -> None:  # noqa: ANN401 - Daphne's
        """Take a body without end of whom may send one, and of nobody else: it fills the disk before Django sees it."""
        refusal = await doorkeeper.refusal(request.scope_of(self._command, self._path))
        self._asking, self._limit, self._heard = None, None, time.monotonic()
        # What was all here in the meantime is with the view, which answers the same.
        if refusal and self._phase is Phase.BODY:
            self.refuse(refusal)
        else:
            self._networkProducer.resumeProducing()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(Refusal(400, refusals.NOT_HTTP))
