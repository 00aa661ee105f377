"""What users see of a bulk job."""

from datetime import datetime
from typing import Any

from bulk.counts import Counts
from bulk.models import BulkJob
from notifications import events
from notifications.representation import timestamp

Status = BulkJob.Status


def shown(job: BulkJob, counts: Counts) -> dict[str, Any]:
    """A job, JSON-ready. Times are RFC 3339 UTC, `rate` is events a second, measured; `rate_limit` is the dial."""
    event = events.decode(bytes(job.payload))
    return {
        **progress(job, counts),
        "rate_limit": job.rate_limit or None,
        "duplicates": job.duplicates,
        "rejected": job.rejected,
        "type": job.type,
        "title": job.title,
        "body": event.body,
        "data": event.data,
        "start_at": timestamp(job.start_at),
        "created_at": timestamp(job.created_at),
        "created_by": job.created_by,
        "started_at": _time(job.started_at),
        "finished_at": _time(job.finished_at),
    }


def progress(job: BulkJob, counts: Counts) -> dict[str, Any]:
    """As much of a job as changes while it runs."""
    return {
        "id": str(job.pk),
        "status": job.get_status_display(),
        "total": job.total,
        "fanned_out": counts.fanned_out,
        "stored": counts.stored,
        "failed": counts.failed,
        "rate": round(job.per_second, 1),
        "eta_seconds": eta_seconds(job, counts),
    }


def eta_seconds(job: BulkJob, counts: Counts) -> float | None:
    """How long it takes to the end as fast as it goes now; None where it does not go, 0 where it is there."""
    if job.status == Status.DONE:
        return 0.0
    if job.status != Status.RUNNING or job.per_second <= 0:
        return None
    return round(max(job.total - counts.stored - counts.failed, 0) / job.per_second, 1)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
