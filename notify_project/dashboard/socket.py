"""`/ws/dashboard/`: live frames for members of staff, who are known by their session.

A process holds one channel in the group of dashboards (notifications/live/dashboard.py), whatever the number of its
sockets. A frame is a hint: a browser that reads too slowly misses the oldest, and asks for what it wants to be sure of.
(Daphne by itself takes every frame at once; our gateway, like other servers, when there is room for it.)
"""

import asyncio
import contextlib
from collections import deque
from importlib import import_module
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib import auth
from django.http import HttpRequest, parse_cookie
from django.urls import path

from notifications import representation
from notifications.live.consumers import FOREIGN_ORIGIN, TRY_LATER, UNAUTHENTICATED, origin_allowed
from notifications.live.dashboard import GROUP
from notifications.live.threads import in_thread
from notifications.process import OUTAGES
from notify_project.dashboard.ticker import Ticker

log = structlog.get_logger("notify.live")

MAX_WAITING_FRAMES: Final = 200
# How long somebody who signs out elsewhere, or is no member of staff any more, goes on to see frames.
CHECK_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 1.0
# So long a new dashboard waits for the gateway to be one of the group.
JOIN_SECONDS: Final = 1.5


class Gateway:
    """All dashboards of this process. Lives on one event loop and is touched from it alone."""

    _of_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "Gateway"]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._sockets: set[DashboardConsumer] = set()
        self._ticker = Ticker(self._deliver)
        # Set as soon as the gateway has joined the group, or was kept from it.
        self._tried = asyncio.Event()
        self._task = asyncio.create_task(self._receive())

    @classmethod
    def of_this_loop(cls) -> "Gateway":
        """The process' gateway, made for the first socket."""
        loop = asyncio.get_running_loop()
        gateway = cls._of_loop.get(loop)
        if gateway is None:
            gateway = cls._of_loop[loop] = cls()
        return gateway

    async def ready(self) -> None:
        """Return when the gateway is told what others tell; or soon, without: an outage is what a dashboard is for."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), JOIN_SECONDS)

    def join(self, socket: "DashboardConsumer") -> None:
        """Let a socket have every frame from now on, and the newest of each kind that repeats itself."""
        self._sockets.add(socket)
        for text in self._ticker.latest():
            socket.deliver(text)
        self._ticker.start()

    def leave(self, socket: "DashboardConsumer") -> None:
        """Let a socket go; with the last one, nothing is looked at any more."""
        self._sockets.discard(socket)
        if not self._sockets:
            self._ticker.stop()

    def _deliver(self, text: str) -> None:
        for socket in tuple(self._sockets):
            socket.deliver(text)

    async def _receive(self) -> None:
        """Hand what is told to every socket, for as long as the process lives."""
        layer, channel, lost = get_channel_layer(), "", False
        while True:
            try:
                channel = channel or await self._join_group()
                self._tried.set()
                message: dict[str, Any] = await layer.receive(channel)
                self._deliver(message["text"])
                lost = False
            except Exception as error:  # noqa: BLE001 - a gateway outlives whatever one message brings
                self._tried.set()
                if not lost:
                    log.warning("dashboard.receive_failed", error=repr(error))
                lost = True
                await asyncio.sleep(RETRY_SECONDS)

    @staticmethod
    async def _join_group() -> str:
        layer = get_channel_layer()
        channel: str = await layer.new_channel("dashboards.")
        try:
            await layer.group_add(GROUP, channel)
        except BaseException:
            # Or it would be told everything, and nobody would take it.
            with contextlib.suppress(Exception):
                await layer.group_discard(GROUP, channel)
            raise
        return channel


class DashboardConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """A socket. The gateway receives for all of them, so it has no channel of its own."""

    channel_layer_alias = "none"

    def __init__(self) -> None:
        super().__init__()
        self._gateway: Gateway | None = None
        self._waiting: deque[str] = deque(maxlen=MAX_WAITING_FRAMES)
        self._sender: asyncio.Task[None] | None = None
        self._guard: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Let in who may, and say hello; refusals are close codes, so browsers see them."""
        await self.accept()
        if not origin_allowed(self._header(b"origin"), self._header(b"host")):
            await self.close(FOREIGN_ORIGIN)
            return
        try:
            if not await in_thread(is_staff, self._session_key()):
                await self.close(UNAUTHENTICATED)
                return
        except OUTAGES as error:
            log.warning("dashboard.refused", error=repr(error))
            await self.close(TRY_LATER)
            return
        gateway = Gateway.of_this_loop()
        await gateway.ready()
        self.deliver(representation.frame({"type": "hello"}))
        self._gateway = gateway
        gateway.join(self)
        self._guard = asyncio.create_task(self._check())

    async def disconnect(self, code: int) -> None:  # noqa: ARG002 - Channels' signature
        """Whatever ended the socket: the gateway forgets it, and nothing of it is left running."""
        if self._gateway:
            self._gateway.leave(self)
        for task in (self._guard, self._sender):
            if task:
                task.cancel()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Nothing: a dashboard has nothing to say, and what it says all the same is not kept."""

    def deliver(self, text: str) -> None:
        """Queue a frame, in the place of the oldest where too many wait; must not wait itself."""
        self._waiting.append(text)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_waiting())

    async def _send_waiting(self) -> None:
        # A socket that is gone while frames wait is no error: `disconnect` follows.
        with contextlib.suppress(OSError, RuntimeError):
            while self._waiting:
                await self.send(self._waiting.popleft())
        self._sender = None

    async def _check(self) -> None:
        """Close as soon as the session is no member of staff's any more. An outage says nothing about that."""
        allowed = True
        while allowed:
            await asyncio.sleep(CHECK_SECONDS)
            with contextlib.suppress(*OUTAGES):
                allowed = await in_thread(is_staff, self._session_key())
        await self.close(UNAUTHENTICATED)

    def _session_key(self) -> str:
        return str(parse_cookie(self._header(b"cookie")).get(settings.SESSION_COOKIE_NAME, ""))

    def _header(self, name: bytes) -> str:
        values = [value for key, value in self.scope["headers"] if key == name]
        return values[0].decode("latin-1") if values else ""


class _Looked(dict[str, Any]):
    """What is in a session, for looking only.

    After a change of SECRET_KEY Django would give the session another key, of which a socket cannot tell the browser:
    its user would be signed out.
    """

    def cycle_key(self) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""


def is_staff(session_key: str) -> bool:
    """Whether a session is that of a member of staff, by the rules by which Django lets in a request."""
    if not session_key:
        return False
    request = HttpRequest()
    session: Any = _Looked(import_module(settings.SESSION_ENGINE).SessionStore(session_key).load())
    request.session = session
    user: Any = auth.get_user(request)
    return bool(user.is_active and user.is_staff)


websocket_urlpatterns = [path("ws/dashboard/", DashboardConsumer.as_asgi())]
