"""A request as Daphne has it, which keeps its body on the disk, and answers what goes wrong as a problem."""

from http import HTTPStatus
from typing import Any

from daphne.http_protocol import WebRequest
from twisted.internet.defer import Deferred

from notifications.api import problems
from notify_project.gateway import refusals
from notify_project.gateway.refusals import Refusal
from notify_project.gateway.room import Room


class Request(WebRequest):  # type: ignore[misc]  # Daphne has no types
    """A request and its answer."""

    @property
    def room(self) -> Room:
        """Its connection's; one for itself when that is gone."""
        channel = getattr(self, "channel", None)
        return channel.room if channel else Room()

    def gotLength(self, length: int | None) -> None:
        """Prepare for a body, in memory when it is small and else on the disk. Raises Refusal."""
        try:
            super().gotLength(length)
        except OSError:
            raise Refusal(507, refusals.NO_ROOM) from None

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body. Raises Refusal."""
        self.channel.count(len(data))
        try:
            super().handleContentChunk(data)
        except OSError:
            raise Refusal(507, refusals.NO_ROOM) from None

    def process(self) -> "Deferred[None]":
        """Give it to the application, or its connection to a WebSocket."""
        channel = self.channel
        begun: Deferred[None] = super().process()
        if self.transport is None:
            channel.handed_over()
        return begun

    def scope_of(self, method: bytes, uri: bytes) -> dict[str, Any]:
        """What ASGI would say of it, while its body has yet to come."""
        path, _, query = uri.partition(b"?")
        headers = [
            (name.lower(), value)
            for name, values in self.requestHeaders.getAllRawHeaders()
            for value in values
            if b"_" not in name
        ]
        return {
            "type": "http",
            "method": method.decode("latin-1"),
            "path": path.decode("latin-1"),
            "query_string": query,
            "headers": headers,
            "scheme": "https" if self.isSecure() else "http",
        }

    def basic_error(self, status: int, status_text: bytes, text: str) -> None:  # noqa: ARG002 - Daphne's signature
        """An answer that Django has no part in."""
        if self._response_started or getattr(self, "channel", None) is None:
            self.break_off()
            return
        detail = refusals.NOT_HTTP if status == HTTPStatus.BAD_REQUEST else problems.WENT_WRONG
        body = problems.problem(status, detail, [])
        headers = [
            (b"Content-Type", problems.MEDIA_TYPE.encode()),
            (b"Content-Length", str(len(body)).encode()),
        ]
        self.handle_reply({"type": "http.response.start", "status": status, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": body})

    def break_off(self) -> None:
        """Close the connection in the middle of an answer, so that nobody takes it for the whole."""
        channel = getattr(self, "channel", None)
        if channel is not None:
            channel.transport.abortConnection()
