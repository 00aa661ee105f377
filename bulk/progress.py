"""The progress of bulk jobs: adds up what was stored, says when a job is done, tells the dashboards.

Any number of bulk workers may do it: a job is counted under its row's lock, by whoever gets it.
"""

import math
import time
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from bulk import once, orders, shapes, upload
from bulk.counts import Counts
from bulk.models import BulkJob, Part
from notifications import failpoints, lookup, process
from notifications.live import dashboard
from notifications.models import Tally
from notifications.process import Chore
from notifications.stream.fanout import Fanout

log = structlog.get_logger("notify.bulk")

Status = BulkJob.Status

COUNT_SECONDS: Final = 0.5
# Where none was under way, the next may be counted so late for the first time.
LOOK_SECONDS: Final = 1.0
# The rate is that of about so many seconds.
RATE_SECONDS: Final = 3.0
# By another bulk worker.
JUST_NOW: Final = timedelta(seconds=COUNT_SECONDS / 2)
# Below this, a rate is shown as none.
LEAST_RATE: Final = 0.05
HOUR_SECONDS: Final = 3600.0
PRUNE_AT_ONCE: Final = 1000

# Hand-written: it takes the tallies away and adds them up in one statement.
TAKE_TALLIES: Final = """
    WITH taken AS (DELETE FROM notifications_tally WHERE source_id = %s RETURNING stored)
    SELECT coalesce(sum(stored), 0) FROM taken
"""


class Progress:
    """One bulk worker's second duty (see notifications/process.py). It holds nothing, so it gives nothing back."""

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        self._chores = [
            Chore(HOUR_SECONDS, upload.forget_abandoned),
            Chore(HOUR_SECONDS, once.forget),
            Chore(HOUR_SECONDS, prune),
            Chore(HOUR_SECONDS, partial(close_finished, fanout)),
        ]

    def step(self) -> None:
        """Count each job under way; then rest."""
        for chore in self._chores:
            chore.do_if_due()
        began = time.monotonic()
        under_way = list(_under_way())
        for job_id in under_way:
            count(self._fanout, job_id)
        every = COUNT_SECONDS if under_way else LOOK_SECONDS
        process.pause(max(every - (time.monotonic() - began), COUNT_SECONDS / 5))

    def beat(self) -> None:
        """Nothing is held."""

    def stop(self) -> None:
        """Nothing is held."""


def count(fanout: Fanout, job_id: UUID) -> None:
    """Bring a job's row up to date, and end the job where all of it is a row or a dead letter."""
    with transaction.atomic():
        waiting = BulkJob.objects.select_for_update(skip_locked=True).filter(pk=job_id, finished_at=None)
        job = waiting.first()
        if job is None or _was_counted_just_now(job):
            return
        before = Counts(sum(job.positions), job.stored, job.failed)
        reached = _positions(fanout, job)
        job.positions = orders.furthest(job, reached)
        job.stored += _take_tallies(job_id)
        job.failed = lookup.dead_of([job_id]).get(job_id, 0)
        now = Counts(sum(job.positions), job.stored, job.failed)
        job.per_second = _rate(job, _settled(now) - _settled(before), timezone.now())
        job.counted_at = timezone.now()
        if _is_all_out(fanout, job, reached):
            _end_if_settled(job, now)
        job.save(update_fields=["status", "stored", "failed", "positions", "per_second", "counted_at", "finished_at"])
        failpoints.reach("bulk.counted")
    if now != before or job.finished_at or job.per_second >= LEAST_RATE:
        dashboard.tell({"type": "bulk", "job": shapes.progress(job, now)})
    if job.finished_at:
        fanout.close(str(job_id))
        log.info("bulk.finished", id=str(job_id), status=job.get_status_display(), **now._asdict())


def prune() -> int:
    """Forget jobs that were over long ago; returns how many. Their notifications stay."""
    bound = timezone.now() - timedelta(days=settings.NOTIFY.bulk_retention_days)
    over = BulkJob.objects.filter(finished_at__lt=bound).order_by("finished_at").values("pk")[:PRUNE_AT_ONCE]
    ids = [job["pk"] for job in over]
    Tally.objects.filter(source_id__in=ids).delete()
    _, rows = BulkJob.objects.filter(pk__in=ids).delete()
    return rows.get("bulk.BulkJob", 0)


def close_finished(fanout: Fanout) -> None:
    """Take from Redis what a process left there that died as a job was over."""
    lately = timezone.now() - timedelta(seconds=2 * HOUR_SECONDS)
    for job_id in BulkJob.objects.filter(finished_at__gt=lately).values_list("pk", flat=True):
        fanout.close(str(job_id))


def _is_all_out(fanout: Fanout, job: BulkJob, reached: list[int | None]) -> bool:
    """Whether all of a job that is to be fanned out has been, as Redis has it now: one that lost it begins anew."""
    if job.status == Status.CANCELLED and job.applied < job.revision:
        # What was fanned out is known when Redis was told.
        return False
    if not orders.fits(fanout, job):
        return True
    return all(end == 0 or (now or 0) >= end for now, end in zip(reached, orders.ends(job), strict=True))


def _end_if_settled(job: BulkJob, now: Counts) -> None:
    """End a job of which all that was fanned out is a row or a dead letter."""
    cancelled = job.status == Status.CANCELLED
    if _settled(now) >= (now.fanned_out if cancelled else job.total):
        job.status = job.status if cancelled else Status.DONE
        job.finished_at = job.counted_at = timezone.now()
        # Of what is over, the rate is that of all its time.
        took = (job.finished_at - job.started_at).total_seconds() if job.started_at else 0
        job.per_second = _settled(now) / took if took > 0 else 0
        Part.objects.filter(job_id=job.pk).delete()


def _positions(fanout: Fanout, job: BulkJob) -> list[int | None]:
    if not orders.fits(fanout, job):
        return [None for _ in job.positions]
    standings = fanout.standings([str(job.pk)])[str(job.pk)]
    return [standing and standing.position for standing in standings]


def _take_tallies(job_id: UUID) -> int:
    with connection.cursor() as cursor:
        cursor.execute(TAKE_TALLIES, [job_id])
        return int(cursor.fetchone()[0])


def _settled(now: Counts) -> int:
    return now.stored + now.failed


def _rate(job: BulkJob, more: int, now: datetime) -> float:
    """Events a second, averaged over the last seconds, the latest counting most."""
    since = job.counted_at or job.started_at
    if since is None or now <= since:
        return job.per_second
    seconds = (now - since).total_seconds()
    weight = 1.0 if job.counted_at is None else 1 - math.exp(-seconds / RATE_SECONDS)
    return max(0.0, job.per_second + weight * (more / seconds - job.per_second))


def _was_counted_just_now(job: BulkJob) -> bool:
    # Of two hosts, one's clock may be ahead.
    return job.counted_at is not None and abs(timezone.now() - job.counted_at) < JUST_NOW


def _under_way() -> list[UUID]:
    if not BulkJob.is_any_unfinished():
        return []
    unfinished = BulkJob.objects.filter(finished_at=None).exclude(status=Status.RECEIVING)
    begun = unfinished.filter(Q(status=Status.CANCELLED) | Q(started_at__isnull=False))
    return list(begun.order_by("counted_at").values_list("pk", flat=True))
