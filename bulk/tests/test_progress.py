"""The progress of bulk jobs: what is added up, when a job is over, and what is told of it."""

from contextlib import closing
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.db import connection
from django.utils import timezone
from redis.exceptions import RedisError

from bulk import orders, progress
from bulk.models import BulkJob, Part
from bulk.progress import JUST_NOW, RATE_SECONDS, Progress
from bulk.tests.helpers import (
    again,
    begin,
    bury,
    bury_as,
    crowd,
    fan,
    in_lanes,
    list_of,
    make_job,
    make_running,
    position_of,
    state_of,
    store_rows,
    unreachable,
)
from notifications import events, store, wiring
from notifications.events import Event
from notifications.live import dashboard
from notifications.models import Notification, Tally

pytestmark = pytest.mark.django_db

Status = BulkJob.Status
MANY = 10**6


def count(job: BulkJob) -> BulkJob:
    """Count a job as a bulk worker does, whenever it was counted last; the job after it."""
    BulkJob.objects.filter(pk=job.pk, counted_at__isnull=False).update(counted_at=timezone.now() - 2 * JUST_NOW)
    progress.count(wiring.fanout(), job.pk)
    return again(job)


def copies(job: BulkJob, recipients: list[str]) -> list[Event]:
    """The events of a job."""
    return events.copies(events.decode(bytes(job.payload)), recipients)


def test_what_was_stored_is_added_up_once() -> None:
    job, other = make_running(crowd(100)), make_running(crowd(100))
    store_rows(job, 30, 12)
    store_rows(other, 7)
    assert (count(job).stored, count(job).stored) == (42, 42)
    assert list(Tally.objects.values_list("source_id", "stored")) == [(other.pk, 7)]
    store_rows(job, 8)
    assert count(job).stored == 50


def test_rows_are_counted_with_their_transaction_however_often_they_come() -> None:
    job = make_running(crowd(100))
    batch = copies(job, crowd(60))
    store.store(batch[:40])
    store.store(batch)
    assert count(job).stored == 60 == Notification.objects.filter(source_id=job.pk).count()


def test_where_a_job_is_in_redis_is_kept_and_never_goes_back() -> None:
    job = make_running(crowd(1000))
    fan(job, 100)
    before = count(job).positions
    assert before == [position_of(job, shard) for shard in wiring.shards().each()]
    wiring.shards().client.flushall()
    assert count(job).positions == before


def test_a_job_is_done_when_everybody_is_a_row_or_a_letter_and_not_before() -> None:
    job = make_running(crowd(10))
    fan(job, MANY)
    store_rows(job, 7)
    bury(job, 2)
    before = count(job)
    assert (before.status, before.finished_at, before.failed) == (Status.RUNNING, None, 2)
    assert Part.objects.filter(job=job).exists()
    assert state_of(job)
    store_rows(job, 1)
    after = count(job)
    assert (after.status, after.stored, after.failed) == (Status.DONE, 8, 2)
    assert after.finished_at is not None
    assert not Part.objects.filter(job=job).exists()
    assert not state_of(job)


@pytest.mark.parametrize("status", ["REPLAYING", "REPLAYED"])
def test_a_letter_that_is_replayed_is_under_way_again(status: str) -> None:
    job = make_running(crowd(10))
    fan(job, MANY)
    store_rows(job, 8)
    bury(job, 2, status)
    assert count(job).status == Status.RUNNING
    store_rows(job, 2)
    assert count(job).status == Status.DONE


@pytest.mark.parametrize("status", ["DEAD", "DISCARDED"])
def test_a_letter_whose_event_became_a_row_after_all_counts_once(status: str) -> None:
    """Redis lost the job, and what had failed the first time did not the second time."""
    job = make_running(crowd(10))
    made = copies(job, crowd(10))
    bury_as(job, [UUID(event.id) for event in made[:3]], status)
    wiring.shards().client.flushall()
    begin(job)
    fan(job, MANY)
    store.store(made[:7])
    before = count(job)
    assert (before.status, before.stored, before.failed) == (Status.RUNNING, 7, 0)
    assert Part.objects.filter(job=job).exists()
    store.store(made[7:])
    assert count(job).status == Status.DONE


def test_a_job_is_not_done_before_all_of_it_is_fanned_out_however_many_rows_it_has() -> None:
    """A letter was replayed to somebody else; then Redis lost the job, and whom it was for gets one, too."""
    job = make_running(crowd(8))
    *made, last = [one for shard in wiring.shards().each() for one in copies(job, list_of(job, shard))]
    corrected = msgspec.structs.replace(made[0], id=events.with_route(made[0].id, "other"), recipient="other")
    bury_as(job, [UUID(made[0].id)], "REPLAYED", replayed_as=UUID(corrected.id))
    store.store([corrected, *made])
    fan(job, MANY, shards=[shard for shard in wiring.shards().each() if shard != wiring.shards().of(last.recipient)])
    before = count(job)
    assert (before.status, before.finished_at, before.stored) == (Status.RUNNING, None, 8)
    fan(job, MANY)
    store.store([last])
    after = count(job)
    assert (after.status, after.stored, sum(after.positions)) == (Status.DONE, 9, 8)


def test_a_job_that_stands_still_is_done_when_nobody_is_left() -> None:
    job = make_running(crowd(10))
    fan(job, MANY)
    orders.pause(wiring.fanout(), job.pk)
    store_rows(job, 9)
    assert count(job).status == Status.PAUSED
    store_rows(job, 1)
    assert count(job).status == Status.DONE


def test_a_cancelled_job_is_over_when_what_was_out_is_a_row_or_a_letter() -> None:
    job = make_running(crowd(1000))
    fan(job, 50)
    out = sum(len(shard) for shard in in_lanes(job))
    orders.cancel(wiring.fanout(), job.pk)
    store_rows(job, out - 2)
    bury(job, 1)
    assert count(job).finished_at is None
    store_rows(job, 1)
    after = count(job)
    assert (after.status, after.stored, after.failed) == (Status.CANCELLED, out - 1, 1)
    assert after.finished_at is not None
    assert not Part.objects.filter(job=job).exists()


def test_a_cancelled_job_is_not_over_as_long_as_redis_may_not_know_of_it() -> None:
    job = make_running(crowd(1000))
    with pytest.raises(RedisError):
        orders.cancel(unreachable(), job.pk)
    assert count(job).finished_at is None
    # It goes on until somebody tells Redis.
    fan(job, 10)
    orders.apply(wiring.fanout(), again(job))
    assert count(job).finished_at is None
    store_rows(job, sum(again(job).positions))
    assert count(job).finished_at is not None


def test_a_cancelled_job_that_redis_lost_is_not_over_before_it_is_where_it_was() -> None:
    """More of it are rows than PostgreSQL knew to be fanned out, and still some that it did know of are none."""
    job = make_running(crowd(1000))
    lists = [list_of(job, shard) for shard in wiring.shards().each()]
    fan(job, 50)
    known = count(job).positions
    fan(job, 50)
    store.store(copies(job, [one for shard in lists for one in shard[50:100]]))
    wiring.shards().client.flushall()
    orders.cancel(wiring.fanout(), job.pk)
    assert (count(job).finished_at, again(job).positions) == (None, known)
    begin(job)
    fan(job, 50)
    store.store(copies(job, [one for shard in lists for one in shard[:50]]))
    assert count(job).finished_at is not None


def test_a_job_that_was_cancelled_before_it_began_is_over_at_once() -> None:
    job = make_job(crowd(10), start_at=timezone.now() + timedelta(hours=1))
    orders.cancel(wiring.fanout(), job.pk)
    Progress(wiring.fanout()).step()
    after = again(job)
    assert (after.status, after.stored, sum(after.positions)) == (Status.CANCELLED, 0, 0)
    assert after.finished_at is not None


def test_every_job_under_way_is_counted_and_no_other() -> None:
    running, cancelled = make_running(crowd(10)), make_running(crowd(10))
    orders.cancel(wiring.fanout(), cancelled.pk)
    waiting, receiving = make_job(crowd(10)), make_job(crowd(10), status=Status.RECEIVING)
    done = make_job(crowd(10), status=Status.DONE, started_at=timezone.now(), finished_at=timezone.now())
    Progress(wiring.fanout()).step()
    assert again(running).counted_at is not None
    assert again(cancelled).finished_at is not None
    assert {again(job).counted_at for job in (waiting, receiving, done)} == {None}


def test_a_job_that_another_counted_just_now_is_left_to_it() -> None:
    job = make_running(crowd(10))
    first = count(job)
    store_rows(job, 3)
    progress.count(wiring.fanout(), job.pk)
    assert (again(job).stored, again(job).counted_at) == (0, first.counted_at)


def test_a_job_that_was_counted_by_a_host_whose_clock_is_ahead_is_counted_all_the_same() -> None:
    job = make_running(crowd(10))
    BulkJob.objects.filter(pk=job.pk).update(counted_at=timezone.now() + timedelta(minutes=5))
    store_rows(job, 3)
    progress.count(wiring.fanout(), job.pk)
    assert again(job).stored == 3


def test_what_a_process_left_in_redis_that_died_as_a_job_was_over_is_taken_away() -> None:
    over, running = make_running(crowd(10)), make_running(crowd(10))
    BulkJob.objects.filter(pk=over.pk).update(status=Status.DONE, finished_at=timezone.now() - timedelta(minutes=1))
    Progress(wiring.fanout()).step()
    assert not state_of(over)
    assert state_of(running)


def test_without_redis_nothing_is_added_up_and_nothing_is_lost() -> None:
    job = make_running(crowd(10))
    store_rows(job, 3)
    with pytest.raises(RedisError):
        progress.count(unreachable(), job.pk)
    assert again(job).stored == 0
    assert count(job).stored == 3


def test_a_job_for_another_number_of_shards_is_counted_all_the_same() -> None:
    job = make_job(crowd(10), shares=[2] * 5, positions=[2] * 5, status=Status.RUNNING, started_at=timezone.now())
    store_rows(job, 10)
    assert (count(job).status, again(job).positions) == (Status.DONE, [2] * 5)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    job, now = make_running(crowd(10)), timezone.now()
    job.counted_at, job.per_second = None, 0
    assert rate(job, 500, now, 2) == 250, "the first time: since its start"
    job.counted_at, job.per_second = now, 100
    assert rate(job, 100, now, 1) == pytest.approx(100)
    assert 100 < rate(job, 300, now, 1) < 300
    assert rate(job, 0, now, 10 * RATE_SECONDS) == pytest.approx(0, abs=0.01)
    # Letters that were replayed are no rows yet.
    assert rate(job, -500, now, 1) == 0


def rate(job: BulkJob, more: int, since: datetime, seconds: float) -> float:
    """Events a second after so many more in so many seconds."""
    job.started_at = since
    return progress._rate(job, more, since + timedelta(seconds=seconds))


def test_dashboards_are_told_while_something_changes_and_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(dashboard, "tell", told.append)
    job = make_running(crowd(10))
    count(job)
    assert told == [], "nothing happened"
    fan(job, MANY)
    store_rows(job, 4)
    count(job)
    store_rows(job, 6)
    count(job)
    assert [(frame["type"], frame["job"]["id"], frame["job"]["stored"]) for frame in told] == [
        ("bulk", str(job.pk), 4),
        ("bulk", str(job.pk), 10),
    ]
    assert [frame["job"]["status"] for frame in told] == ["running", "done"]
    assert told[0]["job"]["rate"] > 0
    assert told[1]["job"]["eta_seconds"] == 0


def test_jobs_that_were_over_long_ago_are_forgotten_and_their_notifications_stay(settings: Any) -> None:
    days = timedelta(days=settings.NOTIFY.bulk_retention_days)
    old = make_job(["alice"], status=Status.DONE, finished_at=timezone.now() - days - timedelta(minutes=1))
    young = make_job(["alice"], status=Status.DONE, finished_at=timezone.now() - days + timedelta(minutes=1))
    running = make_job(["alice"], created_at=timezone.now() - 2 * days)
    store.store(copies(old, ["alice"]))
    assert progress.prune() == 1
    assert set(BulkJob.objects.values_list("pk", flat=True)) == {young.pk, running.pk}
    assert not Tally.objects.filter(source_id=old.pk).exists()
    assert Notification.objects.filter(source_id=old.pk).count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_bulk_worker_does_not_wait_for_one_that_counts_the_same_job() -> None:
    job = make_running(crowd(10))
    store_rows(job, 3)
    other = connection.copy()
    other.set_autocommit(False)
    with closing(other), other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM bulk_bulkjob WHERE id = %s FOR UPDATE", [job.pk])
        progress.count(wiring.fanout(), job.pk)
        assert again(job).counted_at is None
    assert count(job).stored == 3
