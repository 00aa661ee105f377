"""What a verdict finds."""

from dataclasses import dataclass
from enum import StrEnum


class Wrong(StrEnum):
    """What a deployment can do wrong, each of them never."""

    LOST = "lost"
    DOUBLED = "doubled"
    DRIFTED = "drifted"
    MISSED = "missed on sockets"
    CONDEMNED = "condemned"
    ATTEMPTS = "attempts wrong"
    LEFT_OVER = "left over"
    ANSWERS = "wrong answers"
    STOPPED_LATE = "stopped late"
    ENDED = "ended unasked"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what is known of it."""

    wrong: Wrong
    words: str
