"""What a client is told that is refused before Django sees its request."""

from http import HTTPStatus
from typing import Final

from notifications.api import problems

TOO_SLOW: Final = "The request came too slowly."
NO_ROOM: Final = "There is no room to keep the body in just now."
HEAD_TOO_LARGE: Final = "The request's headers must be at most {limit} bytes."
TOO_MANY_HEADERS: Final = "The request must have at most {limit} headers."
ADDRESS_TOO_LONG: Final = "The request's first line must be at most {limit} bytes."
BODY_TOO_LARGE: Final = "The body must be at most {limit} bytes."
NO_BODY: Final = "A request for a WebSocket has no body."
EXPECTED: Final = "Only 'Expect: 100-continue' can be met."
ONE_HOST: Final = "A request has exactly one Host header."
FOREIGN_HOST: Final = "The Host header names no host that is served here (ALLOWED_HOSTS)."
PROTOCOLS: Final = "Sec-WebSocket-Protocol must be names in ASCII."
NOT_HTTP: Final = "This is no request in HTTP/1.1."
BROKEN: Final = "The request cannot be answered."
# RFC 9110's names, where Python's are those of earlier documents.
REASONS: Final = {413: "Content Too Large", 414: "URI Too Long"}


class Refusal(Exception):
    """A request that is not let in: its answer, after which the connection is closed."""

    def __init__(self, status: int, detail: str, *headers: tuple[str, str]) -> None:
        self.status = status
        self.detail = detail
        self.headers = headers
        super().__init__(detail)


def answer(refusal: Refusal) -> bytes:
    """The whole answer, as it goes over the connection."""
    body = problems.problem(refusal.status, refusal.detail, [])
    lines = [
        f"HTTP/1.1 {refusal.status} {REASONS.get(refusal.status) or HTTPStatus(refusal.status).phrase}",
        f"Content-Type: {problems.MEDIA_TYPE}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in refusal.headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
