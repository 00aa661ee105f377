"""An entry of the dead letters' stream as PostgreSQL takes it, whatever was in it. No I/O."""

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

from dlq.fingerprint import fingerprint
from notifications import events
from notifications.events import Event
from notifications.exceptions import Invalid
from notifications.stream.letters import Letter

MAX_INTEGER: Final = 2**31 - 1
MAX_REASON: Final = 40


class Death(NamedTuple):
    """How one life of an event ended. `event_id` is its own, or one derived from the entry where it has none."""

    event_id: UUID
    life: int
    recipient: str
    type: str
    source_id: UUID | None
    payload: bytes
    readable: bool
    reason: str
    error: str
    fingerprint: str
    attempts: int
    first_failed_at: datetime
    failed_at: datetime


def death_of(letter: Letter) -> Death:
    """What is recorded of a letter. Any letter makes one, and the same letter the same."""
    event = read(letter.payload)
    outline = events.outline(letter.payload)
    failed_at = _moment(letter.failed_ms) or _moment(_entry_ms(letter.entry_id)) or datetime.now(UTC)
    reason, error = _text(letter.reason)[:MAX_REASON], _text(letter.error)
    return Death(
        event_id=_uuid(letter.event_id) or derived_id(letter.shard, letter.entry_id),
        life=_count(event.life) if event else 0,
        recipient=outline.recipient,
        type=outline.type,
        source_id=_uuid(event.source_id) if event and event.source_id else None,
        payload=letter.payload,
        readable=event is not None,
        reason=reason,
        error=error,
        fingerprint=fingerprint(reason, error),
        attempts=_count(letter.attempts),
        first_failed_at=(event and event.first_failed_ms and _moment(event.first_failed_ms)) or failed_at,
        failed_at=failed_at,
    )


def read(payload: bytes) -> Event | None:
    """The event in a payload; None where this release cannot read it, or could not replay it under the id it has."""
    try:
        event = events.decode(payload)
    except Invalid:
        return None
    sound = _uuid(event.id) is not None and events.route_of(event.id) == events.route(event.recipient)
    return event if sound else None


def derived_id(shard: int, entry_id: bytes) -> UUID:
    """The id of a letter whose payload tells none: a UUIDv7 of the entry's time and place, with an empty route."""
    digest = hashlib.sha256(b"%d %s" % (shard, entry_id)).digest()
    value = (_entry_ms(entry_id) << 80) | (int.from_bytes(digest[:10], "big") & ~0xFFFF)
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return uuid.UUID(int=value)


def _entry_ms(entry_id: bytes) -> int:
    """When an entry was added: a stream's entry ids begin with Redis' Unix milliseconds."""
    return int(entry_id.partition(b"-")[0]) & (2**48 - 1)


def _uuid(text: str) -> UUID | None:
    """A UUID in its one canonical spelling, which is how in-flight states are keyed."""
    try:
        value = uuid.UUID(text)
    except ValueError:
        return None
    return value if str(value) == text else None


def _text(text: str) -> str:
    """A text that PostgreSQL takes: without NUL and lone surrogates."""
    return text.encode(errors="replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _count(number: int) -> int:
    return min(max(number, 0), MAX_INTEGER)


def _moment(unix_ms: int) -> datetime | None:
    """A time; None where no calendar has it."""
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
