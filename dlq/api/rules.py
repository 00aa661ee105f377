"""What the fields of a letter may be asked for by, each with its rule as a sentence."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import Meta

from dlq.fingerprint import DIGITS
from notifications.events import EventType, Recipient

MAX_IDS: Final = 1000

Reason = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=40,
        pattern=r"^[a-z_]+\Z",
        description="must be the reason of a dead letter: invalid, retries_exhausted or crash",
    ),
]
Fingerprint = Annotated[
    str,
    Meta(pattern=rf"^[0-9a-f]{{{DIGITS}}}\Z", description=f"must be the fingerprint of an error: {DIGITS} of 0-9 a-f"),
]
Since = Annotated[
    datetime, Meta(tz=True, description="must be a time with its zone (RFC 3339), 2026-01-31T08:15:00Z for one")
]
Ids = Annotated[
    list[UUID],
    Meta(min_length=1, max_length=MAX_IDS, description=f"must be 1 to {MAX_IDS} ids of dead letters"),
]
Flag = Annotated[bool, Meta(description="must be true or false")]
Limit = Annotated[int, Meta(ge=1, description="must be a whole number, 1 or more")]

# As a query's parameters and as a body's fields.
FILTERS: Final[dict[str, Any]] = {
    "reason": Reason,
    "type": EventType,
    "recipient": Recipient,
    "fingerprint": Fingerprint,
    "since": Since,
}


def rule(kind: Any) -> str:  # noqa: ANN401 - an annotated type
    """The sentence of a type."""
    (meta,) = kind.__metadata__
    sentence: str = meta.description
    return sentence
