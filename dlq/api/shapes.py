"""What users see of a letter."""

from typing import Any

import msgspec

from dlq.models import DeadLetter, Passage
from notifications.representation import timestamp


def summary(letter: DeadLetter) -> dict[str, Any]:
    """A letter as a list shows it. Times are RFC 3339 UTC."""
    return {
        "id": str(letter.pk),
        "status": letter.get_status_display(),
        "recipient": letter.recipient or None,
        "type": letter.type or None,
        "payload": _payload(letter.payload),
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


def _payload(stored: bytes | memoryview) -> object:
    """A payload as JSON where it is JSON, whether or not an event; else as text."""
    payload = bytes(stored)
    try:
        msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return payload.decode(errors="replace")
    return msgspec.Raw(payload)
