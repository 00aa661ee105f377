"""Jobs that came with an idempotency key: the same request again gets the first one's answer and makes no other job.

The key stands on the job that it made, under a unique constraint, with the answer: both are written as the job is
queued, so a list that broke off or was refused leaves no key, and of two requests at once one is the first.
"""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from bulk.models import BulkJob
from notifications.exceptions import IdempotencyConflict
from notifications.stream.once import Once


def mark(job_id: UUID, once: Once) -> None:
    """Give a job its request's key, and take it from one whose time is over.

    Raises IntegrityError where another has it, and waits for one that is about to. With it goes the transaction.
    """
    _expired().filter(once=_name(once)).update(once=None, answer=None)
    BulkJob.objects.filter(pk=job_id).update(once=_name(once), fingerprint=once.fingerprint)


def keep(job_id: UUID, answer: bytes) -> None:
    """Keep the answer to the request that made a job."""
    BulkJob.objects.filter(pk=job_id).update(answer=answer)


def find(once: Once) -> BulkJob | None:
    """The job that a request with the same key made, whatever that request was."""
    return BulkJob.objects.filter(once=_name(once), created_at__gt=_bound()).first()


def answer_of(job: BulkJob, once: Once) -> bytes:
    """The answer to the request that made a job. Raises IdempotencyConflict where it was another request."""
    if job.fingerprint != once.fingerprint:
        raise IdempotencyConflict
    return bytes(job.answer or b"")


def forget() -> int:
    """Clear the keys, and the answers, whose time is over; returns how many. Their jobs stay."""
    return _expired().filter(once__isnull=False).update(once=None, answer=None)


def _name(once: Once) -> str:
    return f"{once.caller}:{once.digest}"


def _expired() -> QuerySet[BulkJob]:
    return BulkJob.objects.filter(created_at__lte=_bound())


def _bound() -> datetime:
    """Keys given until then are over."""
    return timezone.now() - timedelta(hours=settings.NOTIFY.idempotency_hours)
