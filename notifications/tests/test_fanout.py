"""Bulk jobs in Redis: what each script does, and what it leaves alone."""

import time
from typing import Any

import pytest

from notifications import wiring
from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.fanout import HELD_MS, LANE, Fanned, Fanout, Order, Standing
from tests.stack import wait_until

JOB = "019aab5e-0000-7000-8000-000000006f31"
OTHER = "019aab5e-0000-7000-8000-000000006f32"
EVENT = b'{"v":1,"id":"019aab5e","recipient":"","title":"\xc3\xa9"}'
MANY = 10**6


@pytest.fixture
def fanout() -> Fanout:
    """The first bulk worker's."""
    return Fanout(wiring.patient_shards(), "first")


@pytest.fixture
def second() -> Fanout:
    """Another one's."""
    return Fanout(wiring.patient_shards(), "second")


def running(revision: int = 1, rate: float | None = None) -> Order:
    shards = wiring.shards().count
    return Order("running", revision, None if rate is None else [rate] * shards)


def fan(fanout: Fanout, position: int, *chunks: list[str], limit: int = MANY, job: str = JOB, shard: int = 0) -> Fanned:
    return fanout.fan(job, shard, position=position, event=EVENT, chunks=chunks, limit=limit)


def lane(shards: Shards, shard: int = 0) -> list[dict[bytes, bytes]]:
    client: Any = shards.client
    return [fields for _, fields in client.xrange(keys.lane(shard, LANE))]


def position(fanout: Fanout, job: str = JOB) -> int:
    standing = fanout.standings([job])[job][0]
    assert standing is not None
    return standing.position


def everything(shards: Shards) -> dict[bytes, object]:
    """What Redis holds, to be compared."""
    client: Any = shards.client
    return {name: client.dump(name) for name in client.scan_iter("notify:*")}


def test_chunks_go_into_the_lane_as_they_are_and_the_position_goes_with_them(fanout: Fanout, shards: Shards) -> None:
    fanout.open(JOB, running())
    assert fan(fanout, 0, ["alice", "bob"], ["é:ü/😀"]) == Fanned("fanned", 3, 0)
    assert fan(fanout, 3, ["dave"]) == Fanned("fanned", 4, 0)
    assert lane(shards) == [
        {b"event": EVENT, b"to": b"alice\nbob"},
        {b"event": EVENT, b"to": "é:ü/😀".encode()},
        {b"event": EVENT, b"to": b"dave"},
    ]
    assert position(fanout) == 4
    assert shards.client.hget(keys.counters(0), "accepted") == b"4"


def test_a_chunk_is_in_the_lane_once_however_often_it_is_tried(fanout: Fanout, shards: Shards) -> None:
    fanout.open(JOB, running())
    fan(fanout, 0, ["alice", "bob"])
    before = lane(shards)
    for stale in (0, 1, 3):
        assert fan(fanout, stale, ["alice", "bob"]) == Fanned("stale", 2, 0)
    assert lane(shards) == before
    assert (position(fanout), shards.client.hget(keys.counters(0), "accepted")) == (2, b"2")


def test_each_shard_stands_for_itself(fanout: Fanout, shards: Shards) -> None:
    fanout.open(JOB, running())
    for shard in shards.each():
        assert fan(fanout, 0, ["alice"] * (shard + 1), shard=shard) == Fanned("fanned", shard + 1, 0)
    found = fanout.standings([JOB, OTHER])
    assert found[JOB] == [Standing("running", 1, shard + 1) for shard in shards.each()]
    assert found[OTHER] == [None for _ in shards.each()]
    assert fanout.crowds() == [(1, 0) for _ in shards.each()]


def test_a_job_with_an_end_gets_there_and_no_further_whoever_cut_its_chunks(fanout: Fanout, shards: Shards) -> None:
    fanout.open(JOB, running()._replace(ends=[5] * shards.count))
    assert fan(fanout, 0, ["a"] * 2, ["b"] * 2, ["c"] * 2).position == 4
    refused = fan(fanout, 4, ["c"] * 2)
    assert (refused.what, refused.position) == ("fanned", 4)
    assert refused.wait_ms > 0
    assert fan(fanout, 4, ["c"]).position == 5
    assert fan(fanout, 5, ["d"]).position == 5
    # It is said once: an order that comes later moves nothing.
    fanout.steer(JOB, running(2)._replace(ends=[9] * shards.count))
    assert fan(fanout, 5, ["d"]).position == 5
    assert sum(len(fields[b"to"].split(b"\n")) for fields in lane(shards)) == 5


def test_a_crowd_is_what_is_in_the_lane_and_what_failed(fanout: Fanout, shards: Shards) -> None:
    client: Any = shards.client
    fanout.open(JOB, running())
    fan(fanout, 0, ["a"], ["b"], ["c"])
    client.zadd(keys.delayed(0), {"d": 1, "e": 2})
    for _ in range(3):
        client.xadd(keys.dead_letters(0), {"event": "f"})
    assert fanout.crowds() == [(3, 5), *((0, 0) for _ in range(shards.count - 1))]


def test_the_lane_holds_no_more_than_it_may(fanout: Fanout, shards: Shards) -> None:
    fanout.open(JOB, running())
    assert fan(fanout, 0, ["a"], ["b"], ["c"], limit=2) == Fanned("fanned", 2, 0)
    assert fan(fanout, 2, ["c"], limit=2) == Fanned("full", 2, 0)
    assert (len(lane(shards)), position(fanout)) == (2, 2)
    assert fan(fanout, 2, ["c"], limit=3) == Fanned("fanned", 3, 0)


def test_two_bulk_workers_do_not_do_the_same_work_and_two_jobs_do_not_hinder_each_other(
    fanout: Fanout, second: Fanout, shards: Shards
) -> None:
    for job in (JOB, OTHER):
        fanout.open(job, running())
    fan(fanout, 0, ["alice"])
    held = fan(second, 1, ["bob"])
    assert (held.what, held.position) == ("held", 1)
    assert 0 < held.wait_ms <= HELD_MS
    assert fan(second, 0, ["alice"], job=OTHER) == Fanned("fanned", 1, 0)
    assert fan(fanout, 1, ["bob"]) == Fanned("fanned", 2, 0)
    assert len(lane(shards)) == 3


def test_a_job_goes_on_with_another_bulk_worker_when_its_own_is_not_heard_of_any_more(
    fanout: Fanout, second: Fanout
) -> None:
    fanout.open(JOB, running())
    fan(fanout, 0, ["alice"])
    began = time.monotonic()
    wait_until(lambda: fan(second, 1, ["bob"]).what != "held", timeout=10)
    assert HELD_MS / 1000 - 0.2 < time.monotonic() - began < HELD_MS / 1000 + 3
    assert position(second) == 2
    assert fan(fanout, 2, ["carol"]).what == "held"


def test_a_full_lane_does_not_let_a_job_go_to_another(fanout: Fanout, second: Fanout) -> None:
    fanout.open(JOB, running())
    assert fan(fanout, 0, ["alice"], limit=0).what == "full"
    assert fan(second, 0, ["alice"], limit=0).what == "held"


@pytest.mark.parametrize("state", ["paused", "cancelled"])
def test_a_job_that_stands_still_does_so_from_one_script_to_the_next(
    fanout: Fanout, shards: Shards, state: Any
) -> None:
    fanout.open(JOB, running())
    fan(fanout, 0, ["alice", "bob"])
    assert fanout.steer(JOB, Order(state, 2, None))[0] == 2
    before = everything(shards)
    assert fan(fanout, 2, ["carol"]) == Fanned(state, 2, 0)
    assert everything(shards) == before
    fanout.steer(JOB, running(3))
    assert fan(fanout, 2, ["carol"]) == Fanned("fanned", 3, 0)


def test_a_job_that_is_not_begun_goes_nowhere_and_takes_no_order(fanout: Fanout, shards: Shards) -> None:
    assert fan(fanout, 0, ["alice"]) == Fanned("gone", 0, 0)
    assert fanout.steer(JOB, running(2)) == [None for _ in shards.each()]
    assert everything(shards) == {}


def test_a_job_that_is_begun_already_is_not_begun_again(fanout: Fanout, shards: Shards) -> None:
    fanout.open(JOB, running(2, rate=5))
    fan(fanout, 0, ["alice"])
    before = everything(shards)
    fanout.open(JOB, Order("paused", 3, None))
    assert everything(shards) == before


def test_what_one_shard_lost_is_begun_there_and_nowhere_else(fanout: Fanout, shards: Shards) -> None:
    fanout.open(JOB, running())
    for shard in shards.each():
        fan(fanout, 0, ["alice"], shard=shard)
    shards.client.delete(keys.job(0, JOB))
    fanout.open(JOB, running(2))
    assert fanout.standings([JOB])[JOB] == [
        Standing("running", 2, 0),
        *(Standing("running", 1, 1) for _ in range(shards.count - 1)),
    ]


@pytest.mark.parametrize("revision", [1, 2])
def test_an_order_that_is_no_newer_changes_nothing(fanout: Fanout, shards: Shards, revision: int) -> None:
    fanout.open(JOB, running(2))
    fan(fanout, 0, ["alice"])
    before = everything(shards)
    assert fanout.steer(JOB, Order("cancelled", revision, [1.0] * shards.count))[0] == 1
    assert everything(shards) == before


def test_revisions_are_compared_as_numbers(fanout: Fanout) -> None:
    fanout.open(JOB, running(9))
    fanout.steer(JOB, Order("paused", 10, None))
    assert fan(fanout, 0, ["alice"]).what == "paused"


def test_a_job_that_is_over_is_forgotten_in_every_shard(fanout: Fanout, shards: Shards) -> None:
    for job in (JOB, OTHER):
        fanout.open(job, running())
    fanout.close(JOB)
    fanout.close(JOB)
    assert fanout.standings([JOB])[JOB] == [None for _ in shards.each()]
    assert set(everything(shards)) == {keys.job(shard, OTHER).encode() for shard in shards.each()}


def test_what_redis_holds_does_not_grow_with_a_jobs_list(fanout: Fanout, shards: Shards) -> None:
    fanout.open(JOB, running())
    client: Any = shards.client
    fan(fanout, 0, ["alice"] * 100)
    client.xtrim(keys.lane(0, LANE), maxlen=0)
    before = client.memory_usage(keys.job(0, JOB))
    for number in range(1, 500):
        fan(fanout, 100 * number, ["alice"] * 100)
        client.xtrim(keys.lane(0, LANE), maxlen=0)
    assert client.memory_usage(keys.job(0, JOB)) <= before + 64
    assert position(fanout) == 50_000


def test_a_rate_lets_the_next_chunk_wait_for_as_long_as_the_last_one_takes(fanout: Fanout, shards: Shards) -> None:
    fanout.open(JOB, running(rate=100))
    # The first two tenths of a second are caught up with, as if they had been missed.
    assert fan(fanout, 0, ["a"] * 10, ["b"] * 10, ["c"] * 10, ["d"] * 10).position == 30
    waited = fan(fanout, 30, ["d"] * 10)
    assert (waited.what, waited.position) == ("fanned", 30)
    assert 0 < waited.wait_ms <= 100
    assert len(lane(shards)) == 3
    wait_until(lambda: fan(fanout, 30, ["d"] * 10).position == 40, timeout=5)


def test_a_job_goes_at_its_rate_and_no_faster(fanout: Fanout) -> None:
    rate, chunk = 400, ["a"] * 20
    fanout.open(JOB, running(rate=rate))
    began, at = time.monotonic(), 0
    while at < 600:
        fanned = fan(fanout, at, chunk)
        at = fanned.position
        assert at <= rate * (time.monotonic() - began + 0.2) + 2 * len(chunk)
        time.sleep(fanned.wait_ms / 1000)
    # 1.5 s but for what is caught up with, and the last chunk, which is waited for by nobody.
    assert 1.2 < time.monotonic() - began < 3


def test_what_a_job_missed_while_nobody_fanned_it_out_does_not_come_all_at_once(fanout: Fanout) -> None:
    fanout.open(JOB, running(rate=1000))
    fan(fanout, 0, ["a"])
    missed = time.monotonic() + 0.6
    wait_until(lambda: time.monotonic() > missed)
    assert fan(fanout, 1, *[["a"] * 10] * 100).position <= 1 + 200 + 20


def test_another_rate_is_not_waited_for_by_the_old_ones_measure(fanout: Fanout, shards: Shards) -> None:
    fanout.open(JOB, running(rate=0.001))
    fan(fanout, 0, ["alice"])
    assert fan(fanout, 1, ["bob"]).wait_ms > 900_000
    # An order that leaves the rate as it is leaves its measure, too: pause and resume are no way around it.
    fanout.steer(JOB, Order("paused", 2, [0.001] * shards.count))
    fanout.steer(JOB, running(3, rate=0.001))
    assert fan(fanout, 1, ["bob"]).wait_ms > 900_000
    fanout.steer(JOB, running(4, rate=1000))
    assert fan(fanout, 1, ["bob"]).position == 2
    fanout.steer(JOB, running(5))
    assert fan(fanout, 2, *[["carol"] * 200] * 5) == Fanned("fanned", 1002, 0)


@pytest.mark.parametrize("rate", [1e-05, 0.1 + 0.2, 1 / 3, 999_999_999.0])
def test_any_rate_is_kept_as_it_is(fanout: Fanout, shards: Shards, rate: float) -> None:
    fanout.open(JOB, running(rate=rate))
    client: Any = shards.client
    assert float(client.hget(keys.job(0, JOB), "rate")) == pytest.approx(rate, rel=1e-6)
    assert fan(fanout, 0, ["alice"]).position == 1
    assert fan(fanout, 1, ["bob"]).what == "fanned"


def test_a_chunk_that_was_cut_before_the_dial_was_turned_down_is_to_be_cut_anew(fanout: Fanout) -> None:
    fanout.open(JOB, running())
    fanout.steer(JOB, running(2, rate=20))
    refused = fan(fanout, 0, ["alice"] * 200)
    assert (refused.what, refused.position) == ("fanned", 0)
    assert refused.wait_ms > 0
    assert fan(fanout, 0, ["alice"] * 2).position == 2
