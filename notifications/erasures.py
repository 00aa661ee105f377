"""Erased recipients: what was made before the erasure, and is still on its way, is dropped when it arrives.

The mark stands in the recipient's inbox row, under whose lock everything of the recipient is stored: so no event that
a worker held, a retry, a bulk job's list or a replay brings along later becomes a row again. An event is as old as its
id says, which is when its request was accepted, or when its bulk job or its schedule was made.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from notifications import events
from notifications.events import Event
from notifications.models import Inbox, Notification, Tally

log = structlog.get_logger("notify.erasures")

# Hand-written: it tells which of the ids are new, whoever else drops the same events just now.
NOTE_DROPPED: Final = """
    INSERT INTO notifications_dropped (id, at) SELECT id, %s FROM unnest(%s::uuid[]) AS batch (id)
    ORDER BY id ON CONFLICT DO NOTHING RETURNING id
"""


# Hand-written: it takes the row's lock, whether or not there is one yet, and tells how the inbox is then.
MARK: Final = """
    INSERT INTO notifications_inbox AS inbox (recipient, seq, unread, version, erased_ms) VALUES (%s, 0, 0, 1, %s)
    ON CONFLICT (recipient) DO UPDATE SET
        version = inbox.version + 1,
        erased_ms = greatest(inbox.erased_ms, excluded.erased_ms)
    RETURNING seq
"""


LOCK: Final = 0x4E6F7479
# The locks by shard are from 0 up (scheduler/records.py).
RECORDING: Final = -2


class Gone(NamedTuple):
    """An event that is dropped: its id and, where it is a bulk job's, that job's."""

    event_id: str
    job_id: str | None


def is_erased(event_id: str, erased_ms: int | None) -> bool:
    """Whether an event was made before its recipient was erased (Unix ms; None: never)."""
    return erased_ms is not None and events.is_id(event_id) and events.accepted_ms(event_id) < erased_ms


def mark(recipient: str) -> int:
    """Mark a recipient erased from now on; returns the newest `seq` that goes with it."""
    # What was accepted in this very millisecond goes, too; the caller is answered later than that.
    now_ms = time.time_ns() // 1_000_000 + 1
    with connection.cursor() as cursor:
        cursor.execute(MARK, [recipient, now_ms])
        return int(cursor.fetchone()[0])


def begin_recording() -> None:
    """In a transaction: `marks` that are looked up from now on hold for what it writes (see `wait_for_recorders`)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", [LOCK, RECORDING])


def wait_for_recorders() -> None:
    """Wait until what was recorded by older marks is committed."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK, RECORDING])


def marks(recipients: Collection[str]) -> dict[str, int]:
    """When those of the recipients that were erased were, Unix ms."""
    rows = marked().filter(recipient__in=recipients)
    return {recipient: erased_ms for recipient, erased_ms in rows.values_list("recipient", "erased_ms") if erased_ms}


def marked() -> "QuerySet[Inbox]":
    """The inboxes of erased recipients."""
    return Inbox.objects.filter(erased_ms__isnull=False)


def among(batch: Iterable[Event], erased: Mapping[str, int]) -> list[Event]:
    """The events of a batch that are to be dropped. `erased`: as of `marks`."""
    return [event for event in batch if is_erased(event.id, erased.get(event.recipient))] if erased else []


def gone(event: Event) -> Gone:
    """An event as one that is dropped."""
    return Gone(event.id, event.source_id if event.source == "bulk" else None)


def drop(events_gone: Collection[Gone]) -> int:
    """Note that events are dealt with by dropping them; returns how many were not noted before.

    A bulk job counts them like rows, once each: it would wait for them for ever. Those that are rows, which are about
    to be removed, are counted already.
    """
    jobs = {UUID(each.event_id): each.job_id for each in events_gone}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(NOTE_DROPPED, [timezone.now(), list(jobs)])
        new = [event_id for (event_id,) in cursor.fetchall()]
        rows = set(Notification.objects.filter(pk__in=new).values_list("pk", flat=True))
        counts = Counter(job_id for event_id in new if (job_id := jobs[event_id]) and event_id not in rows)
        Tally.objects.bulk_create(Tally(source_id=UUID(job_id), stored=stored) for job_id, stored in counts.items())
    if new:
        log.info("erasure.dropped", events=len(new))
    return len(new)
