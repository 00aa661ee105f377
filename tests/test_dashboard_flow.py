"""What a dashboard is told while real processes work, stop, die and come back."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.api import Api
from tests.dashboards import Dashboard, ask, session_of
from tests.stack import Process, Stack, wait_until

# Silent for ten seconds is dead; two for the next report, and a little for a machine with other things to do.
DEATH_SECONDS = 20
AT_ONCE_SECONDS = 8
# A server is known to be away within two seconds.
AWAY_SECONDS = 8


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything runs, but for workers, which each test has of its own. A test leaves it as it was."""
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        stack.start_web()
        stack.start_scheduler()
        stack.start_bulk_worker()
        stack.start_dlq_worker()
        yield stack


@pytest.fixture(scope="module")
def session(running: Stack) -> str:
    return session_of(running)


@pytest.fixture
def dashboard(running: Stack, session: str) -> Iterator[Dashboard]:
    with Dashboard.opened(running, session) as opened:
        yield opened


@pytest.fixture(scope="module")
def api(running: Stack) -> Iterator[Api]:
    with Api(running) as client:
        yield client


@pytest.fixture
def worker(running: Stack, dashboard: Dashboard) -> Iterator[Process]:
    """A worker, which the dashboard knows of by now."""
    process = started_worker(running, dashboard)
    dashboard.until(lambda: not troubles(dashboard), message="there is trouble")
    yield process
    if process.returncode is None:
        process.terminate()
        process.wait()


def started_worker(stack: Stack, dashboard: Dashboard) -> Process:
    """A worker that the dashboard knows of."""
    worker = stack.start_worker()
    dashboard.until(lambda: dashboard.stage("workers").get("count") == 1, message="no worker was seen")
    return worker


def troubles(dashboard: Dashboard) -> dict[str, str]:
    """The stages that are in a bad state."""
    stages = dashboard.frames["flow"]["stages"]
    return {name: stage["state"] for name, stage in stages.items() if stage["state"] not in {"idle", "ok"}}


@pytest.mark.usefixtures("worker")
def test_what_is_sent_is_seen_on_its_way_and_in_the_history(
    running: Stack, session: str, dashboard: Dashboard, api: Api
) -> None:
    api.notify_all([f"reader-{number}" for number in range(500)])
    dashboard.until(lambda: (dashboard.stage("workers")["rate"] or 0) > 1, AT_ONCE_SECONDS)
    dashboard.until(lambda: dashboard.stage("api")["count"] == 500)
    dashboard.until(lambda: dashboard.stage("postgresql")["count"] == 500)
    dashboard.until(lambda: dashboard.frames["flow"]["latency"]["p50_ms"])
    dashboard.until(lambda: sum(point["stored"] for point in dashboard.points) == 500)
    history = ask(running, session, "/dashboard/history")
    assert history["step_ms"] == 5000
    assert sum(point["accepted"] for point in history["points"]) == 500
    assert {name: value for name, value in dashboard.points[-1].items() if name != "type"} in history["points"]
    assert max(point["p99_ms"] or 0 for point in history["points"]) > 0
    told = dashboard.frames["processes"]["processes"]
    kinds = {"web", "worker", "scheduler", "bulk_worker", "dlq_worker"}
    assert {one["kind"] for one in told if one["state"] == "alive"} == kinds
    assert {name for name, _, _ in server_states(dashboard)} == {"PostgreSQL", "Valkey"}


@pytest.mark.one_shard_is_enough
def test_frames_come_when_something_changes_and_once_a_second_otherwise(dashboard: Dashboard, api: Api) -> None:
    dashboard.until(lambda: dashboard.heard.get("processes", 0) >= 2)
    before, began = dashboard.heard["flow"], time.monotonic()
    dashboard.until(lambda: dashboard.heard["flow"] >= before + 4, timeout=10)
    assert time.monotonic() - began > 2, "nothing changed"
    before, began = dashboard.heard["flow"], time.monotonic()
    while time.monotonic() - began < 3:
        api.notify("busy")
        dashboard.listen(0.05)
    assert dashboard.heard["flow"] - before > 4


@pytest.mark.one_shard_is_enough
def test_a_worker_that_is_killed_is_missed_and_one_that_stops_is_missed_at_once(
    running: Stack, worker: Process, dashboard: Dashboard, api: Api
) -> None:
    worker.kill()
    api.notify_all([f"reader-{number}" for number in range(12)])
    dashboard.until_state("workers", "down", DEATH_SECONDS)
    missed = "No worker is running; 12 events wait."
    dashboard.until(lambda: dashboard.stage("workers")["reason"] == missed, AT_ONCE_SECONDS)
    stage = dashboard.stage("workers")
    assert stage["advice"] == "Start one: manage.py worker"
    assert dashboard.stage("live") | {"lag_ms": 0, "reason": ""} == {
        "state": "stalled",
        "reason": "",
        "advice": "See the workers.",
        "count": 12,
        "rate": None,
        "lag_ms": 0,
    }
    other = started_worker(running, dashboard)
    dashboard.until(lambda: not troubles(dashboard), message="it never recovered")
    other.terminate()
    dashboard.until_state("workers", "down", AT_ONCE_SECONDS)


@pytest.mark.one_shard_is_enough
@pytest.mark.usefixtures("worker")
def test_a_worker_that_stands_still_is_seen_by_what_it_holds(dashboard: Dashboard, api: Api) -> None:
    api.notify("slow", data={"fault": {"sleep_ms": 8000}})
    stage = dashboard.until_state("workers", "stalled", 10)
    assert stage["in_hand"] == 1
    assert stage["reason"].startswith("Workers hold 1 event, and settled none for ")
    dashboard.until(lambda: not troubles(dashboard), message="it never recovered")


@pytest.mark.one_shard_is_enough
@pytest.mark.usefixtures("worker")
def test_while_postgresql_is_away_it_is_the_cause(running: Stack, dashboard: Dashboard, api: Api) -> None:
    running.postgresql.stop()
    dashboard.until_state("postgresql", "down", AWAY_SECONDS)
    api.notify_all(["reader"] * 5)
    stage = dashboard.until_state("workers", "stalled", AWAY_SECONDS)
    assert "PostgreSQL" in stage["reason"]
    assert dashboard.stage("dlq")["count"] is None
    dashboard.until(lambda: ("PostgreSQL", "down", None) in server_states(dashboard))
    answer = api.get("/api/stats")
    assert answer["stages"]["postgresql"]["state"] == "down"
    assert answer["stages"]["postgresql"]["count"] is None
    running.postgresql.start()
    dashboard.until(lambda: not troubles(dashboard), message="it never recovered")
    dashboard.until(lambda: dashboard.stage("postgresql")["count"] is not None, message="it was never counted again")


@pytest.mark.one_shard_is_enough
def test_a_frozen_postgresql_is_seen_within_moments(running: Stack, dashboard: Dashboard) -> None:
    dashboard.until_state("postgresql", "idle")
    running.postgresql.freeze()
    began = time.monotonic()
    dashboard.until_state("postgresql", "down", AWAY_SECONDS)
    heard = dashboard.heard["flow"]
    dashboard.until(lambda: dashboard.heard["flow"] >= heard + 3, AWAY_SECONDS, "the frames stopped")
    assert time.monotonic() - began < 2 * AWAY_SECONDS
    running.postgresql.thaw()
    dashboard.until_state("postgresql", "idle")


@pytest.mark.one_shard_is_enough
@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("outage", ["killed", "frozen"])
def test_while_redis_is_away_frames_go_on_and_say_so(
    running: Stack, dashboard: Dashboard, api: Api, outage: str
) -> None:
    running.valkey.kill() if outage == "killed" else running.valkey.freeze()
    stage = dashboard.until_state("api", "down", AWAY_SECONDS)
    assert stage["reason"] == "Valkey does not answer: every producer gets 503."
    assert stage["count"] is None
    heard = dashboard.heard["flow"]
    dashboard.until(lambda: dashboard.heard["flow"] >= heard + 3, AWAY_SECONDS, "the frames stopped")
    assert dashboard.stage("live")["count"] is None
    dashboard.until(lambda: ("Valkey", "down", None) in server_states(dashboard))
    with Dashboard.opened(running) as late:
        late.until_state("api", "down", AWAY_SECONDS + 2)
    running.valkey.start() if outage == "killed" else running.valkey.thaw()
    seen = set[str]()

    def recovered() -> bool:
        seen.add(dashboard.stage("workers")["state"])
        return not troubles(dashboard)

    dashboard.until(recovered, message="it never recovered")
    assert "down" not in seen, "nobody who could not tell of itself is taken for dead"


@pytest.mark.usefixtures("worker")
def test_retries_schedules_and_dead_letters_are_told_with_their_times(
    running: Stack, dashboard: Dashboard, api: Api
) -> None:
    api.notify("fails", data={"fault": {"fail": 2}})
    dashboard.until(lambda: dashboard.stage("retry").get("count") == 1)
    assert dashboard.stage("retry")["state"] == "ok"
    dashboard.until(lambda: 0 < (dashboard.stage("retry")["next_ms"] or 0) <= 6000)
    event = {"recipient": "later", "type": "test", "title": "later"}
    assert api.post("/api/schedule", {**event, "delay": 3600}).status_code == 201
    dashboard.until(lambda: dashboard.stage("schedule")["count"] == 1)
    assert 3_500_000 < dashboard.stage("schedule")["next_ms"] <= 3_600_000
    api.notify("never", data={"fault": {"invalid": True}})
    dashboard.until(lambda: dashboard.stage("dlq")["count"] == 1)
    dashboard.until(lambda: "wait" in dashboard.stage("dlq")["reason"])
    dashboard.until(lambda: dashboard.stage("retry")["count"] == 0, message="it was never tried again")


@pytest.mark.one_shard_is_enough
def test_without_a_scheduler_what_waits_for_one_is_missed(own_stack: Stack) -> None:
    own_stack.start_web()
    own_stack.start_worker()
    with Dashboard.opened(own_stack) as dashboard, Api(own_stack) as api:
        api.notify("fails", data={"fault": {"fail": 1}})
        dashboard.until(lambda: dashboard.stage("retry").get("lag_ms"), 15, "it was never overdue")
        assert dashboard.stage("retry")["reason"] == "No scheduler is running; 1 retry waits."
        api.notify("never", data={"fault": {"invalid": True}})
        stage = dashboard.until_state("dlq", "down")
        assert stage["recording"] == 1
        assert stage["advice"] == "Start one: manage.py dlq_worker"


@pytest.mark.usefixtures("worker")
def test_a_bulk_job_is_seen_going_paused_and_without_its_worker(running: Stack, dashboard: Dashboard, api: Api) -> None:
    notification = {"type": "test", "title": "All"}
    recipients = [f"reader-{number}" for number in range(5000)]
    made = api.post("/api/bulk", {"recipients": recipients, "notification": notification, "rate": "200/s"}).json()
    dashboard.until(lambda: (dashboard.stage("bulk_jobs").get("rate") or 0) > 20, message="it never went")
    assert dashboard.stage("bulk_jobs")["count"] == 1
    api.post(f"/api/bulk/{made['id']}/pause")
    stage = dashboard.until_state("bulk_jobs", "paused")
    assert 0 < stage["remaining"] < 5000
    assert stage["reason"] == "1 job is paused."
    api.post(f"/api/bulk/{made['id']}/cancel")
    dashboard.until_state("bulk_jobs", "idle")


@pytest.mark.usefixtures("worker")
def test_a_single_look_by_a_program_says_the_same(api: Api) -> None:
    before = api.get("/api/stats")["stages"]["api"]["count"]
    api.notify_all(["reader"] * 50)

    def everything_is_well() -> bool:
        stages = api.get("/api/stats")["stages"]
        return stages["workers"]["count"] == 1 and all(one["state"] in {"idle", "ok"} for one in stages.values())

    wait_until(everything_is_well)
    wait_until(lambda: api.get("/api/stats")["stages"]["api"]["count"] == before + 50)
    answer = api.get("/api/stats")
    assert set(answer) == {"at", "stages", "latency", "processes", "servers"}
    assert {one["kind"] for one in answer["processes"]} >= {"web", "worker"}
    assert answer["servers"][1]["name"] == "Valkey"


@pytest.mark.one_shard_is_enough
def test_a_program_without_the_scope_is_refused(running: Stack, api: Api) -> None:
    sender = running.manage("create_api_key", "sender", "--scope", "send").stdout.split()[-1]
    assert api.request("/api/stats").status_code == 200
    for key, status in ((sender, 403), ("nonsense", 401)):
        headers = {"Authorization": f"Bearer {key}"}
        answer = httpx.get(f"{running.url}/api/stats", headers=headers, trust_env=False)
        assert answer.status_code == status


@pytest.mark.one_shard_is_enough
def test_while_nobody_watches_nothing_is_looked_at(own_stack: Stack) -> None:
    own_stack.start_web()
    session = session_of(own_stack)
    with own_stack.redis() as client:
        with Dashboard.opened(own_stack, session) as dashboard:
            dashboard.until(lambda: dashboard.heard.get("flow", 0) >= 3)
            assert looked(client)
        seen = wait_for_rest(client)
        reports = told(client)
        wait_until(lambda: told(client) >= reports + 3, message="the web tells nothing of itself")
        assert looked(client) == seen


def server_states(dashboard: Dashboard) -> list[tuple[str, str, Any]]:
    """Name, state and latency of each server."""
    servers = dashboard.frames.get("processes", {}).get("servers", [])
    return [(one["name"], one["state"], one["latency_ms"]) for one in servers]


def looked(client: Redis) -> int:
    """How often anybody looked for the oldest entry of a lane, which only dashboards do."""
    return calls(client, "xrange")


def told(client: Redis) -> int:
    """How many scripts ran: of a web at rest, one for each time it tells of itself."""
    return calls(client, "evalsha")


def calls(client: Redis, command: str) -> int:
    """How often a command was called."""
    commands: Any = client.info("commandstats")
    return sum(int(one["calls"]) for name, one in commands.items() if name == f"cmdstat_{command}")


def wait_for_rest(client: Redis) -> int:
    """The number of looks, as soon as it grows no more."""
    seen = looked(client)
    reports = told(client)
    wait_until(lambda: told(client) > reports)
    while looked(client) != seen:
        seen, reports = looked(client), told(client)
        wait_until(lambda before=reports: told(client) > before)  # type: ignore[misc]
    return seen
