"""Criteria, times and letters as people read them."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from django.utils import timezone

from dlq.models import DeadLetter
from dlq.replay import Criteria
from notifications import representation

MAX_ERROR: Final = 200
UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60))

_WORDS: Final = {
    "reason": "reason",
    "fingerprint": "an error with the fingerprint",
    "type": "of type",
    "recipient": "to",
}


def in_words(chosen: Criteria) -> Iterator[str]:
    """Criteria one by one, in words: “reason invalid”, “to alice”."""
    if not any(getattr(chosen, field) for field in ("ids", "since", *_WORDS)):
        yield "every dead letter"
    if chosen.ids:
        many = f"{len(chosen.ids):,} letters, chosen one by one"
        yield f"the letter {chosen.ids[0]}" if len(chosen.ids) == 1 else many
    for field, words in _WORDS.items():
        if value := getattr(chosen, field):
            yield f"{words} {value}"
    match chosen.since, chosen.until:
        case datetime() as since, datetime() as until:
            yield f"died between {moment(since)} and {moment(until)}"
        case datetime() as since, None:
            yield f"died at {moment(since)} or later"
        case None, datetime() as until:
            yield f"died at {moment(until)} or earlier"


def moment(at: datetime) -> str:
    """A moment to the second: `2026-01-31 08:15:00 UTC`; as it was given where no calendar has it in UTC."""
    try:
        return representation.timestamp(at)[:19].replace("T", " ") + " UTC"
    except OverflowError:
        return at.isoformat(" ", "seconds")


def ago(at: datetime) -> str:
    """How long ago that was, in one unit: “4 min ago”."""
    seconds = int((timezone.now() - at).total_seconds())
    if seconds < 1:
        return "just now"
    return next((f"{seconds // unit} {name} ago" for name, unit in UNITS if seconds >= unit), f"{seconds} s ago")


def counted(letters: int) -> str:
    """“1 letter”, “1,204 letters”."""
    return "1 letter" if letters == 1 else f"{letters:,} letters"


def with_verb(number: int, one: str, many: str) -> str:
    """“1 was”, “1,204 were”."""
    return f"{number:,} {one if number == 1 else many}"


def times(number: object) -> str:
    """“once”, “2 times”."""
    return "once" if number == 1 else f"{number} times"


def first_line(error: str) -> str:
    """An error in one line, no longer than a row of a table bears."""
    line = next((line.strip() for line in error.splitlines() if line.strip()), "")
    return line if len(line) <= MAX_ERROR else f"{line[:MAX_ERROR]}…"


def row(letter: DeadLetter) -> dict[str, Any]:
    """A letter as a row of a table."""
    return {"letter": letter, "ago": ago(letter.last_failed_at), "error": first_line(letter.error)}
