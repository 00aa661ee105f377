"""What the deployment promised, on disk before anybody counts on it. The verdict is computed from this file alone."""

import os
import threading
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

# The detail of what was accepted for later: `when` is not when that was, but when it is due.
LATER: Final = "for later"


class What(StrEnum):
    """What an answer said of an event."""

    ACCEPTED = "accepted"  # 202
    UNKNOWN = "unknown"  # sent without a key, and the answer was lost: there once, or not at all
    REFUSED = "refused"  # 503 or 429, and sent without a key, so not sent again
    ORDERED = "ordered"  # its letter is to be replayed, as it is
    CORRECTED = "corrected"  # its letter is to be replayed without the fault
    MAY_BE_CORRECTED = "may-be-corrected"  # the same, and the answer was lost
    BULK = "bulk"  # 202: a bulk job, its recipients with a space between two
    BULK_MAY_BE_CANCELLED = "bulk-may-be-cancelled"  # it is about to be; nobody may ever say that it was
    BULK_CANCELLED = "bulk-cancelled"  # 200: `detail` is how many were fanned out
    WRONG = "wrong"  # an answer that the contract does not know


class Line(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line: an event and what was said of it. `when` is Unix seconds; `key` the idempotency key, if any."""

    what: What
    when: float
    number: int = 0
    id: str = ""
    recipient: str = ""
    kind: str = ""
    key: str = ""
    detail: str = ""


class Ledger:
    """An append-only file of lines; what `write` returned from is on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()

    def write(self, lines: Iterable[Line]) -> None:
        """Append lines, together."""
        text = msgspec.json.Encoder().encode_lines(lines)
        with self._turn, self._path.open("ab") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def read(path: Path) -> list[Line]:
    """Every line of a ledger."""
    return msgspec.json.Decoder(Line).decode_lines(path.read_bytes())
