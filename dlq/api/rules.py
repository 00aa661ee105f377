"""What the fields of a letter may be asked for by, each with its rule as a sentence."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from dlq.deaths import MAX_INTEGER
from dlq.fingerprint import DIGITS
from notifications.events import EventType, Recipient

MAX_IDS: Final = 1000
MAX_LIMIT: Final = 1_000_000

Reason = Annotated[
    Literal["invalid", "retries_exhausted", "crash"],
    Meta(description="must be the reason of a dead letter: invalid, retries_exhausted or crash"),
]
Fingerprint = Annotated[
    str,
    Meta(pattern=rf"^[0-9a-f]{{{DIGITS}}}\Z", description=f"must be the fingerprint of an error: {DIGITS} of 0-9 a-f"),
]
# A bound of the last failure, which belongs to what is asked for.
Since = Annotated[
    datetime, Meta(tz=True, description="must be a time with its zone (RFC 3339), 2026-01-31T08:15:00Z for one")
]
Ids = Annotated[
    list[UUID],
    Meta(min_length=1, max_length=MAX_IDS, description=f"must be 1 to {MAX_IDS} ids of dead letters"),
]
Flag = Annotated[bool, Meta(description="must be true or false")]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description=f"must be a whole number from 1 to {MAX_LIMIT}")]
Life = Annotated[
    int, Meta(ge=0, le=MAX_INTEGER, description="must be the 'life' of the letter as you saw it, a whole number")
]
Order = Annotated[UUID, Meta(description="must be the id of a replay")]

# As a query's parameters and as a body's fields.
FILTERS: Final[dict[str, Any]] = {
    "reason": Reason,
    "type": EventType,
    "recipient": Recipient,
    "fingerprint": Fingerprint,
    "since": Since,
    "until": Since,
}


def rule(kind: Any) -> str:  # noqa: ANN401 - an annotated type
    """The sentence of a type."""
    (meta,) = kind.__metadata__
    sentence: str = meta.description
    return sentence


def since(text: str) -> datetime:
    """A text's moment, in UTC. Raises msgspec.ValidationError or OverflowError where it is none, or none in UTC."""
    return msgspec.convert(text, Since).astimezone(UTC)


def is_since(text: str) -> bool:
    """Whether a text is such a moment: in UTC, a zone's first and last hours of all time are no dates any more."""
    try:
        since(text)
    except (msgspec.ValidationError, OverflowError):
        return False
    return True
