"""What only tables tell: how many dead letters are open, and which bulk jobs are under way."""

from collections.abc import Sequence
from typing import Final

from django.db import connections
from django.db.models import Case, Count, When

from bulk import counts
from bulk.models import BulkJob
from bulk.orders import UNDER_WAY
from dlq.models import DeadLetter
from notifications import wiring
from notify_project.dashboard.facts import Jobs, Kept

# More jobs at a time are counted by their number, and not one by one.
MOST_JOBS: Final = 100

Letter = DeadLetter.Status
Status = BulkJob.Status


def look() -> Kept:
    """Ask PostgreSQL, and Redis for how far jobs are. Raises what keeps it from PostgreSQL."""
    try:
        letters = dict(_letters())
        return Kept(letters.get(Letter.DEAD, 0), letters.get(Letter.REPLAYING, 0), _jobs(_under_way()))
    finally:
        connections.close_all()


def _letters() -> Sequence[tuple[int, int]]:
    still_open = DeadLetter.objects.filter(status__in=(Letter.DEAD, Letter.REPLAYING)).order_by()
    return list(still_open.values_list("status").annotate(letters=Count("pk")))


def _under_way() -> Sequence[BulkJob]:
    """The jobs of which something waits come first: a hundred that are paused must not hide one that runs."""
    paused_last = Case(When(status=Status.PAUSED, then=1), default=0)
    return list(
        BulkJob.objects.filter(finished_at=None, status__in=UNDER_WAY).order_by(paused_last, "start_at")[:MOST_JOBS]
    )


def _jobs(jobs: Sequence[BulkJob]) -> Jobs:
    counted = counts.count(wiring.fanout(), jobs)
    of_status = {status: sum(1 for job in jobs if job.status == status) for status in UNDER_WAY}
    left = {job.pk: max(0, job.total - counted[job.pk].fanned_out) for job in jobs}
    return Jobs(
        queued=of_status[Status.QUEUED],
        running=of_status[Status.RUNNING],
        paused=of_status[Status.PAUSED],
        hurried=sum(1 for job in jobs if job.status == Status.RUNNING and left[job.pk] and not job.rate_limit),
        remaining=sum(left.values()),
        fanned={str(job.pk): counted[job.pk].fanned_out for job in jobs},
        in_lane=sum(max(0, one.fanned_out - one.stored - one.failed) for one in counted.values()),
    )
