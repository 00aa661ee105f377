"""The fan-out: what bulk workers put into the lane, and who of them, whatever is ordered or lost meanwhile."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone
from redis.exceptions import RedisError

from bulk import fanout as fan_out
from bulk import orders
from bulk.fanout import LANE_CHUNKS, LEAST_CHUNKS, FanOut
from bulk.lists import CHUNK_SIZE, CHUNKS_AT_ONCE, MANY_SHARDS
from bulk.models import BulkJob, Part
from bulk.tests.helpers import (
    again,
    bury,
    crowd,
    fan,
    in_lanes,
    list_of,
    make_job,
    make_running,
    position_of,
    state_of,
    unreachable,
)
from notifications import wiring
from notifications.stream import keys
from notifications.stream.fanout import LANE, Fanout

pytestmark = pytest.mark.django_db

Status = BulkJob.Status

# More than the lanes hold, however many they are.
MUCH = max(9000, 2 * LEAST_CHUNKS * CHUNK_SIZE * settings.NOTIFY.shards)
PATIENCE_SECONDS = 20


def bulk_worker(name: str = "bulk-worker-1") -> FanOut:
    """What one bulk worker does."""
    return FanOut(Fanout(wiring.patient_shards(), name))


class Lanes:
    """The lanes, and a worker that has an easy time: it takes what is there, and forgets it."""

    def __init__(self) -> None:
        self.taken: dict[str, list[str]] = {}
        self.longest = 0

    def empty(self, *jobs: BulkJob) -> None:
        """Take everything out, and remember it by job."""
        self.longest = max(self.longest, *(crowd.lane for crowd in wiring.fanout().crowds()))
        for job in jobs:
            self.taken.setdefault(str(job.pk), []).extend(one for shard in in_lanes(job) for one in shard)
        for shard in wiring.shards().each():
            wiring.shards().client.delete(keys.lane(shard, LANE))

    def of(self, job: BulkJob) -> list[str]:
        """Who of a job was taken, in some order, as often as they were there."""
        return sorted(self.taken.get(str(job.pk), []))


def step_until(condition: Callable[[], bool], *duties: FanOut) -> None:
    """Let each take a step in turn until a condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        for duty in duties:
            duty.step()


def reached(job: BulkJob) -> int:
    """How many of a job are fanned out."""
    return sum(position_of(job, shard) for shard in wiring.shards().each())


def run_to_the_end(lanes: Lanes, job: BulkJob, *duties: FanOut) -> None:
    """Fan out and take until all of a job was in the lane."""

    def all_taken() -> bool:
        lanes.empty(job)
        return reached(job) == job.total

    step_until(all_taken, *duties)


def look_again(duty: FanOut) -> None:
    """As after half a second."""
    duty._look_at = float("-inf")
    duty.step()


def test_everybody_is_put_into_the_lane_once_in_the_order_of_the_list() -> None:
    job = make_job(crowd(MUCH))
    expected = [list_of(job, shard) for shard in wiring.shards().each()]
    lanes = Lanes()
    run_to_the_end(lanes, job, bulk_worker())
    assert lanes.of(job) == sorted(crowd(MUCH))
    taken = lanes.taken[str(job.pk)]
    for members in expected:
        home = set(members)
        assert [one for one in taken if one in home] == members


def test_a_job_that_begins_says_so() -> None:
    job = make_job(crowd(10))
    bulk_worker().step()
    begun = again(job)
    assert (begun.status, begun.applied) == (Status.RUNNING, begun.revision)
    assert begun.started_at is not None
    assert state_of(job) == {("running", begun.revision)}


def test_the_lane_holds_a_bounded_number_of_chunks_however_long_the_list_is() -> None:
    job, duty = make_job(crowd(MUCH)), bulk_worker()
    for _ in range(20):
        duty.step()
    most = max(LANE_CHUNKS, LEAST_CHUNKS * wiring.shards().count)
    assert sum(crowd.lane for crowd in wiring.fanout().crowds()) <= most
    assert 0 < reached(job) <= most * CHUNK_SIZE < job.total


@pytest.mark.parametrize(
    "fields",
    [
        {"start_at": timezone.now() + timedelta(hours=1)},
        {"status": Status.RECEIVING},
        {"status": Status.CANCELLED},
        {"status": Status.DONE, "finished_at": timezone.now()},
    ],
    ids=["later", "receiving", "cancelled", "done"],
)
def test_what_is_not_to_run_is_not_begun(fields: dict[str, object]) -> None:
    job, duty = make_job(crowd(10), **fields), bulk_worker()
    for _ in range(2):
        look_again(duty)
    assert not state_of(job)
    assert not any(crowd.lane for crowd in wiring.fanout().crowds())


def test_a_job_whose_time_has_come_is_begun() -> None:
    job = make_job(crowd(10), start_at=timezone.now() + timedelta(seconds=1))
    duty = bulk_worker()
    duty.step()
    assert not state_of(job)
    step_until(lambda: reached(job) == 10, duty)
    assert timezone.now() >= job.start_at


@pytest.mark.parametrize("minutes", [-5, 5], ids=["behind", "ahead"])
def test_a_job_begins_by_the_clock_that_says_when_it_is_to(monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    now, wrong = timezone.now(), timedelta(minutes=minutes)
    due, later = make_job(crowd(10)), make_job(crowd(10), start_at=now + timedelta(minutes=1))
    monkeypatch.setattr(timezone, "now", lambda: now + wrong)
    bulk_worker().step()
    assert state_of(due)
    assert not state_of(later)


def test_a_job_that_stands_still_stays_where_it_is_and_goes_on_from_there() -> None:
    job, duty, lanes = make_job(crowd(MUCH)), bulk_worker(), Lanes()
    step_until(lambda: reached(job) > 0, duty)
    paused = orders.pause(wiring.fanout(), job.pk)
    for _ in range(3):
        lanes.empty(job)
        look_again(duty)
    assert reached(job) == sum(paused.positions) < MUCH
    assert not any(crowd.lane for crowd in wiring.fanout().crowds())
    orders.resume(wiring.fanout(), job.pk)
    run_to_the_end(lanes, job, duty)
    assert lanes.of(job) == sorted(crowd(MUCH))


@pytest.mark.parametrize("give", [orders.pause, orders.cancel])
def test_an_order_whose_process_died_is_carried_out_by_whoever_looks(give: Callable[..., BulkJob]) -> None:
    job, duty = make_running(crowd(MUCH)), bulk_worker()
    fan(job, 5)
    with pytest.raises(RedisError):
        give(unreachable(), job.pk)
    assert state_of(job) == {("running", 1)}
    before = reached(job)
    duty.step()
    after = again(job)
    assert (after.applied, sum(after.positions)) == (after.revision, before) == (2, reached(job))
    assert {state for state, _ in state_of(job)} == {after.get_status_display()}


def test_a_job_that_was_cancelled_before_it_began_is_so_in_redis_too_whoever_died_over_it() -> None:
    job, duty = make_job(crowd(10)), bulk_worker()
    with pytest.raises(RedisError):
        orders.cancel(unreachable(), job.pk)
    duty.step()
    after = again(job)
    assert (after.applied, after.positions) == (after.revision, job.positions)
    assert not state_of(job)


def test_a_job_that_is_cancelled_long_before_its_time_is_so_in_redis_whoever_died_over_it() -> None:
    job, duty = make_job(crowd(10), start_at=timezone.now() + timedelta(days=300)), bulk_worker()
    with pytest.raises(RedisError):
        orders.cancel(unreachable(), job.pk)
    duty.step()
    after = again(job)
    assert (after.applied, after.revision) == (2, 2)


def test_who_begins_a_job_does_not_carry_out_a_cancellation_that_somebody_else_is_about_to() -> None:
    """One bulk worker found it not begun, another began it, and a web ordered its end: that is where it ends."""
    job, duty = make_job(crowd(MUCH)), bulk_worker()
    duty.step()
    with pytest.raises(RedisError):
        orders.cancel(unreachable(), job.pk)
    fan_out.begin(wiring.fanout(), job.pk)
    assert (again(job).applied, state_of(job)) == (1, {("running", 1)})
    answered = orders.apply(wiring.fanout(), again(job))
    assert sum(answered.positions) == reached(job) > 0
    duty._turn()
    assert sum(answered.positions) == reached(job)


def test_what_is_deleted_between_two_looks_is_no_harm_to_who_fans_it_out() -> None:
    job, gone, ordered, duty = make_job(crowd(10)), make_job(crowd(10)), make_running(crowd(10)), bulk_worker()
    with pytest.raises(RedisError):
        orders.pause(unreachable(), ordered.pk)
    found = [again(gone), again(ordered)]
    BulkJob.objects.exclude(pk=job.pk).delete()
    standings = wiring.fanout().standings([str(one.pk) for one in found])
    assert [duty._obeyed(one, standings[str(one.pk)]) for one in found] == found
    step_until(lambda: reached(job) == 10, duty)


def test_a_flushed_redis_begins_a_job_anew_and_everybody_is_in_the_lane() -> None:
    job, duty, lanes = make_job(crowd(MUCH)), bulk_worker(), Lanes()
    step_until(lambda: reached(job) > 0, duty)
    wiring.shards().client.flushall()
    look_again(duty)
    run_to_the_end(lanes, job, duty)
    assert lanes.of(job) == sorted(crowd(MUCH))


def test_a_flushed_redis_begins_anew_what_was_fanned_out_to_its_end() -> None:
    """Nobody can tell what of it was stored; whoever was gets no second one."""
    job, duty, lanes = make_job(crowd(600)), bulk_worker(), Lanes()
    step_until(lambda: reached(job) == 600, duty)
    wiring.shards().client.flushall()
    look_again(duty)
    run_to_the_end(lanes, job, duty)
    assert lanes.of(job) == sorted(crowd(600))


@pytest.mark.parametrize("same", [True, False], ids=["the_same_bulk_worker", "another_bulk_worker"])
def test_a_cancelled_job_that_redis_lost_gets_to_where_it_was_and_no_further(*, same: bool) -> None:
    job, duty, lanes = make_job(crowd(MUCH)), bulk_worker(), Lanes()
    step_until(lambda: reached(job) > 0, duty)
    cancelled = orders.cancel(wiring.fanout(), job.pk)
    out = sorted(one for shard in in_lanes(job) for one in shard)
    wiring.shards().client.flushall()
    heir = duty if same else bulk_worker("heir")
    look_again(heir)
    step_until(lambda: reached(job) == len(out), heir)
    for _ in range(3):
        lanes.empty(job)
        look_again(heir)
    assert lanes.of(job) == out
    assert sum(cancelled.positions) == len(out) < MUCH


def test_a_bulk_worker_that_saw_nothing_of_a_cancellation_does_not_get_past_it() -> None:
    """It stood still while the job was cancelled, Redis was flushed, and another began the job again."""
    job, slow = make_running(crowd(MUCH)), bulk_worker("slow")
    slow._look()
    fan(job, CHUNK_SIZE // 2, holder="slow")
    cancelled = orders.cancel(wiring.fanout(), job.pk)
    wiring.shards().client.flushall()
    bulk_worker("heir")._look()
    assert {state for state, _ in state_of(job)} == {"running"}
    for _ in range(5):
        slow._turn()
        slow._jobs[job.pk]._next_at = [0.0 for _ in job.shares]
    assert reached(job) <= sum(cancelled.positions)
    step_until(lambda: reached(job) == sum(cancelled.positions), bulk_worker("slow"))


def test_a_job_that_is_cancelled_again_on_its_way_back_gets_to_where_it_was() -> None:
    """A steer that was repeated, say: Redis knows it as cancelled, and PostgreSQL that it had got further."""
    job, lanes = make_running(crowd(MUCH)), Lanes()
    fan(job, 50)
    cancelled = orders.cancel(wiring.fanout(), job.pk)
    wiring.shards().client.flushall()
    wiring.fanout().open(str(job.pk), orders.order_of(cancelled))
    duty = bulk_worker()

    def all_back() -> bool:
        lanes.empty(job)
        look_again(duty)
        return bool(position_of(job, 0) == cancelled.positions[0])

    step_until(all_back, duty)
    lanes.empty(job)
    expected = [one for shard in wiring.shards().each() for one in list_of(job, shard)[: cancelled.positions[shard]]]
    assert sorted(set(lanes.of(job))) == sorted(expected)


@pytest.mark.parametrize("where", [keys.delayed, keys.dead_letters], ids=["delayed", "dead_letters"])
def test_nothing_is_added_to_what_fails_faster_than_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, where: Callable[[int], str]
) -> None:
    shards = wiring.shards()
    monkeypatch.setattr(fan_out, "FAILED_EVENTS", 10 * shards.count)
    names = [where(shard) for shard in shards.each()]
    for name in names:
        for number in range(10):
            if where == keys.delayed:
                shards.client.zadd(name, {str(number): 0})
            else:
                shards.client.xadd(name, {"event": ""})
    job, duty = make_job(crowd(MUCH)), bulk_worker()
    for _ in range(3):
        look_again(duty)
    assert (again(job).status, reached(job)) == (Status.RUNNING, 0)
    shards.client.delete(names[-1])
    step_until(lambda: reached(job) > 0, duty)
    assert [bool(position_of(job, shard)) for shard in shards.each()] == [name == names[-1] for name in names]


def test_several_jobs_go_side_by_side() -> None:
    # More of them than have room in the lane at a time.
    jobs, duty, lanes = [make_job(crowd(24_000)) for _ in range(5)], bulk_worker(), Lanes()

    def half_way() -> bool:
        lanes.empty(*jobs)
        return any(reached(job) > 12_000 for job in jobs)

    step_until(half_way, duty)
    positions = [reached(job) for job in jobs]
    # A turn is a few chunks in each shard; here is a worker that makes room for all of that at once.
    turn = CHUNKS_AT_ONCE * CHUNK_SIZE * wiring.shards().count
    assert max(positions) - min(positions) <= 2 * turn
    assert lanes.longest <= max(LANE_CHUNKS // wiring.shards().count, 2)


def test_two_bulk_workers_share_the_jobs_and_nobody_is_fanned_out_twice() -> None:
    job, lanes = make_job(crowd(MUCH)), Lanes()
    run_to_the_end(lanes, job, bulk_worker("first"), bulk_worker("second"))
    assert lanes.of(job) == sorted(crowd(MUCH))


def test_another_bulk_worker_goes_on_where_one_died() -> None:
    job, lanes, dead = make_job(crowd(MUCH)), Lanes(), bulk_worker("dead")
    step_until(lambda: reached(job) > 0, dead)
    lanes.empty(job)
    before, began = reached(job), time.monotonic()
    run_to_the_end(lanes, job, bulk_worker("heir"))
    assert 0 < before < MUCH
    assert time.monotonic() - began < 10
    assert lanes.of(job) == sorted(crowd(MUCH))


def test_a_job_with_a_rate_goes_in_small_steps_and_no_faster() -> None:
    job, lanes = make_job(crowd(400), rate_limit="200/s"), Lanes()
    began = time.monotonic()
    run_to_the_end(lanes, job, bulk_worker())
    # Two seconds, less the first step and what may be caught up of a late one.
    assert time.monotonic() - began > (1.4 if wiring.shards().count < MANY_SHARDS else 1.0)
    assert lanes.of(job) == sorted(crowd(400))


def test_a_list_for_another_number_of_shards_waits_and_keeps_nobody_else_waiting(
    capfd: pytest.CaptureFixture[str],
) -> None:
    misfit = make_job(crowd(10), shares=[2] * 5, positions=[0] * 5)
    job, duty = make_job(crowd(10)), bulk_worker()
    step_until(lambda: reached(job) == 10, duty)
    for _ in range(3):
        look_again(duty)
    assert not state_of(misfit)
    assert again(misfit).status == Status.QUEUED
    assert "".join(capfd.readouterr()).count("bulk.other_shards") <= 1


def test_a_job_whose_list_is_gone_keeps_nobody_else_waiting() -> None:
    gone, job, duty = make_job(crowd(10)), make_job(crowd(10)), bulk_worker()
    Part.objects.filter(job=gone).delete()
    step_until(lambda: reached(job) == 10, duty)
    assert reached(gone) == 0


def test_a_job_that_is_over_is_left_alone() -> None:
    job, duty = make_running(crowd(10)), bulk_worker()
    bury(job, 10)
    BulkJob.objects.filter(pk=job.pk).update(status=Status.DONE, finished_at=timezone.now())
    wiring.fanout().close(str(job.pk))
    for _ in range(2):
        look_again(duty)
    assert not state_of(job)
