"""Rows that leave the inbox for good: a batch a transaction, the count with them, then mirrors and sockets.

The order is that of every change of an inbox: its `inbox` row is locked first, `notification` rows after, recipients
in sorted order. A transaction takes some ten milliseconds for a thousand rows.
"""

import time
from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from notifications import failpoints, unread, wiring
from notifications.live.announce import Announcer
from notifications.models import Attempt, Inbox, Notification
from notifications.store import InboxState

AT_ONCE: Final = 1000
# Half of what an intent lives (unread.INTENT_LIFE_MS): a transaction that takes longer is rolled back, and tried again.
LONGEST_SECONDS: Final = 5.0

# Hand-written: rows, their attempts, and a note of those that belong to a bulk job where one is asked for, in one
# statement that tells what of whom went, and how much of it was unread.
REMOVE: Final = """
    WITH gone AS (
        DELETE FROM notifications_notification WHERE id = ANY(%s) RETURNING id, recipient, read_at, source
    ),
    attempts AS (
        DELETE FROM notifications_attempt WHERE notification_id = ANY(%s)
    ),
    noted AS (
        INSERT INTO notifications_dropped (id, at) SELECT id, now() FROM gone WHERE %s AND source = %s
        ON CONFLICT DO NOTHING
    )
    SELECT recipient, count(*), count(*) FILTER (WHERE read_at IS NULL) FROM gone GROUP BY recipient ORDER BY recipient
"""

# Hand-written: many rows, each by its own number, and back come all of them.
COUNT_DOWN: Final = """
    UPDATE notifications_inbox AS inbox SET unread = inbox.unread - gone.unread, version = inbox.version + 1
    FROM unnest(%s::text[], %s::bigint[]) AS gone (recipient, unread)
    WHERE inbox.recipient = gone.recipient
    RETURNING inbox.recipient, inbox.version, inbox.unread, inbox.seq
"""


class OthersTurn(Exception):
    """Another process is removing just now; nothing was done."""


class Row(NamedTuple):
    """A row that is to go: whose it is, and whether it was unread when it was looked at."""

    id: UUID
    recipient: str
    unread: bool


def remove(
    announcer: Announcer, rows: Collection[Row], *, note_bulk: bool = False, turn: tuple[int, int] | None = None
) -> int:
    """Remove rows, at most AT_ONCE; returns how many there were. Safe to repeat after whatever it raises.

    `note_bulk`: keep the ids of those that came in bulk (models.Dropped), as their events may be delivered again.
    `turn`: the key of an advisory lock that only one may have. Raises OthersTurn.
    """
    if not rows:
        return 0
    # What is read stays read, so only who has unread ones is counted down.
    recipients = sorted({row.recipient for row in rows if row.unread})
    with unread.intents(wiring.shards(), recipients):
        began = time.monotonic()
        with transaction.atomic(durable=True):
            if turn and not _is_ours(turn):
                raise OthersTurn
            removed, inboxes = _remove([row.id for row in rows], recipients, note_bulk=note_bulk)
            if time.monotonic() - began > LONGEST_SECONDS:
                raise TimeoutError("removing rows took too long, and was rolled back")
        failpoints.reach("removal.committed")
        announcer.counted(inboxes)
    return removed


def forget_attempts(first: UUID, end: UUID, before: datetime) -> int:
    """Remove failed attempts of rows with ids from `first` on and below `end`, at most AT_ONCE; returns how many."""
    attempts = Attempt.objects.filter(notification_id__gte=first, notification_id__lt=end, at__lt=before)
    ids = list(attempts.order_by().values_list("pk", flat=True)[:AT_ONCE])
    Attempt.objects.filter(pk__in=ids).delete()
    return len(ids)


def _remove(ids: list[UUID], recipients: list[str], *, note_bulk: bool) -> tuple[int, dict[str, InboxState]]:
    """In a transaction: how many rows went, and the inboxes that have fewer unread ones now."""
    locked = Inbox.objects.select_for_update().filter(recipient__in=recipients).order_by("recipient")
    list(locked.values_list("recipient"))
    with connection.cursor() as cursor:
        cursor.execute(REMOVE, [ids, ids, note_bulk, Notification.Source.BULK.value])
        gone = cursor.fetchall()
        counts = {recipient: unread_rows for recipient, _, unread_rows in gone if unread_rows}
        cursor.execute(COUNT_DOWN, [list(counts), list(counts.values())])
        inboxes = {recipient: InboxState(*state) for recipient, *state in cursor.fetchall()}
    return sum(rows for _, rows, _ in gone), inboxes


def _is_ours(turn: tuple[int, int]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", turn)
        return bool(cursor.fetchone()[0])
