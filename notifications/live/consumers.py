"""`/ws/inbox/`: one socket of one recipient. The frames and close codes are the contract's, section 3."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import DatabaseError
from django.http.request import validate_host
from redis.exceptions import RedisError

from notifications import inbox, metrics, representation
from notifications.access import tokens
from notifications.access.tokens import RecipientToken
from notifications.live.hub import Hub
from notifications.live.threads import in_thread

log = structlog.get_logger("notify.live")

PROTOCOL: Final = "notify.v1"
# In a socket's scope, where its server has one: a way to send a text at once. True: it is sent; False: it has to wait.
SAY: Final = "notify.say"
BEARER: Final = "bearer."

UNAUTHENTICATED: Final = 4401
FOREIGN_ORIGIN: Final = 4403
TOKEN_EXPIRED: Final = 4408
TOO_MANY: Final = 4429
# Not 1013, which says the same: Daphne sends no code below 3000 but 1000, and breaks off with a traceback instead.
TRY_LATER: Final = 4503

# What we close for, as a metric tells it; TOO_MANY is one of two.
REASONS: Final = {
    UNAUTHENTICATED: "unauthenticated",
    FOREIGN_ORIGIN: "foreign_origin",
    TOKEN_EXPIRED: "expired",
    TRY_LATER: "outage",
}

MAX_FRAME_CHARACTERS: Final = 64 * 1024
# What waits for a client that does not read: so many frames, and so much text in them.
MAX_WAITING_FRAMES: Final = 2000
MAX_WAITING_CHARACTERS: Final = 4 * 1024 * 1024


class FrameError(Exception):
    """A client's frame that is not understood; the socket stays."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail


class InboxConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """A socket. The hub receives for all of them, so it has no channel of its own."""

    channel_layer_alias = "none"

    recipient: str

    def __init__(self) -> None:
        super().__init__()
        self._hub: Hub | None = None
        self._waiting: deque[str] = deque()
        self._waiting_characters = 0
        self._sender: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._open = self._ending = False
        self._say_at_once: Callable[[str], bool] | None = None

    async def connect(self) -> None:
        """Let in who may, and say hello before anything else; refusals are close codes, so browsers see them."""
        offered = self.scope["subprotocols"]
        self._say_at_once = self.scope.get(SAY)
        await self.accept(PROTOCOL if PROTOCOL in offered else None)
        if not origin_allowed(self._header(b"origin"), self._header(b"host")):
            await self.close(FOREIGN_ORIGIN)
            return
        brought = bearer(offered, self._header(b"authorization"))
        token = tokens.verify(brought)
        if token is None:
            await self.close(TOKEN_EXPIRED if tokens.has_expired(brought) else UNAUTHENTICATED)
            return
        self.recipient = token.recipient
        self._expire_with(token)
        await self._begin()

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close it, and count why: only a socket that was let in can be slow."""
        if code == TOO_MANY:
            metrics.sockets_closed.labels("slow" if self._ending else "too_many").inc()
        elif code in REASONS:
            metrics.sockets_closed.labels(REASONS[code]).inc()
        await super().close(code, reason)

    async def disconnect(self, code: int) -> None:  # noqa: ARG002 - Channels' signature
        """Whatever ended the socket: the hub forgets it, and nothing of it is left running."""
        self._open = False
        if self._expiry:
            self._expiry.cancel()
        if self._sender:
            self._sender.cancel()
        if self._hub:
            await self._hub.leave(self)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:  # noqa: ARG002
        """A client's frame: does it, or says what is wrong with it."""
        try:
            message = _parse(text_data)
            handler = self._handlers().get(message.get("type", ""))
            if handler is None:
                known = ", ".join(self._handlers())
                raise FrameError("unknown_type", f"/type must be one of: {known}")
            await handler(message)
        except FrameError as error:
            self._say({"type": "error", "code": error.code, "detail": error.detail})
        except (DatabaseError, RedisError) as error:
            log.warning("socket.request_failed", recipient=self.recipient, error=repr(error))
            self._say({"type": "error", "code": "unavailable", "detail": "not possible now; try again soon"})

    def deliver(self, text: str) -> None:
        """Queue a frame. A client that leaves too much unread is let go: it resumes by `seq` when it can."""
        if self._ending or self._said(text):
            return
        characters = self._waiting_characters + len(text)
        if len(self._waiting) >= MAX_WAITING_FRAMES or characters > MAX_WAITING_CHARACTERS:
            self._end(TOO_MANY)
            return
        self._waiting.append(text)
        self._waiting_characters = characters
        self._wake()

    async def _begin(self) -> None:
        try:
            self._hub = await Hub.of_this_loop()
            if not await self._hub.join(self):
                self._hub = None
                await self.close(TOO_MANY)
                return
            # After joining: what is committed from now on is announced to us, what was before is in this state.
            state = await in_thread(inbox.state, self.recipient)
        except (DatabaseError, RedisError, OSError) as error:
            log.warning("socket.refused", recipient=self.recipient, error=repr(error))
            await self.close(TRY_LATER)
            return
        hello = {
            "type": "hello",
            "recipient": self.recipient,
            "unread": state.unread,
            "seq": state.seq,
            "heartbeat": settings.NOTIFY.heartbeat_seconds,
        }
        self._waiting.appendleft(first := representation.frame(hello))
        self._waiting_characters += len(first)
        self._open = not self._ending
        self._wake()

    def _handlers(self) -> dict[str, Callable[[dict[str, Any]], Awaitable[None]]]:
        return {"resume": self._resume, "read": self._read, "ping": self._ping}

    async def _resume(self, message: dict[str, Any]) -> None:
        after = message.get("after")
        if type(after) is not int or after < 0:
            raise FrameError("invalid_frame", "/after must be a whole number, 0 or more")
        missed = await in_thread(inbox.missed, self.recipient, min(after, 2**63 - 1))
        # Straight to the socket, so that a long catch-up waits for a slow client instead of counting against it.
        for row in missed.rows:
            shown = representation.shown_row(row)
            await self.send(representation.notification_frame(shown, missed.state.unread))
        self._say(
            {
                "type": "resumed",
                "count": len(missed.rows),
                "seq": missed.seq,
                "complete": missed.complete,
            }
        )

    async def _read(self, message: dict[str, Any]) -> None:
        ids = _ids_of(message)
        changed, state = await in_thread(inbox.mark_read, self.recipient, ids)
        if not changed:
            # Nothing to tell the others; who asked still gets an answer.
            self.deliver(representation.read_frame(None if ids is None else [], state.unread))

    async def _ping(self, message: dict[str, Any]) -> None:  # noqa: ARG002 - one signature for all handlers
        self._say({"type": "pong"})

    def _say(self, message: dict[str, object]) -> None:
        self.deliver(representation.frame(message))

    def _said(self, text: str) -> bool:
        """Send a text at once, where nothing waits before it; whether that is done."""
        if self._say_at_once is None or not self._open or self._sender is not None:
            return False
        return self._say_at_once(text)

    def _wake(self) -> None:
        if self._open and self._waiting and self._sender is None:
            self._sender = asyncio.create_task(self._send_waiting())

    async def _send_waiting(self) -> None:
        # A socket that is gone while frames wait is no error: `disconnect` follows.
        with contextlib.suppress(OSError, RuntimeError):
            while self._waiting:
                text = self._waiting.popleft()
                self._waiting_characters -= len(text)
                await self.send(text)
        self._sender = None

    def _expire_with(self, token: RecipientToken) -> None:
        seconds = max(0.0, token.expires_at - time.time())
        self._expiry = asyncio.get_running_loop().call_later(seconds, self._end, TOKEN_EXPIRED)

    def _end(self, code: int) -> None:
        self._open, self._ending = False, True
        self._waiting.clear()
        self._waiting_characters = 0
        self._closing = asyncio.create_task(self.close(code))

    def _header(self, name: bytes) -> str:
        values = [value for key, value in self.scope["headers"] if key == name]
        return values[0].decode("latin-1") if values else ""


def bearer(subprotocols: list[str], authorization: str) -> str:
    """The token a client brings: as the sub-protocol `bearer.<token>`, or in the Authorization header; else empty."""
    offered = (name.removeprefix(BEARER) for name in subprotocols if name.startswith(BEARER))
    scheme, _, credentials = authorization.partition(" ")
    return next(offered, credentials.strip() if scheme.lower() == "bearer" else "")


def origin_allowed(origin: str, host: str) -> bool:
    """Whether a page from this origin may open sockets: our own, or one of NOTIFY_ALLOWED_ORIGINS.

    No Origin is no browser, and nobody's page: then the token alone decides.
    """
    if not origin:
        return True
    if origin in settings.NOTIFY_ALLOWED_ORIGINS or "*" in settings.NOTIFY_ALLOWED_ORIGINS:
        return True
    try:
        parts = urlsplit(origin)
        own_host = parts.netloc.lower() == host.lower() and bool(parts.hostname)
    except ValueError:
        return False
    return own_host and validate_host(parts.hostname or "", settings.ALLOWED_HOSTS or ["localhost"])


def _parse(text: str | None) -> dict[str, Any]:
    if text is None:
        raise FrameError("invalid_frame", "frames are text, not binary")
    if len(text) > MAX_FRAME_CHARACTERS:
        raise FrameError("invalid_frame", f"a frame has at most {MAX_FRAME_CHARACTERS} characters")
    try:
        message = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise FrameError("invalid_json", "a frame is a JSON object") from None
    if not isinstance(message, dict) or not isinstance(message.get("type", ""), str):
        raise FrameError("invalid_frame", "a frame is a JSON object with a /type")
    return message


def _ids_of(message: dict[str, Any]) -> list[UUID] | None:
    """The ids that a `read` frame names; None for all."""
    if message.get("all") is True and "ids" not in message:
        return None
    ids = message.get("ids")
    if "all" in message or not isinstance(ids, list) or not 1 <= len(ids) <= inbox.MAX_IDS:
        raise FrameError("invalid_frame", f"either /all is true or /ids has 1 to {inbox.MAX_IDS} ids")
    try:
        return msgspec.convert(ids, list[UUID])
    except msgspec.ValidationError:
        raise FrameError("invalid_frame", "/ids must be ids of notifications") from None
