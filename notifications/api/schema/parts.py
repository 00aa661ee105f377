"""What many operations share: texts with a format, parameters, headers, and what every error looks like."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from notifications.access.authentication import CHALLENGE
from notifications.api.base import MAX_KEY_CHARACTERS
from notifications.api.query import DEFAULT_LIMIT, MAX_LIMIT
from notifications.api.schema.operation import Parameter
from notifications.events import EventType, Recipient

EXAMPLE_ID: Final = "0199c3a8-1f2e-7c41-9d55-6b1f0e8a2c7d"
OTHER_ID: Final = "0199c3a8-2b40-7d0e-8a11-3f9c5e7d41b2"
EXAMPLE_TIME: Final = "2026-01-31T08:15:00.250Z"

Id = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, description="RFC 3339, UTC, to the millisecond")]
Source = Annotated[Literal["api", "schedule", "bulk"], Meta(description="what the event came from")]
Count = Annotated[int, Meta(ge=0)]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str, Meta(min_length=1)]
IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=MAX_KEY_CHARACTERS, pattern=r"^[ -~]*\Z")]


class BrokenRule(msgspec.Struct):
    """A rule that was broken, and where: a JSON pointer (RFC 6901) into what was sent; empty for all of it.

    In a body of lines, `line` (the first is 1), and a pointer only where what stands there is an object.
    """

    detail: str
    pointer: str | msgspec.UnsetType = msgspec.UNSET
    line: Annotated[int, Meta(ge=1)] | msgspec.UnsetType = msgspec.UNSET


class Problem(msgspec.Struct):
    """An error (RFC 9457). `errors` is there where rules were broken: each of them, and where."""

    type: Literal["about:blank"]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    errors: list[BrokenRule] | msgspec.UnsetType = msgspec.UNSET


RECIPIENT: Final = Parameter(
    "recipient", "path", Recipient, "The recipient's id, as the producer names it; percent-encoded.", "alice", True
)
LIMIT: Final = Parameter("limit", "query", Limit, f"How many at most; {DEFAULT_LIMIT} unless said.")
CURSOR: Final = Parameter("cursor", "query", Cursor, "The `next` of the page before. Opaque.")
TYPE: Final = Parameter("type", "query", EventType, "Only of this type.")
IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    "header",
    IdempotencyKey,
    "For 24 hours the same key with the same body gets the first answer again, with `Idempotency-Replayed: true`, and "
    "nothing is done twice. With another body: 422. Each API key has keys of its own.",
)


def named(name: str, description: str) -> Parameter:
    """An id in the path."""
    return Parameter(name, "path", Id, description, EXAMPLE_ID, True)


def one_of(name: str, values: Mapping[str, object], description: str) -> Parameter:
    """A parameter that takes one of some words."""
    # Which words, is known where the program runs only: a Literal of them is made there.
    return Parameter(name, "query", Literal[tuple(values)], description)


HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Location": {
        "description": "Where what was made is looked up.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Idempotency-Replayed": {
        "description": "There, and `true`, where this is the answer to an earlier request with the same key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "RateLimit-Policy": {
        "description": 'The caller\'s rates: `"key";q=1000;w=1` is 1000 events in 1 second. Not for staff sessions.',
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": 'What is left: `"key";r=999;t=1` is 999 events now, and all of them again in 1 second.',
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which to come again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": f"`{CHALLENGE}`",
        "required": True,
        "schema": {"type": "string"},
    },
    "Allow": {
        "description": "The methods that the address has.",
        "schema": {"type": "string"},
    },
}
RATE_HEADERS: Final = ("RateLimit-Policy", "RateLimit")

PROBLEM_HEADERS: Final[dict[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After", *RATE_HEADERS),
    503: ("Retry-After",),
}
# What each is called, what it means wherever nothing else is said of it, and its `detail` in an example. The names are
# our own: those that Python has for statuses change with its version.
PROBLEMS: Final[dict[int, tuple[str, str, str]]] = {
    400: (
        "BadRequest",
        "The request breaks rules; `errors` names each.",
        "The request breaks rules; 'errors' names each.",
    ),
    401: (
        "Unauthorized",
        "Nobody known calls: no token, a wrong one, or one that is over.",
        "The API key is not valid, or no longer.",
    ),
    403: ("Forbidden", "The caller is known, and may not do this.", "This needs the scope 'manage'."),
    404: (
        "NotFound",
        "There is no such thing, or not for this caller.",
        "There is no such thing, or it is not yours to see.",
    ),
    409: (
        "Conflict",
        "This cannot be done to it as it is now; `detail` says why.",
        "It is too late: this schedule is fired.",
    ),
    413: (
        "TooLarge",
        "The body is too large; `detail` says how large it may be.",
        "The body must be at most 262144 bytes.",
    ),
    415: (
        "UnsupportedMediaType",
        "The body is not of a type that is taken.",
        "The body must be JSON: Content-Type: application/json.",
    ),
    422: (
        "KeyUsedTwice",
        "This Idempotency-Key came with another body before.",
        "This Idempotency-Key was used for a request with another body.",
    ),
    429: (
        "TooManyRequests",
        "The caller's rate is used up, or the recipient's. Nothing was accepted.",
        'API key "shop" may send 1000/s: 12 left just now, and this takes 20. Try again in 1 s. Nothing was accepted.',
    ),
    503: (
        "Unavailable",
        "Nobody can tell just now: a server is away, or too much waits. Almost always nothing was done.",
        "More events wait than are taken. Nothing was accepted.",
    ),
}
EXAMPLE_ERRORS: Final = [{"pointer": "/recipient", "detail": "is required"}]
