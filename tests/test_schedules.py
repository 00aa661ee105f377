"""Schedules over real processes: each fires once and never early, whoever is killed, cancelled or late meanwhile."""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from notifications import events
from notifications.events import Draft
from notifications.stream import keys
from notifications.stream.client import Shards, connect
from notifications.stream.clock import ServerClock
from notifications.stream.schedules import Kept, Schedules
from scheduler import schedule
from scheduler.recurrence import Recurrence
from scheduler.schedule import About
from tests import truth
from tests.api import Api
from tests.stack import Process, Stack, wait_until
from tests.test_failpoints import start_armed

SCHEDULED, FIRED, CANCELLED = range(3)
DAY_MS = 24 * 3600 * 1000
RECIPIENTS = 50
# Who plan at once; so many share a sync of the disk.
PLANNERS = 8


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One deployment, whose schedulers each test starts; each has recipients of its own and leaves it at rest."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.start_web()
        running.start_worker()
        yield running


@pytest.fixture
def schedules(stack: Stack) -> Iterator[Schedules]:
    """The deployment's schedules, past the door."""
    with connect(stack.valkey.url, timeout_seconds=10) as client:
        shards = Shards(client, len(truth.shards(stack)))
        yield Schedules(shards, ServerClock(client), patience_ms=5000)


@contextmanager
def schedulers(stack: Stack, count: int = 1) -> Iterator[list[Process]]:
    """Schedulers; those that are still there at the end are asked to stop, and do."""
    started = [stack.start_scheduler() for _ in range(count)]
    try:
        for process in started:
            wait_until(lambda one=process: "process.started" in one.log(), message="a scheduler never began")  # type: ignore[misc]
        yield started
        for process in started:
            process.terminate()
            assert process.wait(10) in {0, -signal.SIGKILL}, process.tail()
            assert "Traceback" not in process.log()
    finally:
        for process in started:
            process.kill()


def once(recipient: str, due_ms: int, title: str = "A title") -> Kept:
    """A schedule that fires once."""
    draft = Draft(recipient=recipient, type="test", title=title)
    return schedule.to_kept(schedule.new(draft, About(at_ms=due_ms, by="tests"), due_ms))


def plan_many(schedules: Schedules, name: str, dues_ms: Iterable[int]) -> dict[str, int]:
    """Plan one for each time, for `RECIPIENTS` recipients whose names begin with `name`; the times by id."""
    planned = [once(f"{name}-{number % RECIPIENTS}", due_ms) for number, due_ms in enumerate(dues_ms)]
    with ThreadPoolExecutor(PLANNERS) as several:
        list(several.map(schedules.plan, planned))
    return {kept.id: kept.due_ms or 0 for kept in planned}


def plan_daily(schedules: Schedules, recipient: str, due_ms: int, catch_up: schedule.CatchUp = "once") -> Kept:
    """A schedule that comes each day at the time of day of `due_ms`, and is due then."""
    rule = Recurrence(daily=schedule.moment(due_ms).strftime("%H:%M"))
    draft = Draft(recipient=recipient, type="test", title="A title")
    kept = schedule.to_kept(schedule.new(draft, About(recurrence=rule, catch_up=catch_up, by="tests"), due_ms))
    schedules.plan(kept)
    return kept


def full_hour_ago(hours: int) -> int:
    """A full hour so many hours ago, Unix ms: far from now, so that no test runs across the next one of its kind."""
    return schedule.unix_ms(datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours))


def occurrences(kept: Kept, recipient: str, dues_ms: Iterable[int]) -> list[str]:
    """The ids of what a schedule that comes again fires at these times."""
    return [events.derived_id(recipient, due_ms, kept.id, str(due_ms)) for due_ms in dues_ms]


def set_due(schedules: Schedules, schedule_id: str, due_ms: int) -> None:
    """Set the time at which a schedule waits, as if nobody had looked since then."""
    shard = schedules.shards.of_id(schedule_id)
    schedules.shards.client.zadd(keys.scheduled(shard), {schedule_id: due_ms})


def fired(stack: Stack) -> int:
    """How many firings Redis counted so far."""
    client: Any = stack.redis()
    return sum(int(client.hget(keys.counters(shard), "fired") or 0) for shard in truth.shards(stack))


def rows_of(stack: Stack, name: str) -> Counter[str]:
    """How often each event of the recipients whose names begin with `name` is a row."""
    found = stack.sql("SELECT id FROM notifications_notification WHERE starts_with(recipient, %s)", [f"{name}-"])
    return Counter(str(row_id) for (row_id,) in found)


def titles_of(stack: Stack, name: str) -> dict[str, str]:
    """The title of each of their notifications, by id, in the order of their inboxes."""
    query = "SELECT id, title FROM notifications_notification WHERE starts_with(recipient, %s) ORDER BY recipient, seq"
    return {str(row_id): title for row_id, title in stack.sql(query, [f"{name}-"])}


def statuses(stack: Stack, ids: Iterable[str]) -> Counter[int]:
    """How many of the schedules are in which state in PostgreSQL."""
    query = "SELECT status, count(*) FROM scheduler_schedule WHERE id = ANY(%s::uuid[]) GROUP BY status"
    return Counter(dict(stack.sql(query, [list(ids)])))


def wait_until_recorded(stack: Stack, schedules: Schedules) -> None:
    """Wait until PostgreSQL has all that became of schedules."""
    wait_until(lambda: not schedules.changed_shards(), 30, "changes were not recorded")


def assert_fired_once(stack: Stack, schedules: Schedules, name: str, due_ms: Mapping[str, int]) -> None:
    """Each of these is one notification, fired at its time or later, and nothing of it is left in Redis."""
    assert_rows(stack, name, due_ms)
    assert statuses(stack, due_ms) == {FIRED: len(due_ms)}
    ran = stack.sql("SELECT id, last_run_at FROM scheduler_schedule WHERE id = ANY(%s::uuid[])", [list(due_ms)])
    early = [str(row_id) for row_id, when in ran if schedule.unix_ms(when) < due_ms[str(row_id)]]
    assert not early, f"{len(early)} fired before their time"
    stored = stack.sql(
        "SELECT id, stored_at FROM notifications_notification WHERE id = ANY(%s::uuid[])", [list(due_ms)]
    )
    assert all(schedule.unix_ms(when) >= due_ms[str(row_id)] for row_id, when in stored)
    assert not schedules.look_many(due_ms)
    assert not waiting_of(schedules, due_ms)


def assert_rows(stack: Stack, name: str, ids: Iterable[str]) -> None:
    """Each of these events, and no other of their recipients, is one row; every count is exact; all is at rest."""
    expected = Counter(list(ids))
    wait_until(lambda: rows_of(stack, name).total() >= expected.total(), 30, "notifications are missing")
    truth.wait_for_rest(stack)
    assert rows_of(stack, name) == expected
    for recipient, seq, unread, count, newest, unread_rows in stack.sql(truth.INBOXES):
        assert seq == newest == count, recipient
        assert unread == unread_rows, recipient
    truth.assert_mirrors_agree(stack)
    wait_until(lambda: not truth.left_over(stack), 10, "something is left")


def waiting_of(schedules: Schedules, ids: Iterable[str]) -> list[str]:
    """Those of the schedules that wait for their time."""
    client: Any = schedules.shards.client
    return [one for one in ids if client.zscore(keys.scheduled(schedules.shards.of_id(one)), one) is not None]


def delete(api: Api, schedule_id: str) -> httpx.Response:
    """DELETE a schedule."""
    return api._client.delete(f"/api/schedule/{schedule_id}")


def patch(api: Api, schedule_id: str, **fields: Any) -> httpx.Response:
    """PATCH a schedule."""
    return api._client.patch(f"/api/schedule/{schedule_id}", json=fields)


def test_3000_due_within_seconds_fire_once_each_though_a_scheduler_is_killed(
    stack: Stack, schedules: Schedules
) -> None:
    before = fired(stack)
    with schedulers(stack, 2) as (doomed, _), Api(stack) as api:
        for number in range(RECIPIENTS):
            api.get(f"/api/recipients/storm-{number}/unread")
        due_ms = schedules.now_ms() + 12_000
        planned = plan_many(schedules, "storm", (due_ms + number % 5000 for number in range(3000)))
        assert schedules.now_ms() < due_ms, "planning took too long for this to show anything"
        wait_until(lambda: fired(stack) > before + 500, message="nothing fires")
        doomed.kill()
        assert fired(stack) < before + 3000, "all had fired already: this showed nothing"
        assert_fired_once(stack, schedules, "storm", planned)
        assert fired(stack) == before + 3000
        assert api.get("/api/recipients/storm-0/unread") == {"unread": 60}


def test_3000_due_at_the_very_same_moment_are_shared_by_two_schedulers(stack: Stack, schedules: Schedules) -> None:
    before = fired(stack)
    due_ms = schedules.now_ms() - 1
    planned = plan_many(schedules, "moment", [due_ms] * 3000)
    with schedulers(stack, 2):
        assert_fired_once(stack, schedules, "moment", planned)
    assert fired(stack) == before + 3000


def test_what_was_due_while_no_scheduler_ran_fires_at_its_start_the_oldest_first(
    stack: Stack, schedules: Schedules
) -> None:
    now = schedules.now_ms()
    dues_ms = random.sample(range(now - DAY_MS, now), 700)
    planned = {}
    for due_ms in dues_ms:
        kept = once("down-1", due_ms, title=str(due_ms))
        schedules.plan(kept)
        planned[kept.id] = due_ms
    with schedulers(stack, 2):
        assert_fired_once(stack, schedules, "down", planned)
    assert [int(title) for title in titles_of(stack, "down").values()] == sorted(dues_ms)


@pytest.mark.parametrize(("catch_up", "fires"), [("once", 1), ("all", 3)])
def test_a_recurrence_that_missed_three_times_fires_for_them_as_it_was_asked_to(
    stack: Stack, schedules: Schedules, catch_up: schedule.CatchUp, fires: int
) -> None:
    missed = [full_hour_ago(12) - days * DAY_MS for days in (2, 1, 0)]
    recipient = f"missed-{catch_up}-1"
    kept = plan_daily(schedules, recipient, missed[0], catch_up)
    ids = occurrences(kept, recipient, missed[:fires])
    with schedulers(stack):
        assert_rows(stack, f"missed-{catch_up}", ids)
        assert_waits_for(schedules, kept.id, missed[-1] + DAY_MS)
        set_due(schedules, kept.id, missed[0])
        assert_waits_for(schedules, kept.id, missed[-1] + DAY_MS)
        assert_rows(stack, f"missed-{catch_up}", ids)
    query = "SELECT status, runs, extract(epoch FROM next_run_at) FROM scheduler_schedule WHERE id = %s"
    # It fired again for times that it had fired for already, which counts as runs and had no other effect.
    assert stack.sql(query, [kept.id]) == [(SCHEDULED, 2 * fires, (missed[-1] + DAY_MS) // 1000)]


def assert_waits_for(schedules: Schedules, schedule_id: str, due_ms: int) -> None:
    """Sooner or later it is due at this time."""

    def waits() -> bool:
        kept = schedules.look(schedule_id)
        return kept is not None and kept.due_ms == due_ms

    wait_until(waits, 10, "it was not moved on")


@pytest.mark.parametrize("edits", [False, True], ids=["cancelled", "edited"])
def test_a_change_that_meets_the_firing_has_one_of_two_outcomes_as_its_answer_says(
    stack: Stack, schedules: Schedules, *, edits: bool
) -> None:
    name = "edited" if edits else "cancelled"
    with schedulers(stack, 2), Api(stack) as api:
        due_ms = schedules.now_ms() + 1000
        planned = plan_many(schedules, name, (due_ms + 10 * number for number in range(100)))
        leads_ms = [random.uniform(-5, 15) for _ in planned]  # noqa: S311
        leads_ms[::20] = [200.0] * 5
        answers = {}
        for (schedule_id, due), lead_ms in zip(planned.items(), leads_ms, strict=True):
            wait_until_close(schedules, due - lead_ms)
            answer = patch(api, schedule_id, title="Edited") if edits else delete(api, schedule_id)
            answers[schedule_id] = answer.status_code
        late = {schedule_id for schedule_id, status in answers.items() if status == 409}
        in_time = {schedule_id for schedule_id, status in answers.items() if status == (200 if edits else 204)}
        assert late, "all came before their time: this showed nothing"
        assert in_time, "all came too late: this showed nothing"
        assert late | in_time == planned.keys()
        fires = late | in_time if edits else late
        assert_fired_once(stack, schedules, name, {one: planned[one] for one in fires})
    assert titles_of(stack, name) == {one: "Edited" if one in in_time else "A title" for one in fires}
    if not edits:
        assert statuses(stack, in_time) == {CANCELLED: len(in_time)}
        assert not schedules.look_many(in_time)


def wait_until_close(schedules: Schedules, due_ms: float) -> None:
    """Wait until Redis' clock shows a time, to a millisecond."""
    while (left := due_ms - schedules.now_ms()) > 0:
        time.sleep(min(left / 1000, 0.001))


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(
    "failpoint", ["scheduler.looked", "scheduler.planned", "scheduler.moved", "schedules.recorded", "comparison.ready"]
)
def test_a_scheduler_killed_at_a_step_leaves_each_schedule_to_fire_once(
    stack: Stack, schedules: Schedules, failpoint: str
) -> None:
    name = f"at-{failpoint}"
    restores = failpoint == "comparison.ready"
    # On a loaded machine it takes seconds to record them, which is what comes before.
    due_ms = schedules.now_ms() + (8000 if restores else -1)
    planned = plan_many(schedules, name, [due_ms] * 600)
    # A second kind, which no restored one is among: it is due at a full minute only.
    daily_ms = full_hour_ago(12)
    kept = None if restores else plan_daily(schedules, f"{name}-daily", daily_ms)
    expected = [*planned, *(occurrences(kept, f"{name}-daily", [daily_ms]) if kept else [])]
    if restores:
        lose_recorded(stack, schedules, planned)
    doomed = start_armed(stack, failpoint, stack.start_scheduler)
    assert doomed.wait() == -signal.SIGKILL
    with schedulers(stack):
        assert_rows(stack, name, expected)
        assert statuses(stack, planned) == {FIRED: 600}
        assert not schedules.look_many(planned)


def lose_recorded(stack: Stack, schedules: Schedules, planned: Sequence[str] | Mapping[str, int]) -> None:
    """Let a scheduler record what is planned; then take all schedules away from Redis."""
    with schedulers(stack):
        wait_until_recorded(stack, schedules)
    assert statuses(stack, planned) == {SCHEDULED: len(planned)}
    for shard in truth.shards(stack):
        schedules.shards.client.delete(keys.scheduled(shard), keys.schedules(shard), keys.compared(shard))


@pytest.mark.one_shard_is_enough
def test_a_web_killed_before_it_made_a_schedule_makes_it_when_asked_again(stack: Stack, schedules: Schedules) -> None:
    url = stack.url
    asked = {"recipient": "asked-1", "type": "test", "title": "A title", "delay": 0}
    try:
        web = start_armed(stack, "schedule.parsed", stack.start_web)
        with Api(stack) as api, pytest.raises(httpx.HTTPError):
            api.post("/api/schedule", asked, **{"Idempotency-Key": "asked"})
        assert web.wait() == -signal.SIGKILL
    finally:
        stack.url = url
    with Api(stack) as api, schedulers(stack):
        first, second = (api.post("/api/schedule", asked, **{"Idempotency-Key": "asked"}) for _ in range(2))
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json() == second.json()
        assert_rows(stack, "asked", [first.json()["id"]])
