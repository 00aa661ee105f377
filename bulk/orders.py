"""Orders to a bulk job: pause, resume, cancel, another rate. Decided in PostgreSQL, carried out in Redis.

Between the two a process may die; `applied` tells, and bulk workers carry out what was not (fanout.py).
"""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from django.db import transaction

from bulk.exceptions import Impossible, Unknown
from bulk.models import BulkJob, visible
from notifications import failpoints
from notifications.stream.fanout import Fanout, Order, State

Status = BulkJob.Status

UNDER_WAY: Final = (Status.QUEUED, Status.RUNNING, Status.PAUSED)
STATES: Final[dict[int, State]] = {Status.PAUSED: "paused", Status.CANCELLED: "cancelled"}
# Said of an order where Redis is away: PostgreSQL has it, and bulk workers carry it out (fanout.py).
GIVEN: Final = "Redis does not answer just now. The order is given all the same, and carried out as soon as Redis does."

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def pause(fanout: Fanout, job_id: UUID) -> BulkJob:
    """Let a job stand still. When this returns, nothing more is fanned out. Raises Unknown and Impossible."""

    def paused(job: BulkJob) -> None:
        _check(job, "be paused", Status.QUEUED, Status.RUNNING)
        job.status = Status.PAUSED

    return _order(fanout, job_id, paused)


def resume(fanout: Fanout, job_id: UUID) -> BulkJob:
    """Let a job that stands still go on where it was. Raises Unknown and Impossible."""

    def resumed(job: BulkJob) -> None:
        _check(job, "be resumed", Status.PAUSED)
        job.status = Status.RUNNING if job.started_at else Status.QUEUED

    return _order(fanout, job_id, resumed)


def cancel(fanout: Fanout, job_id: UUID) -> BulkJob:
    """End a job. When this returns, what was not fanned out never will be. Raises Unknown and Impossible."""

    def cancelled(job: BulkJob) -> None:
        _check(job, "be cancelled", *UNDER_WAY)
        job.status = Status.CANCELLED

    return _order(fanout, job_id, cancelled)


def set_rate(fanout: Fanout, job_id: UUID, rate_limit: str | None) -> BulkJob:
    """Turn the dial: `500/s`, or None for no limit. Raises Unknown and Impossible."""

    def turned(job: BulkJob) -> None:
        _check(job, "be given another rate", *UNDER_WAY)
        job.rate_limit = rate_limit or ""

    return _order(fanout, job_id, turned)


def apply(fanout: Fanout, job: BulkJob) -> BulkJob:
    """Carry out in Redis what is ordered; the job with what was fanned out when that took effect.

    An order that is newer by now is left to whoever gave it. Repeating it is harmless.
    """
    reached: list[int | None] = [None for _ in job.positions]
    if fits(fanout, job):
        reached = fanout.steer(str(job.pk), order_of(job))
    failpoints.reach("bulk.steered")
    with transaction.atomic():
        now = BulkJob.objects.select_for_update().defer("payload").filter(pk=job.pk).first()
        if now is None:
            raise Unknown
        now.positions = furthest(now, reached)
        now.applied = max(now.applied, job.revision)
        now.save(update_fields=["positions", "applied"])
    return now


def fits(fanout: Fanout, job: BulkJob) -> bool:
    """Whether a job's list is divided into as many shards as there are; Redis has nothing to do with another."""
    return len(job.shares) == fanout.shards.count


def order_of(job: BulkJob) -> Order:
    """What Redis is to be told of a job."""
    rates = None
    if job.rate_limit:
        # Each shard has its part of the rate, as it has of the list: so all come to their end at the same time.
        rates = [events_a_second(job.rate_limit) * share / job.total for share in job.shares]
    return Order(STATES.get(job.status, "running"), job.revision, rates, ends(job))


def ends(job: BulkJob) -> list[int]:
    """By shard, how many recipients are to be fanned out: of a cancelled job, as many as had been."""
    found: list[int] = job.positions if job.status == Status.CANCELLED else job.shares
    return found


def events_a_second(rate: str) -> float:
    """`500/s`, `20/m` … as events a second."""
    count, _, unit = rate.partition("/")
    return int(count) / UNITS[unit]


def furthest(job: BulkJob, reached: list[int | None]) -> list[int]:
    """By shard, how far a job is known to have been fanned out. A Redis that lost it begins it anew, from nothing."""
    return [max(known, now or 0) for known, now in zip(job.positions, reached, strict=True)]


def _order(fanout: Fanout, job_id: UUID, change: Callable[[BulkJob], None]) -> BulkJob:
    with transaction.atomic():
        job = visible().select_for_update().filter(pk=job_id).first()
        if job is None:
            raise Unknown
        change(job)
        job.revision += 1
        job.save(update_fields=["status", "rate_limit", "revision"])
    failpoints.reach("bulk.ordered")
    return apply(fanout, job)


def _check(job: BulkJob, deed: str, *allowed: int) -> None:
    if job.status not in allowed:
        raise Impossible(f"A job that is {job.get_status_display()} cannot {deed}.")
