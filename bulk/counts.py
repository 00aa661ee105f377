"""How far bulk jobs are: true numbers, from where each is kept."""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from django.db.models import BigIntegerField, OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce
from redis.exceptions import RedisError

from bulk import orders
from bulk.models import BulkJob
from notifications import lookup
from notifications.models import Tally
from notifications.stream.fanout import Fanout


class Counts(NamedTuple):
    """How many recipients of a job are in the lane or past it, are rows, are dead letters."""

    fanned_out: int
    stored: int
    failed: int


def count(fanout: Fanout, jobs: Sequence[BulkJob]) -> dict[UUID, Counts]:
    """The counts of jobs, by their ids. What Redis knows newer is missing while it does not answer."""
    stored = _stored([job.pk for job in jobs])
    failed = lookup.dead_of([job.pk for job in jobs if job.status != BulkJob.Status.QUEUED])
    reached = _reached(fanout, jobs)
    return {job.pk: _counts(reached[job.pk], stored.get(job.pk, job.stored), failed.get(job.pk, 0)) for job in jobs}


def _counts(reached: int, stored: int, failed: int) -> Counts:
    """Whatever became of something, it was fanned out: what was last known of that may be older."""
    return Counts(max(reached, stored + failed), stored, failed)


def _stored(job_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Rows of each job. One statement: a tally that is being added up is in one of its two places."""
    tallied = Tally.objects.filter(source_id=OuterRef("pk")).values("source_id").annotate(rows=Sum("stored"))
    total = Coalesce(Subquery(tallied.values("rows"), output_field=BigIntegerField()), 0)
    rows = BulkJob.objects.filter(pk__in=job_ids).annotate(tallied=total)
    return {pk: stored + more for pk, stored, more in rows.values_list("pk", "stored", "tallied")}


def _reached(fanout: Fanout, jobs: Sequence[BulkJob]) -> dict[UUID, int]:
    reached = {job.pk: sum(job.positions) for job in jobs}
    under_way = [job for job in jobs if job.finished_at is None and job.started_at and orders.fits(fanout, job)]
    with suppress(RedisError):
        standings = fanout.standings([str(job.pk) for job in under_way])
        for job in under_way:
            now = [standing and standing.position for standing in standings[str(job.pk)]]
            reached[job.pk] = sum(orders.furthest(job, now))
    return reached
