"""Large bodies of requests under Daphne: they stay on the disk, and are read as they are asked for."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from io import BytesIO
from typing import IO, Any, Final

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

BLOCK_BYTES: Final = 64 * 1024
# Where a request's scope has its body, on its way from Daphne to the application.
BODY: Final = "notify.body"


def from_disk(application: Application) -> Application:
    """The application, and under Daphne one that is given large bodies block by block.

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
            await application(scope, _Body(body, receive).receive, send)

    return reading


def _leaving_bodies(create: Callable[..., Any]) -> Callable[..., Any]:
    """Daphne's own way to call the application, which finds no body where it is in a file."""

    def create_application(server: Any, protocol: Any, scope: Message) -> Any:  # noqa: ANN401 - Daphne's own
        if scope["type"] == "http" and not isinstance(protocol.content, BytesIO):
            scope[BODY], protocol.content = protocol.content, BytesIO()
        return create(server, protocol, scope)

    return create_application


class _Body:
    """A body in a file, as messages; what Daphne has to say comes after it: that it is over, that the client left."""

    def __init__(self, file: IO[bytes], receive: Receive) -> None:
        self._file = file
        self._receive = receive

    async def receive(self) -> Message:
        """The next message."""
        block = self._file.read(BLOCK_BYTES)
        if not block:
            return await self._receive()
        # Nothing is waited for here, and others have their turn between two blocks.
        await asyncio.sleep(0)
        return {"type": "http.request", "body": block, "more_body": True}
