"""The one door for bulk jobs: the API and the command line come through here.

A job begins when all of its list is here and sorted out, in one commit. Whatever goes wrong before that starts nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from django.db import IntegrityError, transaction

from bulk import once, upload
from bulk.recipients import Batch
from bulk.requests import Content
from bulk.upload import Upload
from notifications import failpoints
from notifications.exceptions import FieldError, Invalid
from notifications.intake import Answer
from notifications.representation import timestamp
from notifications.stream.once import Once

log = structlog.get_logger("notify.bulk")

# Of what is wrong with a list, the first so many are told one by one.
MAX_ERRORS: Final = 100

NOBODY_RULE: Final = "must name at least one recipient"


class Rejects:
    """What in a list is no id: how many, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[FieldError] = []

    def add(self, errors: list[FieldError]) -> None:
        """Count more of them."""
        self.count += len(errors)
        self.first += errors[: MAX_ERRORS - len(self.first)]


class Made(msgspec.Struct, frozen=True):
    """A job as its maker is told: recipients, each counted once; how many came again; how many were no ids, and the
    first of them, each with its place."""

    id: UUID
    total: int
    duplicates: int
    rejected: int
    errors: list[Any]
    start_at: str
    status: str = "queued"


def make(
    content: Content,
    batches: Iterable[Batch],
    by: str,
    *,
    strict: bool = False,
    key: Callable[[], Once | None] = lambda: None,
) -> Answer:
    """Make a job of its content and its list; the answer is Made as JSON. `by` says who asks for it.

    What in the list is no id is left out; if `strict`, nothing is made then. `key` is asked at the end of the list for
    the request's idempotency record, as its fingerprint is of all of it. Raises Invalid, also where nobody is left;
    IdempotencyConflict; Unavailable; and whatever `batches` raises: nothing is made then, either.
    """
    with _receiving(content, by) as receiving:
        rejects = _receive(receiving, batches, strict=strict)
        request = key()
        try:
            return Answer(_queue(receiving, content, rejects, request))
        except IntegrityError:
            # The same request, at the same time, was quicker.
            if request is None or (first := earlier(request)) is None:
                raise
            upload.remove(receiving.job_id)
            return first


def earlier(request: Once) -> Answer | None:
    """The answer to the same request, made before. Raises IdempotencyConflict where it was another."""
    job = once.find(request)
    return Answer(once.answer_of(job, request), replayed=True) if job else None


@contextmanager
def _receiving(content: Content, by: str) -> Iterator[Upload]:
    """A job that is receiving; removed unless it is queued in the end."""
    receiving = upload.begin(content, by)
    try:
        yield receiving
    except BaseException:
        upload.remove(receiving.job_id)
        raise


def _receive(receiving: Upload, batches: Iterable[Batch], *, strict: bool) -> Rejects:
    """Take the list in, to its end."""
    rejects = Rejects()
    for batch in batches:
        rejects.add(batch.errors)
        if not strict or not rejects.count:
            receiving.add(batch.ids)
        elif rejects.count >= MAX_ERRORS:
            break
    if strict and rejects.count:
        raise Invalid(rejects.first)
    receiving.flush()
    if not receiving.named:
        raise Invalid(rejects.first or [FieldError("", NOBODY_RULE)])
    return rejects


def _queue(receiving: Upload, content: Content, rejects: Rejects, request: Once | None) -> bytes:
    """Let the job begin; the answer, kept with it where the request may come again."""
    with transaction.atomic(durable=True):
        if request:
            # The key first: who comes second with it waits here, before it sorts a list in vain.
            once.mark(receiving.job_id, request)
        queued = receiving.queue(content.running, rejects.count)
        answer = msgspec.json.encode(
            Made(
                id=receiving.job_id,
                total=queued.total,
                duplicates=queued.duplicates,
                rejected=rejects.count,
                errors=rejects.first,
                start_at=timestamp(queued.start_at),
            )
        )
        if request:
            once.keep(receiving.job_id, answer)
        failpoints.reach("bulk.sorted")
    log.info("bulk.made", id=str(receiving.job_id), recipients=queued.total, rejected=rejects.count)
    return answer
