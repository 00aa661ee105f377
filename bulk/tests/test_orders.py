"""Orders to bulk jobs: what may be ordered when, and that an order holds to the recipient as soon as it is answered."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import connection, transaction
from redis.exceptions import RedisError

from bulk import orders
from bulk.exceptions import Impossible, Unknown
from bulk.models import BulkJob
from bulk.tests.helpers import (
    again,
    begin,
    crowd,
    fan,
    in_lanes,
    list_of,
    make_job,
    make_running,
    state_of,
    unreachable,
)
from notifications import wiring
from notifications.stream import keys
from notifications.stream.fanout import Fanout
from tests.stack import wait_until

pytestmark = pytest.mark.django_db

Status = BulkJob.Status
Give = Callable[[Fanout, BulkJob], BulkJob]

ORDERS: dict[str, Give] = {
    "pause": lambda fanout, job: orders.pause(fanout, job.pk),
    "resume": lambda fanout, job: orders.resume(fanout, job.pk),
    "cancel": lambda fanout, job: orders.cancel(fanout, job.pk),
    "rate": lambda fanout, job: orders.set_rate(fanout, job.pk, "5/m"),
}
PAUSE, RESUME, CANCEL, SET_RATE = ORDERS.values()


def lengths(job: BulkJob) -> list[int]:
    return [len(recipients) for recipients in in_lanes(job)]


def rates(job: BulkJob) -> list[float | None]:
    """By shard, the rate that Redis was told."""
    names = [keys.job(shard, str(job.pk)) for shard in wiring.shards().each()]
    found = [wiring.shards().client.hget(name, "rate") for name in names]
    return [float(rate) if rate else None for rate in found]


def ordered_only(give: Give, job: BulkJob) -> BulkJob:
    """An order whose process died between PostgreSQL and Redis."""
    with pytest.raises(RedisError):
        give(unreachable(), job)
    return again(job)


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


@contextmanager
def fanned_meanwhile(job: BulkJob) -> Iterator[list[str]]:
    """Somebody fans the job out one recipient at a time, without a pause; yields what he was last told."""
    worker, stop = Fanout(wiring.patient_shards(), "tests"), threading.Event()
    lists, told = [list_of(job, shard) for shard in wiring.shards().each()], ["" for _ in wiring.shards().each()]

    def go_on() -> None:
        at = [0 for _ in lists]
        while not stop.is_set():
            for shard, recipients in enumerate(lists):
                chunks = [recipients[at[shard] : at[shard] + 1]] if at[shard] < len(recipients) else []
                fanned = worker.fan(
                    str(job.pk), shard, position=at[shard], event=bytes(job.payload), chunks=chunks, limit=10**6
                )
                told[shard], at[shard] = fanned.what, fanned.position

    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(go_on)
        try:
            yield told
        finally:
            stop.set()
        going.result()


@pytest.mark.parametrize(
    ("give", "status", "state"), [(PAUSE, 3, "paused"), (CANCEL, 4, "cancelled")], ids=["pause", "cancel"]
)
def test_nothing_is_fanned_out_any_more_when_a_job_is_paused_or_cancelled(give: Give, status: int, state: str) -> None:
    job = make_running(crowd(20_000))
    with fanned_meanwhile(job) as told:
        wait_until(lambda: sum(lengths(job)) > 50)
        answer = give(wiring.fanout(), job)
        reached = lengths(job)
        assert (answer.status, answer.positions) == (status, reached)
        wait_until(lambda: set(told) == {state})
    assert lengths(job) == reached
    assert 50 < sum(reached) < job.total
    assert again(job).positions == reached


def test_a_job_that_is_resumed_goes_on_where_it_was() -> None:
    job = make_running(crowd(1000))
    fan(job, 30)
    orders.pause(wiring.fanout(), job.pk)
    assert {fanned.what for fanned in fan(job, 30)} == {"paused"}
    assert orders.resume(wiring.fanout(), job.pk).status == Status.RUNNING
    fan(job, 1000)
    assert in_lanes(job) == [list_of(job, shard) for shard in wiring.shards().each()]


def test_a_job_that_is_not_begun_is_begun_standing_still_when_it_was_paused_before() -> None:
    job = make_job(crowd(1000))
    paused = orders.pause(wiring.fanout(), job.pk)
    assert (paused.status, sum(paused.positions), state_of(job)) == (Status.PAUSED, 0, set())
    begin(job)
    assert state_of(job) == {("paused", 2)}
    assert {fanned.what for fanned in fan(job, 3)} == {"paused"}
    resumed = orders.resume(wiring.fanout(), job.pk)
    assert (resumed.status, state_of(job)) == (Status.QUEUED, {("running", 3)})
    assert begin(job).status == Status.RUNNING
    assert {fanned.what for fanned in fan(job, 3)} == {"fanned"}


def test_a_job_that_is_cancelled_before_it_is_begun_never_begins() -> None:
    job = make_job(crowd(100))
    cancelled = orders.cancel(wiring.fanout(), job.pk)
    assert (cancelled.status, sum(cancelled.positions), state_of(job)) == (Status.CANCELLED, 0, set())
    assert {fanned.what for fanned in fan(job, 10)} == {"gone"}


@pytest.mark.parametrize(
    ("status", "possible"),
    [
        (Status.QUEUED, {"pause", "cancel", "rate"}),
        (Status.RUNNING, {"pause", "cancel", "rate"}),
        (Status.PAUSED, {"resume", "cancel", "rate"}),
        (Status.CANCELLED, set()),
        (Status.DONE, set()),
    ],
)
def test_a_move_that_cannot_be_says_why_and_changes_nothing(status: Status, possible: set[str]) -> None:
    for name, give in ORDERS.items():
        job = make_job(status=status)
        if name in possible:
            assert give(wiring.fanout(), job).revision == 2
            continue
        with pytest.raises(Impossible, match=rf"^A job that is {status.label} cannot be \w+"):
            give(wiring.fanout(), job)
        now = again(job)
        assert (now.status, now.revision, now.applied, now.rate_limit) == (status, 1, 0, "")


@pytest.mark.parametrize("give", ORDERS.values(), ids=ORDERS)
def test_a_job_that_nobody_is_shown_takes_no_order(give: Give) -> None:
    receiving = make_job(status=Status.RECEIVING)
    with pytest.raises(Unknown):
        give(wiring.fanout(), receiving)
    assert again(receiving).revision == 1
    receiving.delete()
    with pytest.raises(Unknown):
        give(wiring.fanout(), receiving)


@pytest.mark.parametrize(("give", "state"), [(PAUSE, "paused"), (CANCEL, "cancelled")], ids=["pause", "cancel"])
def test_an_order_that_its_process_did_not_live_to_carry_out_is_carried_out_by_whoever_finds_it(
    give: Give, state: str
) -> None:
    job = make_running(crowd(1000))
    fan(job, 3)
    found = ordered_only(give, job)
    assert (found.revision, found.applied) == (2, 1)
    # Redis knows nothing of it, so the job still goes on.
    assert {fanned.what for fanned in fan(job, 3)} == {"fanned"}
    done = orders.apply(wiring.fanout(), found)
    assert (done.applied, state_of(job)) == (2, {(state, 2)})
    assert done.positions == again(job).positions == lengths(job)
    assert {fanned.what for fanned in fan(job, 3)} == {state}


def test_an_order_that_is_carried_out_twice_has_one_effect() -> None:
    job = make_running(crowd(1000))
    fan(job, 20)
    first = orders.pause(wiring.fanout(), job.pk)
    second = orders.apply(wiring.fanout(), first)
    assert (second.revision, second.applied, second.positions) == (2, 2, first.positions)
    assert state_of(job) == {("paused", 2)}


def test_an_older_order_that_comes_late_changes_nothing() -> None:
    job = make_running(crowd(1000))
    paused = ordered_only(PAUSE, job)
    resumed = ordered_only(RESUME, job)
    assert orders.apply(wiring.fanout(), resumed).status == Status.RUNNING
    late = orders.apply(wiring.fanout(), paused)
    assert (late.status, late.applied, state_of(job)) == (Status.RUNNING, 3, {("running", 3)})
    assert {fanned.what for fanned in fan(job, 20)} == {"fanned"}


def test_an_order_to_a_job_that_is_deleted_meanwhile_finds_none() -> None:
    job = make_running(crowd(100))
    found = ordered_only(PAUSE, job)
    job.delete()
    with pytest.raises(Unknown):
        orders.apply(wiring.fanout(), found)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_pause_at_once_one_does() -> None:
    job = make_running(crowd(100))

    def pause(_: int) -> str:
        try:
            return str(orders.pause(wiring.fanout(), job.pk).revision)
        except Impossible as impossible:
            return str(impossible)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        told = sorted(pool.map(pause, range(8)))
    assert told == ["2", *["A job that is paused cannot be paused."] * 7]
    assert (again(job).applied, state_of(job)) == (2, {("paused", 2)})


@pytest.mark.django_db(transaction=True)
def test_whoever_orders_what_at_once_redis_ends_with_what_postgresql_says() -> None:
    job = make_running(crowd(1000))

    def order(give: Give) -> None:
        try:
            for _ in range(10):
                try:
                    give(wiring.fanout(), job)
                except Impossible:
                    continue
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(order, [PAUSE, RESUME, SET_RATE] * 2))
    now = again(job)
    assert now.applied == now.revision > 20
    assert state_of(job) == {("paused" if now.status == Status.PAUSED else "running", now.revision)}


@pytest.mark.django_db(transaction=True)
def test_what_another_wrote_of_a_job_meanwhile_is_not_written_over() -> None:
    job = make_running(crowd(100))
    found = ordered_only(PAUSE, job)

    def carry_out() -> BulkJob:
        try:
            return orders.apply(wiring.fanout(), found)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            BulkJob.objects.filter(pk=job.pk).update(applied=9, positions=job.shares)
            carried_out = pool.submit(carry_out)
            wait_until(somebody_waits_for_a_lock)
        now = carried_out.result()
    assert (now.applied, now.positions) == (9, job.shares)
    assert (again(job).applied, again(job).positions) == (9, job.shares)


def test_each_shard_has_as_large_a_part_of_the_rate_as_of_the_list() -> None:
    job = make_running(crowd(1000))
    assert rates(job) == [None for _ in job.shares]
    turned = orders.set_rate(wiring.fanout(), job.pk, "600/m")
    assert (turned.rate_limit, turned.status) == ("600/m", Status.RUNNING)
    assert rates(job) == pytest.approx([10 * share / 1000 for share in job.shares])
    assert orders.set_rate(wiring.fanout(), job.pk, None).rate_limit == ""
    assert rates(job) == [None for _ in job.shares]


def test_a_job_is_begun_at_the_rate_that_it_came_with() -> None:
    job = make_running(crowd(1000), rate_limit="7200/h")
    assert rates(job) == pytest.approx([2 * share / 1000 for share in job.shares])


def test_a_shard_without_recipients_is_no_trouble_to_a_rate() -> None:
    job = make_running(["alice"], rate_limit="10/s")
    assert sum(filter(None, rates(job))) == pytest.approx(10)
    assert orders.set_rate(wiring.fanout(), job.pk, "20/d").applied == 2


def test_the_dial_takes_effect_while_the_old_rate_would_have_to_be_waited_for() -> None:
    job = make_running(crowd(1000), rate_limit="1/h")
    fan(job, 1)
    before = lengths(job)
    assert all(fanned.wait_ms > 60_000 for fanned in fan(job, 1))
    assert lengths(job) == before
    orders.set_rate(wiring.fanout(), job.pk, "1000/s")
    assert {(fanned.what, fanned.wait_ms) for fanned in fan(job, 2)} == {("fanned", 0)}
    orders.set_rate(wiring.fanout(), job.pk, None)
    for _ in range(2):
        assert {(fanned.what, fanned.wait_ms) for fanned in fan(job, 2)} == {("fanned", 0)}


def test_the_dial_turns_while_a_job_stands_still_and_it_stays_still() -> None:
    job = make_running(crowd(1000))
    orders.pause(wiring.fanout(), job.pk)
    assert orders.set_rate(wiring.fanout(), job.pk, "100/s").status == Status.PAUSED
    assert state_of(job) == {("paused", 3)}
    orders.resume(wiring.fanout(), job.pk)
    assert sum(filter(None, rates(job))) == pytest.approx(100)


def test_a_job_of_another_number_of_shards_can_be_ended_and_redis_is_told_nothing() -> None:
    wrong = [3] * (wiring.shards().count + 1)
    job = make_running(crowd(100), rate_limit="5/s")
    BulkJob.objects.filter(pk=job.pk).update(shares=wrong, positions=wrong)
    assert orders.set_rate(wiring.fanout(), job.pk, "6/s").applied == 2
    cancelled = orders.cancel(wiring.fanout(), job.pk)
    assert (cancelled.status, cancelled.applied, cancelled.positions) == (Status.CANCELLED, 3, wrong)
    assert state_of(job) == {("running", 1)}


@pytest.mark.parametrize(
    ("rate", "events"), [("500/s", 500), ("90/m", 1.5), ("7200/h", 2), ("86400/d", 1), ("999999999/s", 999999999)]
)
def test_a_rate_is_told_in_events_a_second(rate: str, events: float) -> None:
    assert orders.events_a_second(rate) == events
