"""Daphne's server with limits: its connections are looked at every second, and whoever sends waits for who reads."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog
from daphne.http_protocol import HTTPFactory
from daphne.server import Server as Daphne
from twisted.internet import defer, reactor
from twisted.internet.endpoints import serverFromString
from twisted.logger import LogLevel, STDLibLogObserver, globalLogBeginner

from notifications.live.consumers import SAY
from notify_project import bodies
from notify_project.bodies import Message
from notify_project.gateway.channel import Channel
from notify_project.gateway.request import Request
from notify_project.gateway.sockets import SocketFactory, Unread

log = structlog.get_logger("notify.web")

CHECK_SECONDS: Final = 1.0
# Connections that wait to be let in: thousands come back at once when a gateway is started again.
BACKLOG: Final = 1024


class Factory(HTTPFactory):  # type: ignore[misc]  # Daphne has no types
    """Makes a channel of a connection, and knows all that speak HTTP."""

    def __init__(self, server: "Server") -> None:
        super().__init__(server)
        # Each channel has its own.
        self.timeOut = None
        self.channels: set[Channel] = set()

    def buildProtocol(self, addr: object) -> Channel:  # noqa: ARG002 - Twisted's
        """A connection's."""
        channel = Channel()
        channel.factory, channel.requestFactory = self, Request
        channel.callLater, channel.timeOut = self.reactor.callLater, None
        self.channels.add(channel)
        return channel


class Server(Daphne):  # type: ignore[misc]  # Daphne has no types
    """The server."""

    def run(self) -> None:
        """Listen, and serve until it is stopped."""
        self.connections: dict[Any, dict[str, Any]] = {}
        self.http_factory = Factory(self)
        self.ws_factory = SocketFactory(self, server=self.server_name)
        self.ws_factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            allowNullOrigin=True,
            openHandshakeTimeout=self.websocket_handshake_timeout,
            maxMessagePayloadSize=self.websocket_max_message_size,
            maxFramePayloadSize=self.websocket_max_frame_size,
        )
        observer = STDLibLogObserver(__name__) if self.verbosity > 1 else _tell
        globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
        for endpoint in self.endpoints:
            listener = serverFromString(reactor, _patient(endpoint)).listen(self.http_factory)
            listener.addCallback(self.listen_success)
            listener.addErrback(self.listen_error)
            self.listeners.append(listener)
        asyncio.set_event_loop(reactor._asyncioEventloop)  # noqa: SLF001 - Daphne's way
        for check in (self.application_checker, self.timeout_checker, self.check_channels):
            reactor.callLater(CHECK_SECONDS, check)
        reactor.addSystemEventTrigger("before", "shutdown", self.kill_all_applications)
        if not self.abort_start:
            reactor.run(installSignalHandlers=self.signal_handlers)

    def create_application(self, protocol: Any, scope: Message) -> asyncio.Queue[Message] | None:  # noqa: ANN401
        """Begin the application for a request or a socket; the queue is of what its client says."""
        details = self.connections.get(protocol)
        if details is None:
            return None
        socket = scope["type"] == "websocket"
        said: asyncio.Queue[Message] = Unread(protocol.transport) if socket else asyncio.Queue()
        if socket:
            scope[SAY] = protocol.say
        else:
            bodies.leave(protocol, scope)
        scope.setdefault("asgi", {"version": "3.0"})
        running = self.application(scope=scope, receive=said.get, send=partial(self.handle_reply, protocol))
        details["application_instance"] = asyncio.ensure_future(running)
        return said

    async def handle_reply(self, protocol: Any, message: Message) -> None:  # noqa: ANN401
        """Send what the application says; returns when there is room for more of it."""
        room = protocol.room
        await super().handle_reply(protocol, message)
        if message["type"] == "websocket.send" or message.get("more_body"):
            await room.free()

    def protocol_disconnected(self, protocol: Any) -> None:  # noqa: ANN401
        """A connection is over. Its application may have been, long before."""
        if protocol in self.connections:
            super().protocol_disconnected(protocol)

    def application_checker(self) -> None:
        """Forget applications that are over; comes again whatever happens, as nobody else would."""
        try:
            super().application_checker()
        except Exception:
            log.exception("gateway.failed")
            reactor.callLater(CHECK_SECONDS, self.application_checker)

    def timeout_checker(self) -> None:
        """Look at every request and socket."""
        self._look_at(list(self.connections), lambda connection, _: connection.check_timeouts())
        reactor.callLater(2 * CHECK_SECONDS, self.timeout_checker)

    def check_channels(self) -> None:
        """Look at every connection that speaks HTTP."""
        self._look_at(list(self.http_factory.channels), Channel.check)
        reactor.callLater(CHECK_SECONDS, self.check_channels)

    def kill_all_applications(self) -> Any:  # noqa: ANN401 - Twisted's Deferred
        """End all applications, and return when they have ended."""
        running = [details.get("application_instance") for details in self.connections.values()]
        waited_for = [task for task in running if task is not None and not task.done()]
        for task in waited_for:
            task.cancel()
        ended = defer.Deferred.fromFuture(asyncio.gather(*waited_for, return_exceptions=True))
        ended.addErrback(lambda _: None)
        return ended

    @staticmethod
    def _look_at(connections: list[Any], look: Callable[[Any, float], object]) -> None:
        now = time.monotonic()
        for connection in connections:
            try:
                look(connection, now)
            except Exception:
                log.exception("gateway.failed")


def _patient(endpoint: str) -> str:
    """An endpoint as Twisted takes it, with a longer queue in front of it than Twisted's 50."""
    return f"{endpoint}:backlog={BACKLOG}" if endpoint.startswith("tcp:") and "backlog=" not in endpoint else endpoint


def _tell(event: dict[str, Any]) -> None:
    """What Twisted could not handle, as a line of our log; of the rest nothing."""
    if event.get("log_level") not in {LogLevel.error, LogLevel.critical}:
        return
    failure = event.get("log_failure")
    if failure is None:
        log.error("gateway.failed", error=event.get("log_format"))
    else:
        log.error("gateway.failed", exc_info=(failure.type, failure.value, failure.getTracebackObject()))
