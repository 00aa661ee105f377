"""A pooler that gives a session away after each transaction takes nothing from what Notify does."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import pooler, truth
from tests.api import Api
from tests.stack import Process, Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

if not pooler.path() and "CI" not in os.environ:
    pytest.skip(pooler.ADVICE, allow_module_level=True)

CROWD = [f"reader-{number}" for number in range(50)]
TIME_OUTS = """
    ALTER ROLE postgres SET idle_in_transaction_session_timeout = '5s';
    ALTER ROLE postgres SET statement_timeout = '30s';
    ALTER ROLE postgres SET lock_timeout = '5s'
"""


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A deployment whose processes know PostgreSQL by its pooler only."""
    with Stack(tmp_path_factory.mktemp("stack"), NOTIFY_DATABASE_POOLER="transaction") as stack:
        stack.sql(TIME_OUTS)
        with tempfile.TemporaryDirectory(prefix="notify-pooler-") as room:
            Path(room).chmod(0o711)
            with pooler.pooler(stack, Path(room) / "p") as url:
                stack.env["DATABASE_URL"] = url
                yield stack


@pytest.fixture(scope="module")
def processes(pooled: Stack) -> list[Process]:
    """One of each kind, and a second worker."""
    web = pooled.start_web()
    commands = pooled.start_worker, pooled.start_worker, pooled.start_bulk_worker
    return [web, *(start() for start in (*commands, pooled.start_scheduler, pooled.start_dlq_worker))]


@pytest.fixture
def api(pooled: Stack, processes: list[Process]) -> Iterator[Api]:
    with Api(pooled) as client:
        yield client


def unread(api: Api, recipient: str) -> int:
    count: int = api.get(f"/api/recipients/{recipient}/unread")["unread"]
    return count


def test_all_that_is_accepted_is_stored_counted_listed_and_read(pooled: Stack, api: Api) -> None:
    ids = {who: api.notify_all([who] * 40) for who in CROWD}
    wait_until(lambda: all(unread(api, who) == 40 for who in CROWD), message="not stored")
    page = api.get(f"/api/notifications?recipient={CROWD[0]}&limit=100")
    assert {row["id"] for row in page["results"]} == set(ids[CROWD[0]])
    read = api.post(f"/api/recipients/{CROWD[0]}/read", {"ids": ids[CROWD[0]][:5]}).json()
    assert read == {"updated": 5, "unread": 35}
    assert api.get(f"/api/notifications/{ids[CROWD[0]][0]}")["read_at"]
    lines = api.request(f"/api/recipients/{CROWD[0]}/export").text.splitlines()
    assert len(lines) == 42
    truth.assert_mirrors_agree(pooled)


def test_a_schedule_a_bulk_job_and_a_dead_letter_go_their_way(pooled: Stack, api: Api) -> None:
    event = {"recipient": "planned", "type": "test", "title": "Later"}
    assert api.post("/api/schedule", {**event, "delay": 1}).status_code == 201
    content = {"type": "test", "title": "News"}
    job = api.post("/api/bulk", {"recipients": [f"many-{n}" for n in range(300)], "notification": content}).json()
    dead = api.notify("ill", data={"fault": {"invalid": True}})
    wait_until(lambda: unread(api, "planned") == 1, message="the schedule never fired")
    wait_until(lambda: api.get(f"/api/bulk/{job['id']}")["status"] == "done", message="the job was never done")
    wait_until(lambda: api.request(f"/api/dlq/{dead}").status_code == 200, message="no letter")
    assert api.post(f"/api/dlq/{dead}/replay").status_code < 300


def test_nobody_had_an_outage_and_a_few_sessions_were_enough(pooled: Stack, api: Api, processes: list[Process]) -> None:
    said = pooled.manage("doctor", check=False).stdout
    assert "ok    PostgreSQL's time-outs: are set" in said
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'notify'"
    ((sessions,),) = pooled.sql(ours)
    assert sessions <= pooler.SESSIONS
    assert [process.tail() for process in processes if "outage" in process.log() or "Traceback" in process.log()] == []
