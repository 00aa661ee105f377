"""A list on its way into PostgreSQL: in pieces, then sorted out, in one commit or not at all."""

import random
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from bulk import upload
from bulk.models import PART_SIZE, BulkJob, Part, Received
from bulk.requests import Content, Running
from bulk.upload import Queued, Upload
from notifications import events
from notifications.events import Draft
from notifications.exceptions import Unavailable
from notifications.stream import keys

pytestmark = pytest.mark.django_db

Status = BulkJob.Status

CONTENT = Content(Draft(recipient="somebody", type="news", title="A title", data={"n": 1}))
HOUR = timedelta(hours=1)


def begun(running: Running | None = None) -> Upload:
    return upload.begin(CONTENT._replace(running=running or Running()), "tests")


def queue(receiving: Upload, running: Running | None = None, rejected: int = 0) -> Queued:
    receiving.flush()
    with transaction.atomic():
        return receiving.queue(running or Running(), rejected)


def parts(job: BulkJob) -> list[list[list[str]]]:
    """By shard, its parts in order."""
    found: list[list[list[str]]] = [[] for _ in range(settings.NOTIFY.shards)]
    for part in Part.objects.filter(job=job).order_by("shard", "number"):
        assert part.number == len(found[part.shard])
        found[part.shard].append(part.recipients.split("\n"))
    return found


def test_a_job_that_is_receiving_has_all_but_its_list() -> None:
    receiving = begun(Running("500/s"))
    job = BulkJob.objects.get()
    assert (job.pk, job.status, job.total, job.shares) == (receiving.job_id, Status.RECEIVING, 0, [])
    assert (job.type, job.title, job.rate_limit, job.created_by) == ("news", "A title", "500/s", "tests")
    assert abs(job.created_at - timezone.now()) < HOUR
    template = events.decode(bytes(job.payload))
    assert (template.id, template.recipient, template.source) == (str(job.pk), "", "bulk")
    assert (template.source_id, bytes(template.data)) == (str(job.pk), b'{"n":1}')


@pytest.mark.parametrize("count", [1, PART_SIZE - 1, PART_SIZE, PART_SIZE + 1, 3 * PART_SIZE + 17])
def test_every_recipient_is_in_one_part_of_its_shard_once_and_in_order(count: int) -> None:
    recipients = [f"user-{number}" for number in range(count)]
    named = recipients + recipients[: count // 2]
    random.Random(count).shuffle(named)  # noqa: S311 - the same every time
    receiving = begun()
    for start in range(0, len(named), 1000):
        receiving.add(named[start : start + 1000])
    queued = queue(receiving, rejected=7)
    job = BulkJob.objects.get()
    assert (queued.total, queued.duplicates) == (job.total, job.duplicates) == (count, count // 2)
    assert (job.rejected, job.status, job.positions) == (7, Status.QUEUED, [0] * settings.NOTIFY.shards)
    found = parts(job)
    assert [sum(map(len, shard)) for shard in found] == job.shares
    for number, shard in enumerate(found):
        assert all(len(part) == PART_SIZE for part in shard[:-1])
        together = [recipient for part in shard for recipient in part]
        assert together == sorted(r for r in recipients if keys.shard_of(r, settings.NOTIFY.shards) == number)
    assert not Received.objects.exists()


def test_duplicates_are_the_same_text_and_nothing_looser() -> None:
    named = ["a", "A", "a\u0301", "á", "\uff41", "a.", "a", "\U0001f600", "á"]
    receiving = begun()
    receiving.add(named)
    assert queue(receiving)[:2] == (7, 2)
    found = parts(BulkJob.objects.get())
    for shard in found:
        together = [recipient for part in shard for recipient in part]
        assert together == sorted(together, key=str.encode)
    assert {recipient for shard in found for part in shard for recipient in part} == set(named)


@pytest.mark.parametrize(
    ("running", "after_ms"),
    [(Running(), 0), (Running(delay_ms=90_500), 90_500), (Running(at_ms=1_900_000_000_125), None)],
)
def test_a_job_begins_at_its_time_by_the_clock_of_postgresql(running: Running, after_ms: int | None) -> None:
    before = upload.now_ms()
    receiving = begun(running)
    receiving.add(["a"])
    queued = queue(receiving, running)
    start_at = BulkJob.objects.get().start_at
    assert queued.start_at == start_at
    start_ms = round(start_at.timestamp() * 1000)
    if after_ms is None:
        assert start_ms == running.at_ms
    else:
        # A test's transaction began a moment before: so did its now().
        assert abs(start_ms - before - after_ms) < 5000


def test_pieces_are_written_as_they_come() -> None:
    receiving = begun()
    receiving.add(["a"] * (upload.PIECE_SIZE - 1))
    assert not Received.objects.exists()
    receiving.add(["b", "c"])
    held = [recipient for row in Received.objects.all() for recipient in row.recipients.split("\n")]
    assert (len(held), receiving.named) == (upload.PIECE_SIZE + 1, upload.PIECE_SIZE + 1)
    receiving.flush()
    assert receiving.named == upload.PIECE_SIZE + 1


def age(hours: float) -> None:
    BulkJob.objects.update(received_at=F("received_at") - timedelta(hours=hours))


def test_a_list_of_which_nothing_came_for_an_hour_is_forgotten_and_others_are_not() -> None:
    receiving, queued = begun(), begun()
    for each in (receiving, queued):
        each.add(["a"])
        each.flush()
    queue(queued)
    age(0.9)
    assert upload.forget_abandoned() == 0
    # What comes in makes it young again.
    receiving.add(["b"])
    receiving.flush()
    age(0.9)
    assert upload.forget_abandoned() == 0
    age(0.2)
    assert (upload.forget_abandoned(), upload.forget_abandoned()) == (1, 0)
    assert BulkJob.objects.get().pk == queued.job_id
    assert not Received.objects.exists()


def test_a_list_that_was_forgotten_takes_no_more_and_is_not_queued() -> None:
    receiving = begun()
    receiving.add(["a"])
    receiving.flush()
    age(1.1)
    assert upload.forget_abandoned() == 1
    for go_on in (lambda: _add_more(receiving), lambda: receiving.queue(Running(), 0)):
        with pytest.raises(Unavailable):
            go_on()
    assert not Received.objects.exists()


def test_a_list_that_is_queued_takes_no_more() -> None:
    receiving = begun()
    receiving.add(["a"])
    queue(receiving)
    with pytest.raises(Unavailable):
        _add_more(receiving)
    with pytest.raises(Unavailable):
        receiving.queue(Running(), 0)
    assert not Received.objects.exists()
    assert BulkJob.objects.get().total == 1


def _add_more(receiving: Upload) -> None:
    receiving.add(["b"])
    receiving.flush()


def test_removing_removes_what_is_receiving_and_nothing_else() -> None:
    receiving, queued = begun(), begun()
    for each in (receiving, queued):
        each.add(["a"])
        each.flush()
    queue(queued)
    for each in (receiving, queued):
        upload.remove(each.job_id)
    assert BulkJob.objects.get().pk == queued.job_id
    assert (Received.objects.count(), Part.objects.count()) == (0, 1)
