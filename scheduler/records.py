"""The table of the schedules: how changes come into it, in order, and what is read out of it again."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone

from notifications import events
from notifications.exceptions import Invalid
from notifications.stream.schedules import Change, Kept, Schedules
from scheduler import schedule as schedules
from scheduler.models import Schedule
from scheduler.schedule import About

log = structlog.get_logger("notify.schedules")

# The first half of the advisory locks' key; the second is the shard.
LOCK: Final = 0x4E6F7479
BATCH_SIZE: Final = 500
PRUNE_AT_ONCE: Final = 5000

Status = Schedule.Status
# All but the id.
CHANGED: Final = (
    "status",
    "revision",
    "recurs",
    "recipient",
    "type",
    "title",
    "next_run_at",
    "last_run_at",
    "runs",
    "recorded_at",
    "about",
    "payload",
)

_about_decoder: Final = msgspec.json.Decoder(About)


def take_turn(shard: int) -> bool:
    """Take the lock of a shard's records until the transaction ends; False where another has it.

    PostgreSQL holds it, so it goes with the process that had it, or with a transaction that stands still.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK, shard])
        return bool(cursor.fetchone()[0])


def wait_for_turn(shard: int) -> None:
    """The same, as soon as another lets it go."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK, shard])


def record(log_of: Schedules, shard: int) -> int | None:
    """Record the oldest changes of a shard; returns how many, or None where another process is at it.

    One process at a time reads the log from its beginning, and takes away what it committed: a crash in between means
    that the same changes are recorded again, in the same order, to the same end.
    """
    with transaction.atomic(durable=True):
        if not take_turn(shard):
            return None
        changes = log_of.changes(shard, BATCH_SIZE)
        over = apply(changes)
    if changes:
        log_of.recorded(shard, changes, over)
    return len(changes)


def kept_of(row: Schedule) -> Kept:
    """A row as Redis keeps it."""
    status: Any = row.get_status_display()
    kind = schedules.KINDS[status, row.recurs]
    due_ms = schedules.unix_ms(row.next_run_at) if row.next_run_at else None
    return Kept(str(row.pk), kind, row.revision, bytes(row.about), bytes(row.payload), due_ms)


def prune() -> bool:
    """Forget schedules that have been over for long; whether there may be more."""
    bound = timezone.now() - timedelta(days=settings.NOTIFY.schedule_retention_days)
    old = Schedule.objects.exclude(status=Status.SCHEDULED).filter(recorded_at__lt=bound)
    ids = list(old.order_by("recorded_at", "pk").values_list("pk", flat=True)[:PRUNE_AT_ONCE])
    Schedule.objects.filter(pk__in=ids).delete()
    return len(ids) == PRUNE_AT_ONCE


def apply(changes: Sequence[Change]) -> list[str]:
    """Record changes, in their order; returns the schedules that are over by them. The caller has the turn.

    A row that is newer stays as it is: the log of a server that came back with an older state says what was.
    """
    rows: dict[str, Schedule] = {}
    over: list[str] = []
    for change in changes:
        if change.kept is not None:
            row = _row(change.kept)
            if row is None:
                continue
            rows[change.kept.id] = row
            if change.kept.due_ms is None:
                over.append(change.kept.id)
            continue
        known: dict[int, list[UUID]] = defaultdict(list)
        for schedule_id, revision in change.fired:
            over.append(schedule_id)
            if schedule_id in rows:
                _fire(rows[schedule_id], revision, change.at_ms)
            else:
                known[revision].append(UUID(schedule_id))
        for revision, ids in known.items():
            _fire_known(ids, revision, change.at_ms)
    _save(_news(rows))
    return over


def _news(rows: dict[str, Schedule]) -> list[Schedule]:
    """Those that are not older than what is recorded."""
    recorded = dict(Schedule.objects.filter(pk__in=rows).values_list("pk", "revision"))
    return [row for row in rows.values() if row.revision >= recorded.get(row.pk, 0)]


def _row(kept: Kept) -> Schedule | None:
    """A schedule as a row; None where a newer release wrote it, which this one cannot read."""
    try:
        about, event = _about_decoder.decode(kept.about), events.decode(kept.event)
    except (msgspec.MsgspecError, Invalid) as error:
        log.error("schedules.not_recorded", id=kept.id, error=str(error))  # noqa: TRY400 - no bug of ours
        return None
    over = Status.CANCELLED if kept.kind in {"cancelled", "stopped"} else Status.FIRED
    return Schedule(
        id=UUID(kept.id),
        status=over if kept.due_ms is None else Status.SCHEDULED,
        revision=kept.revision,
        recurs=about.recurrence is not None,
        recipient=event.recipient,
        type=event.type,
        title=event.title,
        next_run_at=None if kept.due_ms is None else schedules.moment(kept.due_ms),
        last_run_at=None if about.last_run_ms is None else schedules.moment(about.last_run_ms),
        runs=about.runs,
        recorded_at=timezone.now(),
        about=kept.about,
        payload=kept.event,
    )


def _fire(row: Schedule, revision: int, at_ms: int) -> None:
    """A schedule fired, and was of this revision then."""
    if row.revision <= revision:
        row.status, row.next_run_at, row.last_run_at = Status.FIRED, None, schedules.moment(at_ms)
        row.revision, row.runs = revision + 1, row.runs + 1


def _fire_known(ids: list[UUID], revision: int, at_ms: int) -> None:
    """The same of rows that are there; one that fired already is of a higher revision."""
    Schedule.objects.filter(pk__in=ids, revision__lte=revision).update(
        status=Status.FIRED,
        next_run_at=None,
        last_run_at=schedules.moment(at_ms),
        runs=F("runs") + 1,
        revision=revision + 1,
        recorded_at=timezone.now(),
    )


def _save(rows: list[Schedule]) -> None:
    """Write rows; one that PostgreSQL refuses is named in the log, and stays in Redis alone."""
    try:
        with transaction.atomic():
            _upsert(rows)
    except (DataError, IntegrityError) as error:
        if len(rows) == 1:
            log.error("schedules.not_recorded", id=str(rows[0].pk), error=str(error))  # noqa: TRY400 - no bug of ours
            return
        half = len(rows) // 2
        _save(rows[:half])
        _save(rows[half:])


def _upsert(rows: Iterable[Schedule]) -> None:
    Schedule.objects.bulk_create(rows, update_conflicts=True, update_fields=CHANGED, unique_fields=["id"])
