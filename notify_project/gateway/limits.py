"""How much a client may send, how slowly, and how little of its answers it may read. docs/limits.md says the same."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from django.conf import settings

from bulk.api.making import LINES, MAX_INLINE_BYTES
from notifications.api.base import MAX_BATCH_BYTES, MAX_SINGLE_BYTES

# A request's line and headers.
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 100
# From a request's first byte to the end of its headers.
HEAD_SECONDS: Final = 10.0
# Between two pieces of a body; and after as long, how many bytes a second have come on average.
BODY_IDLE_SECONDS: Final = 30.0
MIN_BYTES_PER_SECOND: Final = 1024
# Between two requests of a connection, and before the first.
IDLE_SECONDS: Final = 60.0
# Who takes nothing for so long of what is ready for it is cut off.
STALLED_SECONDS: Final = 60.0
# A refused client may finish sending for so long: cut off at once, it would miss the answer that says why.
LINGER_SECONDS: Final = 5.0

# A socket's message, of as many bytes as the longest frame that is understood (MAX_FRAME_CHARACTERS) may have.
MAX_MESSAGE_BYTES: Final = 256 * 1024
MAX_FRAGMENTS: Final = 1000
# What a socket's client said and nobody has looked at; past that, it is not read from.
MAX_UNREAD_MESSAGES: Final = 32
# Where thousands of sockets come or go at once, each waits for its turn: cut off before, it would only come again.
TURN_SECONDS: Final = 120
# For a client's part in the closing handshake.
CLOSE_SECONDS: Final = 5.0

BULK: Final = ("POST", "/api/bulk")
OF_PATHS: Final[Mapping[str, int]] = {
    "/api/notify/batch": MAX_BATCH_BYTES,
    "/api/bulk": MAX_INLINE_BYTES,
}
OF_PROGRAMS: Final = ("/api/", "/dashboard/")


def body_bytes(path: bytes) -> int:
    """How many bytes a request's body may have at an address, of anybody."""
    decoded = unquote(path.partition(b"?")[0].decode("latin-1"))
    if decoded in OF_PATHS:
        return OF_PATHS[decoded]
    if decoded.startswith(OF_PROGRAMS):
        return MAX_SINGLE_BYTES
    size: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return size


def unbounded(method: bytes, path: bytes, content_type: bytes) -> bool:
    """Whether a request's body has no bound for those who may send it: a list of recipients, a line each."""
    asked = (method.decode("latin-1"), unquote(path.partition(b"?")[0].decode("latin-1")))
    return asked == BULK and content_type.partition(b";")[0].strip().lower() == LINES.encode()
