"""Large bodies of requests under Daphne: they stay on the disk, where Django reads them."""

import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from io import BytesIO
from typing import IO, Any, Final

from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

# Where a request's scope has its body, on its way from Daphne to the application.
BODY: Final = "notify.body"


class Handler(ASGIHandler):
    """Django's handler, which copies no body that is in a file already: that would take the disk twice."""

    async def read_body(self, receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> IO[bytes]:
        """The whole body, as a file."""
        if not isinstance(receive, _Received):
            body: IO[bytes] = await super().read_body(receive)
            return body
        # An empty one, of which Daphne knows.
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestAborted
        return receive.body


def from_disk(application: Application) -> Application:
    """The application, and under Daphne one that finds large bodies where they are.

    Twisted writes a body of 100 kB or more to a temporary file. When all of it is there, Daphne would put all of it
    into a queue in memory before the application reads a byte. Other ASGI servers hand bodies on as they come.
    """
    if "daphne.server" not in sys.modules:
        return application
    server = sys.modules["daphne.server"].Server
    server.create_application = _leaving_bodies(server.create_application)

    async def reading(scope: Message, receive: Receive, send: Send) -> None:
        body: IO[bytes] | None = scope.pop(BODY, None)
        if body is None:
            await application(scope, receive, send)
            return
        with body:
            await application(scope, _Received(body, receive), send)

    return reading


def leave(protocol: Any, scope: Message) -> None:  # noqa: ANN401 - Daphne's own
    """Let a request's body be where it is, if that is a file; Daphne finds none to hand on."""
    if scope["type"] == "http" and not isinstance(protocol.content, BytesIO):
        scope[BODY], protocol.content = protocol.content, BytesIO()


def _leaving_bodies(create: Callable[..., Any]) -> Callable[..., Any]:
    """Daphne's own way to call the application."""

    def create_application(server: Any, protocol: Any, scope: Message) -> Any:  # noqa: ANN401 - Daphne's own
        leave(protocol, scope)
        return create(server, protocol, scope)

    return create_application


class _Received:
    """What a client sends after its body, which is in a file: that it is over, that the client left."""

    def __init__(self, body: IO[bytes], receive: Receive) -> None:
        self.body = body
        self._receive = receive

    async def __call__(self) -> Message:
        """The next message."""
        return await self._receive()
