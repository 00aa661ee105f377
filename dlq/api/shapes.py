"""What users see of a letter."""

from typing import Any, Final

import msgspec

from dlq import deaths
from dlq.models import DeadLetter, Passage
from notifications.events import Draft
from notifications.representation import timestamp

# What of an event is its producer's: recipient, type, title, body, data.
SENT: Final = Draft.__struct_fields__


def summary(letter: DeadLetter) -> dict[str, Any]:
    """A letter as a list shows it. Times are RFC 3339 UTC.

    `payload` is what was dead, as the stream carried it. `notification` is the event in it as a producer sends it, and
    as a replay takes it back, corrected; null where the payload cannot be read.
    """
    return {
        "id": str(letter.pk),
        "status": letter.get_status_display(),
        "recipient": letter.recipient or None,
        "type": letter.type or None,
        "payload": _payload(letter.payload),
        "notification": _notification(letter),
        "readable": letter.readable,
        "reason": letter.reason,
        "error": letter.error,
        "fingerprint": letter.fingerprint,
        "attempts": letter.attempts,
        "life": letter.life,
        "first_failed_at": timestamp(letter.first_failed_at),
        "last_failed_at": timestamp(letter.last_failed_at),
        "replay": str(letter.replay_id) if letter.replay_id else None,
    }


def detail(letter: DeadLetter) -> dict[str, Any]:
    """A letter with its history, oldest first."""
    return {**summary(letter), "history": [_passage(passage) for passage in letter.history.all()]}


def _passage(passage: Passage) -> dict[str, Any]:
    return {
        "at": timestamp(passage.at),
        "what": Passage.Kind(passage.kind).name.lower(),
        "by": passage.by or None,
        "life": passage.life,
        "reason": passage.reason or None,
        "error": passage.error or None,
        "attempts": passage.attempts or None,
        # Of an edit: what the payload was before.
        "payload": None if passage.payload is None else _payload(passage.payload),
    }


def _notification(letter: DeadLetter) -> dict[str, Any] | None:
    event = deaths.read(bytes(letter.payload)) if letter.readable else None
    return {name: getattr(event, name) for name in SENT} if event else None


def _payload(stored: bytes | memoryview) -> object:
    """A payload as JSON where it is JSON, whether or not an event; else as text."""
    payload = bytes(stored)
    try:
        msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return payload.decode(errors="replace")
    return msgspec.Raw(payload)
