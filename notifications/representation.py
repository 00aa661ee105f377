"""What users see of a notification: one shape for the API and for sockets."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from notifications import events
from notifications.events import Event
from notifications.exceptions import Invalid
from notifications.models import Notification
from notifications.store import StoredEvent
from notifications.stream.states import InFlight

_encoder = msgspec.json.Encoder()

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# A UUIDv7 has room for years that no calendar here has: such a time is told as the last one there is.
LAST_MS: Final = 253_402_300_799_999
SOURCE_NAMES: Final = {choice.value: choice.label for choice in Notification.Source}


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A notification as its reader gets it. Times are RFC 3339 UTC."""

    id: str
    recipient: str
    seq: int
    type: str
    title: str
    body: str
    data: msgspec.Raw | dict[str, Any]
    accepted_at: str
    stored_at: str
    read_at: str | None
    source: str
    source_id: str | None


def shown_row(row: Notification) -> Shown:
    """A row as its reader gets it."""
    return Shown(
        id=str(row.id),
        recipient=row.recipient,
        seq=row.seq,
        type=row.type,
        title=row.title,
        body=row.body,
        data=row.data,
        accepted_at=timestamp_ms(events.accepted_ms(str(row.id))),
        stored_at=timestamp(row.stored_at),
        read_at=timestamp(row.read_at) if row.read_at else None,
        source=SOURCE_NAMES[row.source],
        source_id=str(row.source_id) if row.source_id else None,
    )


def shown_event(stored: StoredEvent) -> Shown:
    """A row just stored, from the event it was stored from."""
    event = stored.event
    return Shown(
        id=event.id,
        recipient=event.recipient,
        seq=stored.seq,
        type=event.type,
        title=event.title,
        body=event.body,
        data=event.data,
        accepted_at=timestamp_ms(events.accepted_ms(event.id)),
        stored_at=timestamp(stored.stored_at),
        read_at=None,
        source=event.source,
        source_id=event.source_id,
    )


def life_of_event(state: InFlight) -> dict[str, object] | None:
    """An event that is no row (yet), with its life so far; None where its payload is none that can be read.

    Nor is one whose id is none: it has no life, whoever wrote it into the stream.
    """
    try:
        event = events.decode(state.payload)
    except Invalid:
        return None
    if not events.is_id(event.id):
        return None
    return life_so_far(
        event,
        # On its way into the lane again, it is still being retried.
        status="retrying" if state.status == "queued" and event.attempts else state.status,
        attempts=max(event.attempts, state.attempts),
        last_error=state.error or event.last_error,
        next_attempt_at=timestamp_ms(state.due_ms) if state.due_ms else None,
    )


def life_so_far(
    event: Event, *, status: str, attempts: int, last_error: str | None, next_attempt_at: str | None = None
) -> dict[str, object]:
    """The life of an event that is no row."""
    return {
        "id": event.id,
        "recipient": event.recipient,
        "seq": None,
        "type": event.type,
        "title": event.title,
        "body": event.body,
        "data": event.data,
        "status": status,
        "accepted_at": timestamp_ms(events.accepted_ms(event.id)),
        "stored_at": None,
        "read_at": None,
        "attempts": attempts,
        "last_error": last_error,
        "next_attempt_at": next_attempt_at,
        "source": event.source,
        "source_id": event.source_id,
    }


def life_of_row(row: Notification) -> dict[str, object]:
    """A stored notification with its life."""
    return {
        **msgspec.structs.asdict(shown_row(row)),
        "status": "stored",
        "attempts": row.attempts,
        "last_error": None,
        "next_attempt_at": None,
    }


def notification_frame(shown: Shown, unread: int) -> str:
    """The frame of a new notification."""
    return frame({"type": "notification", "notification": shown, "unread": unread})


def read_frame(ids: Iterable[object] | None, unread: int) -> str:
    """The frame that says what was marked read; None stands for all."""
    named = "all" if ids is None else [str(row_id) for row_id in ids]
    return frame({"type": "read", "ids": named, "unread": unread})


def sync_frame(unread: int, seq: int) -> str:
    """The frame that says how an inbox stands."""
    return frame({"type": "sync", "unread": unread, "seq": seq})


def frame(message: dict[str, object]) -> str:
    """A message as the text of a WebSocket frame."""
    return _encoder.encode(message).decode()


def timestamp(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC, to the millisecond: `2026-01-31T08:15:00.250Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def timestamp_ms(unix_ms: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC."""
    return timestamp(EPOCH + timedelta(milliseconds=min(unix_ms, LAST_MS)))
