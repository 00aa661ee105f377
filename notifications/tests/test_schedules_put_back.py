"""Schedules that Redis lost, or has as they were earlier: which they are, and how they are put back."""

from collections.abc import Callable
from typing import Any

import pytest

from notifications import events, wiring
from notifications.stream import keys
from notifications.stream.schedules import Schedules
from notifications.tests.test_schedules_in_redis import forget_all, kept, log_of


@pytest.fixture
def schedules() -> Schedules:
    return wiring.patient_schedules()


REVISIONS = [
    # here, in PostgreSQL (negative: over), behind?
    (None, 1, True),
    (None, -1, False),
    (1, 1, False),
    (1, 2, True),
    (2, 1, False),
    (1, -2, True),
    (2, -2, False),
    (3, -2, False),
    (9, 10, True),
    (10, 9, False),
]


@pytest.mark.parametrize(("here", "there", "behind"), REVISIONS)
def test_redis_is_behind_where_it_lacks_what_waits_or_has_less_than_is_known(
    schedules: Schedules, here: int | None, there: int, *, behind: bool
) -> None:
    one, other = kept(5000), kept(6000)
    if here is not None:
        schedules.plan(one._replace(revision=here))
    schedules.plan(other)
    shard = schedules.shards.of("alice")
    assert schedules.behind(shard, [(other.id, 1), (one.id, there)]) == ([one.id] if behind else [])
    assert schedules.behind(shard, []) == []


@pytest.mark.parametrize(("here", "there", "behind"), REVISIONS)
def test_what_is_older_here_becomes_what_is_known_and_nothing_else_does(
    schedules: Schedules, here: int | None, there: int, *, behind: bool
) -> None:
    one = kept(5000)
    if here is not None:
        schedules.plan(one._replace(revision=here))
    forget_all(schedules)
    before = schedules.look(one.id)
    known = one._replace(revision=abs(there), due_ms=7000 if there > 0 else None)
    shard, until = schedules.shards.of("alice"), schedules.now_ms() + 1000
    assert schedules.restore(shard, [known], until) == int(behind)
    if behind:
        assert schedules.look(one.id) == (known if there > 0 else None)
        client: Any = schedules.shards.client
        assert client.zscore(keys.scheduled(shard), one.id) == (7000 if there > 0 else None)
    else:
        assert schedules.look(one.id) == before
    assert schedules.restore(shard, [known], until) == 0
    assert log_of(schedules) == []


def test_what_is_in_flight_is_not_put_back(schedules: Schedules, make_writer: Callable[..., Any]) -> None:
    one = kept(5000)
    make_writer().add([events.decode(one.event)])
    shard = schedules.shards.of("alice")
    assert schedules.restore(shard, [one], schedules.now_ms() + 1000) == 0
    assert schedules.look(one.id) is None


def test_a_comparison_that_a_flush_met_is_told_so(schedules: Schedules) -> None:
    every = list(schedules.shards.each())
    assert schedules.lost() == every
    notes = {shard: schedules.begin_comparison(shard, f"token-{shard}") for shard in every}
    assert schedules.lost() == every
    schedules.shards.client.flushall()
    assert [schedules.end_comparison(shard, note) for shard, note in notes.items()] == [False] * len(every)
    assert schedules.lost() == every
    notes = {shard: schedules.begin_comparison(shard, f"token-{shard}") for shard in every}
    assert [schedules.end_comparison(shard, note) for shard, note in notes.items()] == [True] * len(every)
    assert schedules.lost() == []


def test_a_single_shard_that_lost_its_note_is_named(schedules: Schedules) -> None:
    every = list(schedules.shards.each())
    for shard in every:
        schedules.end_comparison(shard, schedules.begin_comparison(shard, "token"))
    for shard in every:
        schedules.shards.client.delete(keys.compared(shard))
        assert schedules.lost() == [shard]
        schedules.end_comparison(shard, schedules.begin_comparison(shard, "token"))


def test_two_comparisons_at_once_do_not_take_each_others_note_for_a_loss(schedules: Schedules) -> None:
    first, second = (schedules.begin_comparison(0, token) for token in ("one", "two"))
    assert schedules.end_comparison(0, second)
    assert schedules.begin_comparison(0, "three") == b"compared"
    assert 0 not in schedules.lost()
    assert first == second
