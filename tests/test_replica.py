"""Lists come from a replica where it is well, and are never older than what their reader knows."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest

from notify_project.local.postgresql import PostgreSQL
from notify_project.local.standby import Standby
from tests.api import Api
from tests.handles import ServerHandle
from tests.stack import Process, Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

# A request that meets it first waits a second for a connection and a second for its answer; and for a loaded machine.
LONGEST_SECONDS = 6.0


class Deployment(NamedTuple):
    stack: Stack
    replica: ServerHandle
    web: Process
    api: Api

    def there(self, query: str) -> list[tuple[object, ...]]:
        """Run one statement on the replica."""
        with psycopg.connect(self.replica.url, autocommit=True, connect_timeout=10) as connection:
            return connection.execute(query.encode()).fetchall()

    def catch_up(self) -> None:
        """Wait until the replica has all that the primary has just now."""
        ((position,),) = self.stack.sql("SELECT pg_current_wal_lsn()::text")
        reached = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
        wait_until(lambda: self.there(reached) == [(True,)], message="the replica never caught up")

    def says(self, action: str) -> int:
        """How often the web's log has such a line."""
        return self.web.log().count(action)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A web with a replica, and a worker."""
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        handle = ServerHandle(Standby(stack.folder / "replica", PostgreSQL(stack.folder / "postgresql")))
        handle.start()
        try:
            stack.env["DATABASE_REPLICA_URL"] = handle.url
            web = stack.start_web()
            stack.start_worker()
            with Api(stack) as api:
                api.get("/readyz")
                yield Deployment(stack, handle, web, api)
        finally:
            handle.stop()
            handle.remove()


@pytest.fixture
def used(deployment: Deployment) -> Deployment:
    """The same, with a replica that is well."""
    wait_until(lambda: replica_is(deployment) == "ok", message="never used")
    return deployment


def replica_is(deployment: Deployment) -> str:
    checks: dict[str, str] = deployment.api.get("/readyz")["checks"]
    return checks["replica"]


def titles(api: Api, recipient: str, query: str = "") -> list[str]:
    began = time.monotonic()
    page = api.get(f"/api/notifications?recipient={recipient}{query}")
    assert time.monotonic() - began < LONGEST_SECONDS
    return [row["title"] for row in page["results"]]


def stored(deployment: Deployment, recipient: str, title: str) -> None:
    """A notification that its reader could know of."""
    unread = deployment.api.get(f"/api/recipients/{recipient}/unread")["unread"]
    deployment.api.notify(recipient, title=title)
    counted = {"unread": unread + 1}
    wait_until(lambda: deployment.api.get(f"/api/recipients/{recipient}/unread") == counted, message="not stored")


def asked_there(deployment: Deployment, recipient: str) -> bool:
    """Whether some session of the replica was asked for an inbox last."""
    found = deployment.there("SELECT query FROM pg_stat_activity WHERE application_name = 'notify'")
    return any(recipient in str(query) and "ORDER BY" in str(query) for (query,) in found)


def test_a_list_comes_from_the_replica(used: Deployment) -> None:
    stored(used, "alice", "first")
    used.catch_up()
    assert titles(used.api, "alice") == ["first"]
    # It may have been left out for a moment, on a loaded machine.
    wait_until(lambda: titles(used.api, "alice") and asked_there(used, "alice"), message="the primary was asked")
    assert "ok    PostgreSQL's replica: follows the primary" in used.stack.manage("doctor", check=False).stdout


def test_what_a_reader_knows_of_is_in_the_list_though_the_replica_lacks_it(used: Deployment) -> None:
    stored(used, "bob", "first")
    used.catch_up()
    used.there("SELECT pg_wal_replay_pause()")
    wait_until(lambda: used.there("SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
    try:
        stored(used, "bob", "second")
        assert titles(used.api, "bob") == ["second", "first"]
        used.api.post("/api/recipients/bob/read", {"all": True})
        assert titles(used.api, "bob", "&unread=true") == []
        wait_until(lambda: used.says("is behind"), message="never behind")
        wait_until(lambda: replica_is(used) == "left out", message="still used")
    finally:
        used.there("SELECT pg_wal_replay_resume()")
    wait_until(lambda: replica_is(used) == "ok", message="not used again")


def test_a_replica_that_stands_still_is_left_out_and_nobody_waits_for_it(used: Deployment) -> None:
    stored(used, "carol", "first")
    used.catch_up()
    assert titles(used.api, "carol") == ["first"]
    used.replica.freeze()
    try:
        for _ in range(10):
            assert titles(used.api, "carol") == ["first"]
        wait_until(lambda: replica_is(used) == "left out", message="still used")
    finally:
        used.replica.thaw()
    wait_until(lambda: replica_is(used) == "ok", message="not used again")
    assert titles(used.api, "carol") == ["first"]


def test_a_replica_that_is_killed_is_left_out_and_used_again_when_it_is_back(used: Deployment) -> None:
    stored(used, "dave", "first")
    before = used.says("replica.left_out"), used.says("replica.used")
    used.replica.kill()
    assert titles(used.api, "dave") == ["first"]
    wait_until(lambda: replica_is(used) == "left out", message="still used")
    assert used.api.get("/readyz")["status"] == "ok"
    used.replica.start()
    wait_until(lambda: replica_is(used) == "ok", message="not used again")
    assert used.says("replica.left_out") > before[0]
    assert used.says("replica.used") > before[1]
