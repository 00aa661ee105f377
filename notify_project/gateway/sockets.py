"""A WebSocket as Daphne has it, which holds no more of what is said, by either side, than it must."""

import asyncio
import contextlib
import time
from http import HTTPStatus
from typing import Any

from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

from notify_project.bodies import Message
from notify_project.gateway import limits, refusals
from notify_project.gateway.refusals import Refusal
from notify_project.gateway.room import Room, at_once

TOO_MANY_FRAGMENTS = "too many fragments"


class Unread(asyncio.Queue[Message]):
    """What a client said and the application has not looked at; while that is much, the client is not read from."""

    def __init__(self, transport: Any) -> None:  # noqa: ANN401 - Twisted's, of any kind
        super().__init__()
        self._transport = transport
        self._held = False

    def _put(self, item: Message) -> None:
        super()._put(item)
        if self.qsize() >= limits.MAX_UNREAD_MESSAGES and not self._held:
            self._held = True
            self._transport.pauseProducing()

    def _get(self) -> Message:
        if self._held and self.qsize() <= limits.MAX_UNREAD_MESSAGES // 2:
            self._held = False
            self._transport.resumeProducing()
        return super()._get()


class Socket(WebSocketProtocol):  # type: ignore[misc]  # Daphne has no types
    """One socket. Twisted tells it, as a producer, when its client reads too slowly."""

    # A client that breaks a rule is told which one, by a close code.
    failByDrop = False
    closeHandshakeTimeout = limits.CLOSE_SECONDS
    last_ping: float
    # Who talks is asked for answers all the same: it may not read them.
    autoPingRestartOnAnyTraffic = False

    def connectionMade(self) -> None:
        """Take the connection over from HTTP."""
        self.room = Room()
        self.transport.unregisterProducer()
        super().connectionMade()
        self.transport.registerProducer(self, True)

    def connectionLost(self, reason: Any) -> None:  # noqa: ANN401
        """Nobody waits for it any more."""
        self.room.open()
        super().connectionLost(reason)

    def pauseProducing(self) -> None:
        """The client does not read as fast as it is sent to."""
        self.room.close()

    def resumeProducing(self) -> None:
        """It has read what there was."""
        self.room.open()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.room.open()

    def say(self, text: str) -> bool:
        """Send a text at once, without a turn of the loop; False where it has to wait, or has nobody to go to."""
        if self.room.full or self.state != self.STATE_OPEN:
            return False
        at_once(self.transport, self.factory.prepareMessage(text.encode(), doNotCompress=True).payloadHybi)
        return True

    def serverAccept(self, subprotocol: str | None = None) -> None:
        """Open it, if there still is somebody: when thousands come at once, one may have left before its turn."""
        if self.state == self.STATE_CONNECTING:
            super().serverAccept(subprotocol)

    def onMessageFrameBegin(self, length: int) -> None:
        """A frame, which may be a part of a message: empty ones count for nothing in its size, and take memory."""
        super().onMessageFrameBegin(length)
        if len(self.message_data) > limits.MAX_FRAGMENTS:
            self._max_message_size_exceeded(0, 0, TOO_MANY_FRAGMENTS)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: FBT001
        """Hand it to the application; it puts off no ping."""
        asked = self.last_ping
        super().onMessage(payload, isBinary)
        self.last_ping = asked

    def onPing(self, payload: bytes) -> None:
        """Answer, unless the client does not read its answers."""
        if not self.room.full:
            super().onPing(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: FBT001
        """Tell the application, where there is one: a handshake that failed never came so far."""
        if hasattr(self, "request"):
            super().onClose(wasClean, code, reason)

    def check_timeouts(self) -> None:
        """End what is stalled or takes too long to open, and ask whether the client is still there."""
        if self.room.stalled_seconds(self.transport, time.monotonic()) > limits.STALLED_SECONDS:
            self.dropConnection(abort=True)
        elif self.state == self.STATE_CONNECTING and not hasattr(self, "handshake_deferred"):
            # It was refused already.
            return
        elif self.state != self.STATE_OPEN or not self.autoPingTimeoutCall:
            super().check_timeouts()

    def handle_exception(self, exception: BaseException) -> None:
        """The application failed: say so, where there is still somebody to say it to."""
        with contextlib.suppress(Exception):
            super().handle_exception(exception)

    def sendHttpErrorResponse(
        self,
        code: int,
        reason: str,
        responseHeaders: list[tuple[str, str]] | None = None,
    ) -> None:
        """Refuse the handshake, as any other request is refused."""
        detail = reason if code < HTTPStatus.INTERNAL_SERVER_ERROR else refusals.BROKEN
        self.sendData(refusals.answer(Refusal(code, detail, *(responseHeaders or []))))


class SocketFactory(WebSocketFactory):  # type: ignore[misc]  # Daphne has no types
    """Makes a socket of a connection."""

    protocol = Socket
