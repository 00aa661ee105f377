"""The inbox in PostgreSQL: the hot insert, reads, and mark-read. The only hand-written SQL of the project.

Every change of an inbox locks its `inbox` row first and touches `notification` rows after, recipients in sorted
order: so no two writers wait for each other in a circle, and what a recipient's `seq` orders is commit order.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from django.db import connection, transaction

from notifications.events import Event
from notifications.models import Inbox, Notification

SOURCES: Final = {choice.label: choice.value for choice in Notification.Source}

# Hand-written: an upsert that adds up and gives back, a few thousand rows a round trip.
UPSERT_INBOXES: Final = """
    INSERT INTO notifications_inbox AS inbox (recipient, seq, unread, version)
    SELECT recipient, arrived, arrived, 1
    FROM unnest(%b::text[], %b::bigint[]) AS batch (recipient, arrived)
    ORDER BY recipient
    ON CONFLICT (recipient) DO UPDATE SET
        seq = inbox.seq + excluded.seq,
        unread = inbox.unread + excluded.unread,
        version = inbox.version + 1
    RETURNING recipient, version, unread, seq
"""

# Hand-written: one statement for the batch, telling which rows are new.
INSERT_NOTIFICATIONS: Final = """
    INSERT INTO notifications_notification
        (id, recipient, seq, type, title, body, data, stored_at, attempts, source, source_id)
    SELECT id, recipient, seq, type, title, body, data::jsonb, now(), attempts, source, source_id
    FROM unnest(%b::uuid[], %b::text[], %b::bigint[], %b::text[], %b::text[], %b::text[], %b::text[],
                %b::smallint[], %b::smallint[], %b::uuid[])
        AS batch (id, recipient, seq, type, title, body, data, attempts, source, source_id)
    ON CONFLICT (id) DO NOTHING
    RETURNING id, stored_at
"""


class InboxState(NamedTuple):
    """A recipient's inbox as it was committed. A greater version is newer."""

    version: int
    unread: int
    seq: int


class Stored(NamedTuple):
    """A batch after its commit: each event with its row's `seq` and storage time, each recipient's inbox."""

    rows: "list[StoredEvent]"
    inboxes: dict[str, InboxState]


class StoredEvent(NamedTuple):
    """An event that is a row. `new` is false when an earlier delivery stored it."""

    event: Event
    seq: int
    stored_ms: int
    new: bool


EMPTY: Final = InboxState(0, 0, 0)


class _AlreadyStored(Exception):
    """Some of the batch are rows already; the transaction is rolled back and repeated without them."""

    def __init__(self, ids: set[str]) -> None:
        self.ids = ids


def store(batch: Sequence[Event]) -> Stored:
    """Write a batch of events in one transaction; each becomes one row, however often it is delivered.

    Where a redelivery is among them, the transaction is rolled back and repeated with the new ones alone, so that
    no `seq` is given to a row that does not come to be: an inbox's `seq` has no gaps, and a client that sees one
    knows at once that it missed a frame.
    """
    unique = list({event.id: event for event in batch}.values())
    known: set[str] = set()
    while True:
        fresh = [event for event in unique if event.id not in known]
        try:
            written = _write(fresh) if fresh else Stored([], {})
        except _AlreadyStored as redelivered:
            known |= redelivered.ids
        else:
            return _with_earlier(written, [event for event in unique if event.id in known])


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
    arrivals: dict[str, int] = {}
    for event in batch:
        arrivals[event.recipient] = arrivals.get(event.recipient, 0) + 1
    with transaction.atomic():
        inboxes = _upsert_inboxes(arrivals)
        seqs = _assign_seqs(batch, arrivals, inboxes)
        stored_at = _insert(batch, seqs)
        if len(stored_at) < len(batch):
            raise _AlreadyStored({event.id for event in batch} - stored_at.keys())
    rows = [
        StoredEvent(event, seq, stored_at[event.id], new=True) for event, seq in zip(batch, seqs, strict=True)
    ]
    return Stored(rows, inboxes)


def _upsert_inboxes(arrivals: dict[str, int]) -> dict[str, InboxState]:
    rows = _query(UPSERT_INBOXES, (list(arrivals), list(arrivals.values())))
    return {recipient: InboxState(*state) for recipient, *state in rows}


def _assign_seqs(
    batch: Sequence[Event], arrivals: dict[str, int], inboxes: dict[str, InboxState]
) -> list[int]:
    """Each event's place in its recipient's inbox, in the batch's order, from what the upsert handed out."""
    following = {recipient: inboxes[recipient].seq - arrived for recipient, arrived in arrivals.items()}
    seqs = []
    for event in batch:
        following[event.recipient] += 1
        seqs.append(following[event.recipient])
    return seqs


def _insert(batch: Sequence[Event], seqs: list[int]) -> dict[str, int]:
    """Insert rows; returns the new ones' ids with their storage time in Unix milliseconds."""
    columns: tuple[list[Any], ...] = (
        [UUID(event.id) for event in batch],
        [event.recipient for event in batch],
        seqs,
        [event.type for event in batch],
        [event.title for event in batch],
        [event.body for event in batch],
        [bytes(event.data).decode() for event in batch],
        [event.attempts + 1 for event in batch],
        [SOURCES[event.source] for event in batch],
        [event.source_id and UUID(event.source_id) for event in batch],
    )
    rows = _query(INSERT_NOTIFICATIONS, columns)
    if not rows:
        return {}
    stored_ms = round(rows[0][1].timestamp() * 1000)
    return {str(row_id): stored_ms for row_id, _ in rows}


def _with_earlier(written: Stored, earlier: Sequence[Event]) -> Stored:
    """Add the rows that were there before, and the inboxes that only they concern.

    Their announcement, or their mirror, may be what the crash prevented that made them come again.
    """
    if not earlier:
        return written
    events = {event.id: event for event in earlier}
    found = Notification.objects.filter(id__in=events).values_list("id", "seq", "stored_at")
    rows = [
        StoredEvent(events[str(row_id)], seq, round(stored_at.timestamp() * 1000), new=False)
        for row_id, seq, stored_at in found
    ]
    missing = {event.recipient for event in earlier} - written.inboxes.keys()
    return Stored(written.rows + rows, {**written.inboxes, **states(sorted(missing))})


def _set_read(recipient: str, ids: Sequence[UUID] | None) -> list[UUID]:
    """One statement that changes and tells what it changed; the ORM has no UPDATE … RETURNING."""
    condition, values = ("", ()) if ids is None else ("AND id = ANY(%s)", (list(ids),))
    statement = f"""
        UPDATE notifications_notification SET read_at = now()
        WHERE recipient = %s AND read_at IS NULL {condition} RETURNING id
    """  # noqa: S608 - the condition is one of two constants
    return [row_id for (row_id,) in _query(statement, (recipient, *values))]


def _query(statement: str, values: Iterable[Any]) -> list[Any]:
    """Run on psycopg's own cursor: values bound by the server, binary, and the statement prepared once."""
    connection.ensure_connection()
    # Django's wrapper turns psycopg's errors into its own, as for every other query.
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        return cursor.execute(statement, tuple(values), prepare=True).fetchall()
