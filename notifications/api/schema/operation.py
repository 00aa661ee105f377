"""What is said of an operation: to whom it answers, what it takes, what it answers. Values only."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from notifications.access.principal import Scope

JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"

Place = Literal["path", "query", "header"]


class OneOf(NamedTuple):
    """One of several types, of which a value fits no more than one; msgspec has unions of tagged structs only."""

    kinds: Sequence[Any]


class Parameter(NamedTuple):
    """A value beside the body. `kind` is an annotated type, whose limits are the parameter's.

    What is not required has no `example`: pages that try the API out would send it.
    """

    name: str
    where: Place
    kind: Any
    description: str
    example: Any = None
    required: bool = False


class Content(NamedTuple):
    """A body of one media type: its type, and whole bodies by a name that says what they show."""

    kind: Any
    examples: Mapping[str, Any]


class Body(NamedTuple):
    """What is sent, by media type; at most `limit` bytes of it (None: any number), or none at all if not `required`."""

    contents: Mapping[str, Content]
    limit: int | None
    required: bool = True
    description: str = ""


class Answer(NamedTuple):
    """A success, in any of its media types. Without a `kind` it has no body. `headers` are names of `parts.HEADERS`."""

    description: str
    kind: Any = None
    examples: Mapping[str, Any] = {}
    headers: Sequence[str] = ()
    media_types: Sequence[str] = (JSON,)


class Operation(NamedTuple):
    """One method at one address.

    `scope` is the API key's; with `recipient`, a token of that recipient is enough. Without either, anybody may call.
    `once`: an Idempotency-Key is heard. `rated`: it is counted against the caller's rate. `problems`: statuses, beside
    those that follow from the rest, each with what it means here.
    """

    name: str
    tag: str
    summary: str
    description: str
    answers: Mapping[int, Answer]
    scope: Scope | None = None
    recipient: bool = False
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    once: bool = False
    rated: bool = False
    problems: Mapping[int, str] = {}


# By method and path: "POST /api/notify".
Operations = Mapping[str, Operation]


def json_body(kind: type[msgspec.Struct], limit: int, *, required: bool = True, **examples: Any) -> Body:  # noqa: ANN401
    """A body of JSON; each example is named by its keyword."""
    return Body({JSON: Content(kind, examples)}, limit, required)
