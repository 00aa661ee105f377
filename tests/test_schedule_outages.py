"""Schedules while servers are away, or come back with less than they had: all of them fire, once, and nothing else."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from notifications.stream import keys
from notifications.stream.schedules import Kept, Schedules
from tests import truth
from tests.api import Api
from tests.stack import Process, Stack, wait_until
from tests.test_schedules import (
    CANCELLED,
    FIRED,
    SCHEDULED,
    assert_fired_once,
    assert_rows,
    delete,
    fired,
    full_hour_ago,
    patch,
    plan_daily,
    plan_many,
    schedulers,
    statuses,
    titles_of,
    wait_until_recorded,
    waiting_of,
)
from tests.test_schedules import schedules as schedules  # noqa: PLC0414 - a fixture
from tests.test_schedules import stack as stack  # noqa: PLC0414 - a fixture

DAY_MS = 24 * 3600 * 1000
ONCE, RECURRING = 800, 200
# Longer than a loaded machine takes to plan and record them all.
AHEAD_MS = 15_000


@pytest.fixture(autouse=True)
def _nothing_waits(stack: Stack, schedules: Schedules) -> Iterator[None]:
    """What comes again is forgotten after each test: here Redis is flushed, and all that PostgreSQL has comes back."""
    yield
    stack.sql("DELETE FROM scheduler_schedule")
    for shard in truth.shards(stack):
        schedules.shards.client.delete(keys.scheduled(shard), keys.schedules(shard))


def plan_1000(stack: Stack, schedules: Schedules, name: str) -> tuple[dict[str, int], list[Kept]]:
    """800 that fire once, within the second in AHEAD_MS, and 200 that come each day; recorded by who is there."""
    due_ms = schedules.now_ms() + AHEAD_MS
    once = plan_many(schedules, name, (due_ms + number % 1000 for number in range(ONCE)))
    daily_ms = full_hour_ago(12) + DAY_MS
    recurring = [plan_daily(schedules, f"{name}-{number}", daily_ms) for number in range(RECURRING)]
    wait_until_recorded(stack, schedules)
    assert statuses(stack, once) == {SCHEDULED: ONCE}
    return once, recurring


def flush(stack: Stack, schedules: Schedules, once: Mapping[str, int]) -> None:
    """Empty Redis, before the first of them is due."""
    stack.redis().flushall()
    assert schedules.now_ms() < min(once.values()), "planning took too long for this to show anything"


def assert_all_came_back(
    stack: Stack, schedules: Schedules, name: str, once: Mapping[str, int], recurring: list[Kept]
) -> None:
    """What fires once fired once; what comes again waits as it did."""
    assert_fired_once(stack, schedules, name, once)
    assert schedules.look_many(kept.id for kept in recurring) == {kept.id: kept for kept in recurring}
    assert statuses(stack, [kept.id for kept in recurring]) == {SCHEDULED: RECURRING}


def test_1000_schedules_outlive_a_flushed_redis_while_everything_runs(stack: Stack, schedules: Schedules) -> None:
    with schedulers(stack, 2):
        once, recurring = plan_1000(stack, schedules, "flushed")
        flush(stack, schedules, once)
        assert_all_came_back(stack, schedules, "flushed", once, recurring)


def test_1000_schedules_outlive_a_flushed_redis_that_no_scheduler_saw(stack: Stack, schedules: Schedules) -> None:
    with schedulers(stack):
        once, recurring = plan_1000(stack, schedules, "unseen")
    flush(stack, schedules, once)
    wait_until(lambda: schedules.now_ms() > max(once.values()), message="time stands still")
    with schedulers(stack, 2):
        assert_all_came_back(stack, schedules, "unseen", once, recurring)


@pytest.mark.parametrize("way", ["stopped", "frozen"])
def test_without_postgresql_schedules_are_made_changed_and_fired_on_time(
    stack: Stack, schedules: Schedules, way: str
) -> None:
    with schedulers(stack, 2) as running, Api(stack) as api:
        # An API key that Redis forgot, by a flush, is looked up in PostgreSQL; any request mirrors it again.
        api.get("/api/schedule")
        before = fired(stack)
        due_ms = schedules.now_ms() + 2500
        planned = plan_many(schedules, way, (due_ms + number for number in range(100)))
        wait_until_recorded(stack, schedules)
        edited, cancelled = list(planned)[:2]
        (stack.postgresql.stop if way == "stopped" else stack.postgresql.freeze)()
        try:
            made = api.post("/api/schedule", {"recipient": f"{way}-1", "type": "test", "title": "A title", "delay": 1})
            assert made.status_code == 201, made.text
            assert patch(api, edited, title="Edited").status_code == 200
            assert delete(api, cancelled).status_code == 204
            planned[made.json()["id"]] = schedules.now_ms()
            del planned[cancelled]
            wait_until(lambda: fired(stack) >= before + 100, 10, "they did not fire")
            if way == "stopped":
                assert api.get(f"/api/notifications/{edited}")["status"] == "queued"
            late_ms = lateness_ms(schedules, planned)
        finally:
            (stack.postgresql.start if way == "stopped" else stack.postgresql.thaw)()
        assert_fired_once(stack, schedules, way, planned)
        assert all(process.returncode is None for process in running)
    assert fired(stack) == before + 100
    assert late_ms < 2000
    assert titles_of(stack, way)[edited] == "Edited"
    assert statuses(stack, [cancelled]) == {CANCELLED: 1}


def lateness_ms(schedules: Schedules, planned: Mapping[str, int]) -> int:
    """How late the latest of them came into the lane where it still is, in ms of Redis' clock; none came early."""
    client: Any = schedules.shards.client
    late_ms = []
    for schedule_id, due_ms in planned.items():
        state = client.hget(keys.inflight(schedules.shards.of_id(schedule_id)), schedule_id).decode()
        late_ms.append(int(state.removeprefix("queued live ").partition("-")[0]) - due_ms)
    return max(late_ms)


def test_what_is_due_while_redis_is_restarted_and_while_it_stands_still_fires_after_it(
    stack: Stack, schedules: Schedules
) -> None:
    with schedulers(stack, 2) as running:
        before = fired(stack)
        due_ms = schedules.now_ms() + 1500
        planned = plan_many(schedules, "restarted", (due_ms + 30 * number for number in range(500)))
        wait_until(lambda: fired(stack) > before + 50, message="nothing fires")
        stack.valkey.kill()
        stack.valkey.start()
        assert waiting_of(schedules, planned), "all had fired already: this showed nothing"
        assert_fired_once(stack, schedules, "restarted", planned)
        assert fired(stack) == before + 500
        planned = plan_many(schedules, "still", [schedules.now_ms() + 500] * 500)
        seen = outages(running)
        stack.valkey.freeze()
        try:
            wait_until(lambda: all(now > then for now, then in zip(outages(running), seen, strict=True)))
        finally:
            stack.valkey.thaw()
        assert_fired_once(stack, schedules, "still", planned)
        assert fired(stack) == before + 1000
        assert all(process.returncode is None for process in running)


def outages(processes: list[Process]) -> list[int]:
    """How many outages each of them told of."""
    return [process.log().count("process.outage ") for process in processes]


@pytest.mark.parametrize("with_log", [False, True], ids=["recorded", "not_recorded"])
def test_a_redis_as_it_was_earlier_gets_back_what_was_cancelled_and_edited_since(
    stack: Stack, schedules: Schedules, *, with_log: bool
) -> None:
    """An old backup, or a fail-over to a replica that was behind; of which the log may hold what is recorded by now."""
    name = f"older-{with_log}"
    with Api(stack) as api:
        due_ms = schedules.now_ms() + AHEAD_MS
        planned = plan_many(schedules, name, [due_ms] * 3)
        cancelled, edited, _ = planned
        older, log = schedules.look_many(planned), log_of(schedules)
        with schedulers(stack):
            wait_until_recorded(stack, schedules)
            assert delete(api, cancelled).status_code == 204
            assert patch(api, edited, title="Edited").status_code == 200
            wait_until_recorded(stack, schedules)
            assert statuses(stack, planned) == {SCHEDULED: 2, CANCELLED: 1}
        put_back(schedules, older.values(), log if with_log else {})
        with schedulers(stack, 2):
            assert schedules.now_ms() < due_ms, "it took too long for this to show anything"
            wait_until(lambda: schedules.now_ms() > due_ms, message="time stands still")
            del planned[cancelled]
            assert_rows(stack, name, planned)
            assert titles_of(stack, name)[edited] == "Edited"
            assert statuses(stack, [*planned, cancelled]) == {FIRED: 2, CANCELLED: 1}


Log = dict[int, list[dict[bytes, bytes]]]


def log_of(schedules: Schedules) -> Log:
    """What is not recorded yet, by shard."""
    client: Any = schedules.shards.client
    return {shard: [fields for _, fields in client.xrange(keys.changes(shard))] for shard in schedules.shards.each()}


def put_back(schedules: Schedules, older: Any, log: Log) -> None:
    """Write schedules, and a log of changes, over what Redis has."""
    client: Any = schedules.shards.client
    for kept in older:
        shard = schedules.shards.of_id(kept.id)
        client.hset(keys.schedules(shard), kept.id, kept.value)
        client.zadd(keys.scheduled(shard), {kept.id: kept.due_ms})
    for shard, entries in log.items():
        for fields in entries:
            client.xadd(keys.changes(shard), fields)
