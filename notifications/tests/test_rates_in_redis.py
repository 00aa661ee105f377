"""Rates in Redis: exact to the last part of an event, in the server's own time."""

import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import pytest

from notifications import wiring
from notifications.exceptions import Unavailable
from notifications.stream import keys as names
from notifications.stream import rates
from notifications.stream.client import Shards
from notifications.stream.rates import Rates, Standing
from notifications.tests.test_rates import THREADS

pytestmark = pytest.mark.one_shard_is_enough


def state(shards: Shards, name: str, rate: str) -> Fraction:
    """When a rate is whole again, in Unix microseconds."""
    kept: Any = shards.client.get(name)
    whole, parts = kept.split()
    return int(whole) + Fraction(int(parts), rates.parse(rate).q)


def pass_time(shards: Shards, name: str, seconds: float) -> None:
    """As if so long had passed for a rate."""
    kept: Any = shards.client.get(name)
    whole, parts = kept.split()
    shards.client.set(name, b"%d %s" % (int(whole) - int(seconds * 1_000_000), parts), keepttl=True)


def test_a_burst_passes_at_once_and_then_one_for_each_share_of_the_window(shards: Shards) -> None:
    rate, name = rates.parse("20/m"), names.rate("key:1", "20/m")
    standings = [wiring.rates().take("key:1", rate, 1) for _ in range(20)]
    assert [standing.left for standing in standings] == [*range(19, -1, -1)]
    assert standings[-1] == Standing(taken=True, left=0, seconds=60)
    assert wiring.rates().take("key:1", rate, 1) == Standing(taken=False, left=0, seconds=3)
    assert wiring.rates().take("key:1", rate, 7) == Standing(taken=False, left=0, seconds=21)
    pass_time(shards, name, 3)
    assert wiring.rates().take("key:1", rate, 2).taken is False
    assert wiring.rates().take("key:1", rate, 1).taken
    assert not wiring.rates().take("key:1", rate, 1).taken
    pass_time(shards, name, 3600)
    assert wiring.rates().take("key:1", rate, 0).left == 20, "no more than a burst is saved up"


@pytest.mark.parametrize("rate", ["7/m", "420/m", "1000/h", "999983/h", "1000003/d", "999999999/d"])
def test_each_event_takes_its_share_of_the_window_to_the_last_part(shards: Shards, rate: str) -> None:
    parsed, name = rates.parse(rate), names.rate("key:1", rate)
    share = Fraction(parsed.window * 1_000_000, parsed.burst)
    # As a rate that is long not whole, so that no time passes for it.
    start = int(time.time()) * 1_000_000 + 1_000_000 * parsed.window // 2
    shards.client.set(name, f"{start} 0")
    taken = 0
    for events in (1, 3, 2, -1, 1, 1, -4, 2):
        if wiring.rates().take("key:1", parsed, events).taken:
            taken += events
            assert state(shards, name, rate) == start + taken * share
    assert taken


def test_what_is_given_back_makes_a_rate_whole_and_no_more_than_that(shards: Shards) -> None:
    rate = rates.parse("10/d")
    wiring.rates().take("key:1", rate, 4)
    assert wiring.rates().take("key:1", rate, -1).left == 7
    assert wiring.rates().take("key:1", rate, -100).left == 10
    assert not shards.client.keys(), "who is idle costs nothing"


def test_a_rate_is_forgotten_when_it_is_whole_and_not_before(shards: Shards) -> None:
    name = names.rate("key:1", "10/m")
    for events in (5, 1, -2):
        wiring.rates().take("key:1", rates.parse("10/m"), events)
        forgotten_ms: Any = shards.client.pexpiretime(name)
        assert 0 <= forgotten_ms * 1000 - state(shards, name, "10/m") <= 3000
    assert [parsed.window for parsed in map(rates.parse, ("1/s", "1/m", "1/h", "1/d"))] == [1, 60, 3600, 86400]


def test_a_clock_that_is_set_back_costs_a_caller_no_more_than_a_burst(shards: Shards) -> None:
    rate = rates.parse("20/m")
    wiring.rates().take("key:1", rate, 1)
    pass_time(shards, names.rate("key:1", "20/m"), -3600)
    assert wiring.rates().take("key:1", rate, 1) == Standing(taken=False, left=0, seconds=3)


def test_what_comes_to_a_turn_after_its_caller_gave_up_takes_nothing(shards: Shards) -> None:
    impatient = Rates(shards, wiring.clock(), patience_ms=-1000)
    with pytest.raises(Unavailable):
        impatient.take("key:1", rates.parse("10/d"), 1)
    assert not shards.client.keys()


def test_of_fifty_callers_at_once_as_many_pass_as_the_burst_and_the_time_allow(shards: Shards) -> None:
    rate, until = rates.parse("300/s"), time.monotonic() + 1.5
    times: list[tuple[float, float]] = []

    def take(_: int) -> int:
        taken = 0
        while (before := time.monotonic()) < until:
            if wiring.rates().take("key:1", rate, 1).taken:
                taken += 1
                times.append((before, time.monotonic()))
        return taken

    with ThreadPoolExecutor(THREADS) as pool:
        taken = sum(pool.map(take, range(THREADS)))
    # The longest time in which they can have passed.
    seconds = max(after for _, after in times) - min(before for before, _ in times)
    assert rate.burst < taken <= rate.burst + seconds * rate.burst
