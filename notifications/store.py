"""The inbox in PostgreSQL: the hot insert, reads, and mark-read. The only hand-written SQL of the core.

Every change of an inbox locks its `inbox` row first and touches `notification` rows after, recipients in sorted
order: so no two writers wait for each other in a circle, and what a recipient's `seq` orders is commit order.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from django.db import connection, transaction
from django.utils import timezone

from notifications import erasures, failpoints
from notifications.arrays import bigints, optional_texts, smallints, texts
from notifications.events import Event
from notifications.models import Attempt, Inbox, Notification, Tally

SOURCES: Final = {choice.label: choice.value for choice in Notification.Source}

# Hand-written: an upsert that adds up and gives back, a few thousand rows a round trip.
UPSERT_INBOXES: Final = """
    INSERT INTO notifications_inbox AS inbox (recipient, seq, unread, version)
    SELECT recipient, arrived, arrived, 1
    FROM (SELECT unnest(%b::text[]) AS recipient, unnest(%b::bigint[]) AS arrived) AS batch
    ORDER BY recipient
    ON CONFLICT (recipient) DO UPDATE SET
        seq = inbox.seq + excluded.seq,
        unread = inbox.unread + excluded.unread,
        version = inbox.version + 1
    RETURNING recipient, version, unread, seq, erased_ms
"""

# Hand-written: one statement for the batch; it tells how many rows are new. Arrays are taken apart in the select list,
# and not one beside the other in FROM, as the executor then need not put the rows of a function aside first.
INSERT_NOTIFICATIONS: Final = """
    INSERT INTO notifications_notification
        (id, recipient, seq, type, title, body, data, stored_at, attempts, source, source_id)
    SELECT unnest(%b::text[])::uuid, unnest(%b::text[]), unnest(%b::bigint[]), unnest(%b::text[]), unnest(%b::text[]),
        unnest(%b::text[]), unnest(%b::text[])::jsonb, %b, unnest(%b::smallint[]), unnest(%b::smallint[]),
        unnest(%b::text[])::uuid
    ON CONFLICT (id) DO NOTHING
"""


class InboxState(NamedTuple):
    """A recipient's inbox as it was committed. A greater version is newer."""

    version: int
    unread: int
    seq: int


class StoredEvent(NamedTuple):
    """An event that is a row: its place in the inbox, and when it was stored."""

    event: Event
    seq: int
    stored_at: datetime


class Stored(NamedTuple):
    """A batch after its commit: each event with its row, each recipient's inbox."""

    rows: list[StoredEvent]
    inboxes: dict[str, InboxState]


EMPTY: Final = InboxState(0, 0, 0)


class _AlreadyStored(Exception):
    """Some of the batch are rows already; the transaction is rolled back."""


class _Erased(Exception):
    """Some of the batch are of recipients that were erased since; the transaction is rolled back."""

    def __init__(self, dropped: Sequence[Event]) -> None:
        self.dropped = dropped


def store(batch: Sequence[Event]) -> Stored:
    """Write a batch of events in one transaction; each becomes one row, however often it is delivered.

    Where a redelivery is among them, the transaction is rolled back and repeated with the new ones alone, so that
    no `seq` is given to a row that does not come to be: an inbox's `seq` has no gaps, and a client that sees one
    knows at once that it missed a frame. Rows that were there before are in the answer too, with their recipients'
    inboxes: their announcement, or their mirror, may be what the crash prevented that made them come again.

    What was made before its recipient was erased is dropped, and is not in the answer.
    """
    unique = {event.id: event for event in batch}
    earlier: list[StoredEvent] = []
    while True:
        known = {row.event.id for row in earlier}
        try:
            written = _write([event for event_id, event in unique.items() if event_id not in known])
        except _AlreadyStored:
            # Another worker may be storing the same events: its rows are seen when the insert has waited for it.
            earlier = _earlier(unique)
        except _Erased as found:
            erasures.drop([erasures.gone(unique.pop(event.id)) for event in found.dropped])
            earlier = [row for row in earlier if row.event.id in unique]
        else:
            if not earlier:
                return written
            missing = {row.event.recipient for row in earlier} - written.inboxes.keys()
            return Stored(earlier + written.rows, {**written.inboxes, **states(sorted(missing))})


def states(recipients: Sequence[str]) -> dict[str, InboxState]:
    """The inboxes of recipients; one that never got anything is EMPTY."""
    rows = Inbox.objects.filter(recipient__in=recipients).values_list("recipient", "version", "unread", "seq")
    found = {recipient: InboxState(*state) for recipient, *state in rows}
    return {recipient: found.get(recipient, EMPTY) for recipient in recipients}


def mark_read(recipient: str, ids: Sequence[UUID] | None) -> tuple[list[UUID], InboxState]:
    """Mark the recipient's unread notifications read: those named, or all (None). Returns the ones it changed.

    The `inbox` row is locked first, so the count changes with the rows, whoever else writes.
    """
    with transaction.atomic():
        inbox = Inbox.objects.select_for_update().filter(recipient=recipient).first()
        if inbox is None:
            return [], EMPTY
        changed = _set_read(recipient, ids)
        if changed:
            inbox.unread -= len(changed)
            inbox.version += 1
            inbox.save(update_fields=["unread", "version"])
        return changed, InboxState(inbox.version, inbox.unread, inbox.seq)


def _write(batch: Sequence[Event]) -> Stored:
    arrivals = Counter([event.recipient for event in batch])
    stored_at = timezone.now()
    with transaction.atomic():
        inboxes, erased = _upsert_inboxes(arrivals)
        failpoints.reach("store.counted")
        if dropped := erasures.among(batch, erased):
            raise _Erased(dropped)
        seqs = _assign_seqs(batch, arrivals, inboxes)
        if _insert(batch, seqs, stored_at) < len(batch):
            raise _AlreadyStored
        _tally(batch)
        _keep_failures(batch)
        failpoints.reach("store.inserted")
    return Stored(list(map(StoredEvent, batch, seqs, repeat(stored_at))), inboxes)


def _upsert_inboxes(arrivals: Mapping[str, int]) -> tuple[dict[str, InboxState], dict[str, int]]:
    """Each recipient's inbox; and when those that were erased were, Unix ms."""
    values = (texts([recipient.encode() for recipient in arrivals]), bigints(arrivals.values()))
    with _cursor() as cursor:
        rows = cursor.execute(UPSERT_INBOXES, values, binary=True).fetchall()
    inboxes = {recipient: InboxState(version, unread, seq) for recipient, version, unread, seq, _ in rows}
    return inboxes, {recipient: erased_ms for recipient, _, _, _, erased_ms in rows if erased_ms is not None}


def _assign_seqs(batch: Sequence[Event], arrivals: Mapping[str, int], inboxes: dict[str, InboxState]) -> list[int]:
    """Each event's place in its recipient's inbox, in the batch's order, from what the upsert handed out."""
    last = {recipient: inboxes[recipient].seq - arrived for recipient, arrived in arrivals.items()}
    seqs = []
    for event in batch:
        recipient = event.recipient
        last[recipient] = seq = last[recipient] + 1
        seqs.append(seq)
    return seqs


def _insert(batch: Sequence[Event], seqs: list[int], stored_at: datetime) -> int:
    """Insert rows; returns how many are new."""
    with _cursor() as cursor:
        columns = (
            texts([event.id.encode() for event in batch]),
            texts([event.recipient.encode() for event in batch]),
            bigints(seqs),
            texts([event.type.encode() for event in batch]),
            texts([event.title.encode() for event in batch]),
            texts([event.body.encode() for event in batch]),
            texts([bytes(event.data) for event in batch]),
            stored_at,
            smallints([event.attempts + 1 for event in batch]),
            smallints([SOURCES[event.source] for event in batch]),
            optional_texts([event.source_id for event in batch]),
        )
        return cursor.execute(INSERT_NOTIFICATIONS, columns).rowcount


def _tally(batch: Sequence[Event]) -> None:
    """Note how many of the rows are of each bulk job: its progress is counted with the rows or not at all."""
    counts = Counter(event.source_id for event in batch if event.source == "bulk" and event.source_id)
    if counts:
        Tally.objects.bulk_create(Tally(source_id=source_id, stored=stored) for source_id, stored in counts.items())


def _keep_failures(batch: Sequence[Event]) -> None:
    """Note the attempts that failed before. Few events have any: a batch without costs no statement."""
    if failed := [event for event in batch if event.failures]:
        Attempt.objects.bulk_create(
            Attempt(
                notification_id=event.id,
                life=failure.life,
                number=failure.attempt,
                at=datetime.fromtimestamp(failure.at_ms / 1000, UTC),
                error=failure.error,
                delay_ms=failure.delay_ms,
            )
            for event in failed
            for failure in event.failures
        )


def _earlier(events: dict[str, Event]) -> list[StoredEvent]:
    """Those of the events that are rows already."""
    found = Notification.objects.filter(id__in=events).values_list("id", "seq", "stored_at")
    return [StoredEvent(events[str(row_id)], seq, stored_at) for row_id, seq, stored_at in found]


def _set_read(recipient: str, ids: Sequence[UUID] | None) -> list[UUID]:
    """One statement that changes and tells what it changed; the ORM has no UPDATE … RETURNING."""
    condition, values = ("", ()) if ids is None else ("AND id = ANY(%s)", (list(ids),))
    statement = f"""
        UPDATE notifications_notification SET read_at = %s
        WHERE recipient = %s AND read_at IS NULL {condition} RETURNING id
    """  # noqa: S608 - the condition is one of two constants
    with _cursor() as cursor:
        return [row_id for (row_id,) in cursor.execute(statement, (timezone.now(), recipient, *values)).fetchall()]


@contextmanager
def _cursor() -> "Iterator[psycopg.Cursor[tuple[Any, ...]]]":
    """psycopg's own cursor: values bound by the server, binary. Django's connections prepare no statements."""
    connection.ensure_connection()
    # Django's wrapper turns psycopg's errors into its own, as for every other query.
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        yield cursor
