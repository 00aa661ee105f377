"""How far a job is: numbers that are true at every moment, from three places."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from bulk import counts, orders, shapes
from bulk.counts import Counts
from bulk.models import BulkJob
from bulk.tests.helpers import again, begin, bury, crowd, fan, in_lanes, make_job, make_running, store_rows, unreachable
from notifications import wiring
from notifications.models import Tally

pytestmark = pytest.mark.django_db

Status = BulkJob.Status


def counted(job: BulkJob) -> Counts:
    return counts.count(wiring.fanout(), [job])[job.pk]


def add_up(job: BulkJob) -> None:
    """Take a job's tallies away and add them up, as a bulk worker does."""
    with transaction.atomic():
        BulkJob.objects.select_for_update().get(pk=job.pk)
        tallies = list(Tally.objects.select_for_update().filter(source_id=job.pk))
        more = sum(tally.stored for tally in tallies)
        Tally.objects.filter(pk__in=[tally.pk for tally in tallies]).delete()
        BulkJob.objects.filter(pk=job.pk).update(stored=F("stored") + more)


def test_a_job_that_waits_has_nothing_behind_it() -> None:
    assert counted(make_job(crowd(10))) == Counts(0, 0, 0)


def test_what_is_fanned_out_is_told_as_redis_has_it() -> None:
    job = make_running(crowd(1000))
    fan(job, 7)
    assert sum(again(job).positions) == 0
    assert counted(job) == Counts(sum(map(len, in_lanes(job))), 0, 0)


def test_rows_are_those_added_up_and_those_that_are_tallies_yet() -> None:
    job, other = make_running(crowd(1000)), make_running(crowd(1000))
    fan(job, 500)
    store_rows(job, 30, 12)
    store_rows(other, 5)
    assert (counted(job).stored, counted(other).stored) == (42, 5)
    add_up(job)
    store_rows(job, 3)
    # Whatever the caller's copy of the row says: it may be older.
    assert counted(job).stored == counted(again(job)).stored == 45
    assert (again(job).stored, counted(other).stored) == (42, 5)


def test_dead_letters_are_failed_but_for_those_on_their_way_again() -> None:
    job, other = make_running(crowd(1000)), make_running(crowd(1000))
    for status, count in (("DEAD", 3), ("DISCARDED", 2), ("REPLAYING", 4), ("REPLAYED", 8)):
        bury(job, count, status)
    assert (counted(job).failed, counted(other).failed) == (5, 0)


def test_many_jobs_are_counted_each_for_itself_in_two_queries(django_assert_num_queries: Any) -> None:
    jobs = [make_running(crowd(100)) for _ in range(5)]
    for number, job in enumerate(jobs):
        fan(job, 100)
        store_rows(job, *[1] * number)
        bury(job, 10 * number)
    with django_assert_num_queries(2):
        found = counts.count(wiring.fanout(), jobs)
    assert found == {job.pk: Counts(100, number, 10 * number) for number, job in enumerate(jobs)}
    assert counts.count(wiring.fanout(), []) == {}


def test_a_job_that_is_over_is_told_as_postgresql_has_it() -> None:
    job = make_job(crowd(100), status=Status.DONE, started_at=timezone.now(), finished_at=timezone.now())
    BulkJob.objects.filter(pk=job.pk).update(positions=job.shares, stored=98)
    bury(job, 2)
    assert counted(again(job)) == Counts(100, 98, 2)


def test_a_job_that_ended_between_two_looks_is_fanned_out_as_far_as_it_is_stored() -> None:
    looked_at = make_running(crowd(100))
    fan(looked_at, 100)
    store_rows(looked_at, 99)
    bury(looked_at, 1)
    wiring.fanout().close(str(looked_at.pk))
    assert counted(looked_at) == Counts(100, 99, 1)


def test_what_postgresql_knows_is_told_while_redis_does_not_answer() -> None:
    job = make_running(crowd(1000))
    fan(job, 7)
    paused = orders.pause(wiring.fanout(), job.pk)
    store_rows(job, 4)
    assert counts.count(unreachable(), [paused]) == {job.pk: Counts(sum(paused.positions), 4, 0)}


def test_a_redis_that_lost_a_job_does_not_take_it_back() -> None:
    job = make_running(crowd(1000))
    fan(job, 300)
    paused = orders.pause(wiring.fanout(), job.pk)
    wiring.shards().client.flushall()
    assert counted(paused).fanned_out == sum(paused.positions)
    begin(job)
    assert counted(again(job)).fanned_out == sum(paused.positions)


def test_a_job_of_another_number_of_shards_is_told_as_postgresql_has_it_beside_the_others() -> None:
    job, other = make_running(crowd(100)), make_running(crowd(100))
    fan(other, 100)
    for count in (wiring.shards().count - 1, wiring.shards().count + 1):
        BulkJob.objects.filter(pk=job.pk).update(shares=[5] * count, positions=[3] * count)
        found = counts.count(wiring.fanout(), [again(job), other])
        assert found == {job.pk: Counts(3 * count, 0, 0), other.pk: Counts(100, 0, 0)}


@pytest.mark.django_db(transaction=True)
def test_rows_are_counted_once_while_they_are_added_up() -> None:
    job, stop = make_running(crowd(1000)), threading.Event()
    store_rows(job, *[1] * 500)

    def go_on() -> None:
        try:
            while not stop.is_set():
                add_up(job)
                with transaction.atomic():
                    BulkJob.objects.filter(pk=job.pk).update(stored=0)
                    store_rows(job, *[1] * 500)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(go_on)
        seen = {counted(job).stored for _ in range(300)}
        stop.set()
        going.result()
    assert seen == {500}


def test_how_long_it_takes_is_told_where_it_goes() -> None:
    going = {"status": Status.RUNNING, "per_second": 2.5}
    assert shapes.eta_seconds(make_job(crowd(100), **going), Counts(60, 40, 10)) == 20.0
    assert shapes.eta_seconds(make_job(crowd(100), **going), Counts(100, 95, 10)) == 0.0
    assert shapes.eta_seconds(make_job(crowd(100), **going | {"status": Status.DONE}), Counts(100, 90, 10)) == 0.0


@pytest.mark.parametrize("still", [{"per_second": 0.0}, {"status": Status.PAUSED}, {"status": Status.CANCELLED}])
def test_how_long_it_takes_is_not_told_where_it_does_not_go(still: dict[str, Any]) -> None:
    job = make_job(crowd(100), **{"status": Status.RUNNING, "per_second": 2.5} | still)
    assert shapes.eta_seconds(job, Counts(60, 40, 10)) is None


def test_times_are_told_in_utc_and_what_did_not_happen_is_null() -> None:
    now = timezone.now().replace(microsecond=250_000)
    job = make_job(crowd(10), started_at=now, start_at=now + timedelta(hours=1))
    told = shapes.shown(job, Counts(0, 0, 0))
    assert told["started_at"] == now.strftime("%Y-%m-%dT%H:%M:%S.250Z")
    assert told["finished_at"] is None
