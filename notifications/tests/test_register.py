"""What processes tell of themselves, and the last quarter of an hour: who is there, who is not, what was done when."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import OutOfMemoryError

from notifications.stream import keys, register
from notifications.stream.client import Shards
from notifications.stream.register import COUNTERS, SPAN_MS, Register, Report, Slice

DONE = Report(kind="worker", host="here", pid=7, handled=10, rate=5.0, rss_bytes=1 << 26)
NOTHING: Mapping[int, int] = {}


@pytest.fixture
def full(shards: Shards) -> Iterator[None]:
    """A Redis that takes no more."""
    shards.client.config_set("maxmemory", "1mb")
    yield
    shards.client.config_set("maxmemory", "0")


def now_ms(shards: Shards) -> int:
    client: Any = shards.client
    seconds, microseconds = client.time()
    return int(seconds * 1000 + microseconds // 1000)


def present(shards: Shards) -> int:
    """The number of the timespan that lasts; a test that meets its end would see two."""
    while now_ms(shards) % SPAN_MS > SPAN_MS - 500:
        pass
    return now_ms(shards) // SPAN_MS


def heard_of(shards: Shards, name: str, ago_ms: int) -> None:
    """Let a process' last report be so old."""
    client: Any = shards.client
    entry = client.hget(keys.processes(), name).split(b" ", 1)
    client.hset(keys.processes(), name, b"%d %s" % (now_ms(shards) - ago_ms, entry[1]))


def states(shards: Shards) -> dict[str, str]:
    return {process.name: process.state for process in register.processes(shards.client)}


def noted(shards: Shards, number: int, after_ms: int, **totals: int) -> None:
    """The totals as somebody noted them so long after a timespan's beginning."""
    values = [number * SPAN_MS + after_ms, *(totals.get(counter, 0) for counter in COUNTERS)]
    shards.client.hset(keys.timespan(number), "totals", " ".join(map(str, values)))


def test_a_process_is_known_as_it_told_of_itself(shards: Shards) -> None:
    Register(shards, "w").report(DONE, NOTHING, age_ms=90_000)
    (process,) = register.processes(shards.client)
    assert (process.name, process.kind, process.host, process.pid) == ("w", "worker", "here", 7)
    assert (process.state, process.handled, process.rate, process.rss_bytes) == ("alive", 10, 5.0, 1 << 26)
    assert (process.sockets, process.recipients, process.frame_rate) == (None, None, None)
    assert 0 <= process.beat_age_ms < 5_000
    assert process.started_at == pytest.approx(now_ms(shards) - 90_000, abs=5_000)


def test_a_process_started_once_however_often_it_tells(shards: Shards) -> None:
    own = Register(shards, "w")
    own.report(DONE, NOTHING, age_ms=90_000)
    (before,) = register.processes(shards.client)
    own.report(DONE, NOTHING, age_ms=50)
    (after,) = register.processes(shards.client)
    assert after.started_at == before.started_at


@pytest.mark.parametrize(
    ("ago_ms", "state"), [(0, "alive"), (4_500, "alive"), (5_500, "silent"), (9_000, "silent"), (11_000, "dead")]
)
def test_who_is_not_heard_of_is_silent_and_then_dead(shards: Shards, ago_ms: int, state: str) -> None:
    Register(shards, "w").report(DONE, NOTHING, age_ms=0)
    heard_of(shards, "w", ago_ms)
    assert states(shards) == {"w": state}


def test_what_is_long_dead_is_forgotten_by_whoever_looks(shards: Shards) -> None:
    for name in ("gone", "there"):
        Register(shards, name).report(DONE, NOTHING, age_ms=0)
    heard_of(shards, "gone", 61_000)
    assert states(shards) == {"there": "alive"}
    assert shards.client.hkeys(keys.processes()) == [b"there"]


def test_what_is_long_dead_is_forgotten_by_whoever_tells_though_nobody_looks(shards: Shards) -> None:
    Register(shards, "gone").report(DONE, NOTHING, age_ms=0)
    heard_of(shards, "gone", 61_000)
    shards.client.delete(keys.timespan(present(shards)))
    Register(shards, "there").report(DONE, NOTHING, age_ms=0)
    assert shards.client.hkeys(keys.processes()) == [b"there"]


def test_who_said_goodbye_is_shown_for_ten_seconds(shards: Shards) -> None:
    own = Register(shards, "w")
    own.report(DONE, NOTHING, age_ms=0)
    own.report(DONE, NOTHING, age_ms=0, stopped=True)
    heard_of(shards, "w", 9_000)
    assert states(shards) == {"w": "stopped"}
    heard_of(shards, "w", 11_000)
    assert states(shards) == {}


def test_an_entry_that_this_release_cannot_read_harms_no_other(shards: Shards) -> None:
    Register(shards, "w").report(DONE, NOTHING, age_ms=0)
    shards.client.hset(keys.processes(), mapping={"new": "x", "other": f"{now_ms(shards)} 1 alive\n[]"})
    assert states(shards) == {"w": "alive"}


@pytest.mark.parametrize("times", ["x 1", "{now} x", "1.5 1", " 1", "9" * 5000 + " 1"])
def test_an_entry_whose_times_are_none_harms_no_other(shards: Shards, times: str) -> None:
    Register(shards, "w").report(DONE, NOTHING, age_ms=0)
    head = times.replace("{now}", str(now_ms(shards)))
    shards.client.hset(keys.processes(), "other", f"{head} alive\n{msgspec.json.encode(DONE).decode()}")
    assert states(shards) == {"w": "alive"}


def test_an_entry_that_nests_without_end_harms_no_other(shards: Shards) -> None:
    Register(shards, "w").report(DONE, NOTHING, age_ms=0)
    deep = '{"colour":' + "[" * 100_000
    shards.client.hset(keys.processes(), "other", f"{now_ms(shards)} 1 alive\n{deep}")
    assert states(shards) == {"w": "alive"}


def test_who_works_is_alive_and_the_past_goes_on_while_redis_is_full(shards: Shards, full: None) -> None:
    number = present(shards)
    with pytest.raises(OutOfMemoryError):
        shards.client.set("more", "x")
    Register(shards, "w").report(DONE, {3: 2}, age_ms=0)
    assert states(shards) == {"w": "alive"}
    assert register.latencies(shards.client) == {3: 2}
    assert shards.client.hexists(keys.timespan(number), "totals")
    assert 0 < int(shards.client.ttl(keys.timespan(number))) <= register.KEPT_SECONDS


def test_what_a_later_release_tells_besides_is_passed_over(shards: Shards) -> None:
    known = '{"kind":"web","host":"h","pid":1,"handled":0,"rate":0,"rss_bytes":1,"colour":"red"}'
    shards.client.hset(keys.processes(), "w", f"{now_ms(shards)} 1 alive\n{known}")
    assert states(shards) == {"w": "alive"}


def test_latencies_of_several_reports_and_processes_are_added_up(shards: Shards) -> None:
    number = present(shards)
    first, second = Register(shards, "a"), Register(shards, "b")
    first.report(DONE, {3: 2}, age_ms=0)
    first.report(DONE, {3: 1, 40: 1}, age_ms=0)
    second.report(DONE, {3: 1}, age_ms=0)
    assert register.latencies(shards.client) == {3: 4, 40: 1}
    assert 0 < int(shards.client.ttl(keys.timespan(number))) <= register.KEPT_SECONDS


def test_the_totals_of_all_shards_are_noted_once_in_a_timespan(shards: Shards) -> None:
    number = present(shards)
    for shard in shards.each():
        shards.client.hset(keys.counters(shard), mapping={"accepted": 10, "stored": 7, "fired": 1})
    Register(shards, "a").report(DONE, NOTHING, age_ms=0)
    shards.client.hset(keys.counters(0), "accepted", 1000)
    Register(shards, "b").report(DONE, NOTHING, age_ms=0)
    found: Any = shards.client.hget(keys.timespan(number), "totals")
    at, *totals = map(int, found.split())
    assert at // SPAN_MS == number
    assert totals == [10 * shards.count, 7 * shards.count, 0, 0, shards.count]
    assert 0 < int(shards.client.ttl(keys.timespan(number))) <= register.KEPT_SECONDS


def test_of_two_who_note_at_once_the_first_counts(shards: Shards) -> None:
    timespan = keys.timespan(present(shards))
    own = Register(shards, "a")
    own._note(timespan)
    before = shards.client.hget(timespan, "totals")
    shards.client.hset(keys.counters(0), "accepted", 1000)
    own._note(timespan)
    assert shards.client.hget(timespan, "totals") == before


def test_a_timespan_ends_though_who_was_to_note_its_totals_died(shards: Shards) -> None:
    timespan = keys.timespan(present(shards))
    shards.client.hset(timespan, "totals", "1 0 0 0 0 0")
    Register(shards, "a").report(DONE, {3: 1}, age_ms=0)
    assert 0 < int(shards.client.ttl(timespan)) <= register.KEPT_SECONDS


def test_a_slice_is_what_was_done_between_its_borders_wherever_the_notes_fell(shards: Shards) -> None:
    # A hundred events a second, noted now early and now late in each timespan.
    now = present(shards)
    for number, after_ms in zip(range(now - 4, now + 1), (100, 900, 400, 1700, 200), strict=True):
        at_ms = (number - (now - 4)) * SPAN_MS + after_ms
        noted(shards, number, after_ms, accepted=at_ms // 10, stored=at_ms // 20)
    found = register.history(shards.client, seconds=15)
    assert [slice_.at for slice_ in found] == [number * SPAN_MS for number in range(now - 3, now)]
    assert [(slice_.accepted, slice_.stored) for slice_ in found] == [(500, 250)] * 3


def test_no_event_is_lost_or_doubled_between_two_slices(shards: Shards) -> None:
    now = present(shards)
    for number, accepted in zip(range(now - 6, now + 1), (0, 1, 1, 2, 5, 5, 5), strict=True):
        noted(shards, number, 333, accepted=accepted)
    assert sum(slice_.accepted for slice_ in register.history(shards.client)) == 5


def test_the_slice_that_lasts_is_not_told(shards: Shards) -> None:
    now = present(shards)
    noted(shards, now - 1, 0, stored=5)
    noted(shards, now, 0, stored=9)
    shards.client.hset(keys.timespan(now - 1), "l30", 4)
    shards.client.hset(keys.timespan(now), "l30", 1)
    assert register.history(shards.client) == [
        Slice(at=(now - 1) * SPAN_MS, accepted=0, stored=4, failed=0, dead=0, fired=0, latencies={30: 4})
    ]


def test_what_nobody_saw_is_missing_and_not_told_as_nothing(shards: Shards) -> None:
    now = present(shards)
    for number in (now - 9, now - 8, now - 3, now - 2):
        noted(shards, number, 0, accepted=number - now + 9)
    assert [slice_.at // SPAN_MS for slice_ in register.history(shards.client)] == [now - 9, now - 3]


def test_counters_that_were_lost_make_no_negative_numbers(shards: Shards) -> None:
    now = present(shards)
    for number, accepted in zip(range(now - 3, now + 1), (1000, 1100, 20, 30), strict=True):
        noted(shards, number, 0, accepted=accepted)
    assert [slice_.accepted for slice_ in register.history(shards.client)] == [100, 0, 10]


def test_a_history_of_nothing_is_empty(shards: Shards) -> None:
    assert register.history(shards.client) == []
    assert register.latencies(shards.client) == {}
    assert register.processes(shards.client) == []


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99, 1.0])
def test_of_nothing_there_is_no_percentile(share: float) -> None:
    assert register.percentile({}, share) is None


@given(
    durations=st.lists(st.integers(min_value=1, max_value=3_600_000), min_size=1, max_size=200),
    share=st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_percentile_is_within_five_percent(durations: list[int], share: float) -> None:
    buckets = Counter(register.bucket(duration) for duration in durations)
    exact = sorted(durations)[max(1, math.ceil(share * len(durations))) - 1]
    assert register.percentile(buckets, share) == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(("duration_ms", "bucket"), [(-50, 0), (0, 0), (1, 0), (10, 24), (10**9, register.LAST_BUCKET)])
def test_what_is_out_of_range_is_in_the_first_or_last_bucket(duration_ms: int, bucket: int) -> None:
    assert register.bucket(duration_ms) == bucket


def test_buckets_are_merged_by_adding_them_up() -> None:
    assert register.merged([{1: 2, 5: 1}, {}, {5: 3}]) == {1: 2, 5: 4}
