"""What docs/backup.md promises, tried: backed up at work, both servers destroyed, restored, and counted."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import backups, truth
from tests.api import Api
from tests.bulks import WRONG_INBOXES
from tests.stack import Process, Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

CROWD = [f"reader-{number}" for number in range(20)]
STORED = "SELECT id::text FROM notifications_notification"
ALONE = ("worker", "scheduler", "dlq_worker")


class Producer(threading.Thread):
    """Sends and goes on sending; each 202 is in `accepted`, in order."""

    def __init__(self, api: Api) -> None:
        super().__init__(daemon=True)
        self._api = api
        self._over = threading.Event()
        self.accepted: list[str] = []

    def run(self) -> None:
        """A batch after the other."""
        while not self._over.is_set():
            self.accepted += self._api.notify_all(CROWD)

    def stop(self) -> None:
        """Send no more."""
        self._over.set()
        self.join(30)


@contextmanager
def under_load(api: Api) -> Iterator[Producer]:
    producer = Producer(api)
    producer.start()
    try:
        yield producer
    finally:
        producer.stop()


def stored(stack: Stack) -> set[str]:
    return {row_id for (row_id,) in stack.sql(STORED)}


def start_all(stack: Stack) -> Process:
    """Every process that matters here; returns the worker."""
    stack.start_web()
    worker = stack.start_worker()
    stack.start_scheduler()
    stack.start_dlq_worker()
    return worker


def end_all(stack: Stack) -> None:
    stack._end_processes()


def plan(api: Api, recipient: str, **when: object) -> str:
    answer = api.post("/api/schedule", {"recipient": recipient, "type": "later", "title": "Later", **when})
    assert answer.status_code == 201, answer.text
    schedule_id: str = answer.json()["id"]
    return schedule_id


def test_what_was_accepted_before_the_backup_is_there_after_the_restore(own_stack: Stack, tmp_path: Path) -> None:
    worker = start_all(own_stack)
    with Api(own_stack) as api:
        read = api.notify_all(CROWD)
        wait_until(lambda: stored(own_stack) >= set(read), message="not stored")
        assert api.post(f"/api/recipients/{CROWD[0]}/read", {"all": True}).status_code == 200
        dead = api.notify(CROWD[1], data={"fault": {"invalid": True}})
        kept, cancelled = (plan(api, who, delay=3600) for who in CROWD[:2])
        wait_until(lambda: own_stack.sql("SELECT 1 FROM dlq_deadletter"), message="no letter")
        with under_load(api) as producer:
            # A backlog, so that the backup has events that are only in Redis.
            worker.stop()
            wait_until(lambda: truth.in_flight(own_stack) > 200, message="no backlog")
            before = [*read, *producer.accepted]
            backups.copy_redis(own_stack, tmp_path)
            worker.cont()
            cancel = api._client.delete(f"/api/schedule/{cancelled}")
            assert cancel.status_code == 204
            wait_until(lambda: len(stored(own_stack)) > len(before), message="the worker never went on")
            wait_until(lambda: own_stack.sql("SELECT 1 FROM scheduler_schedule WHERE status = 2"))
            backups.dump_postgresql(own_stack, tmp_path)
        later = api.notify(CROWD[0])
        assert api.get(f"/api/recipients/{CROWD[1]}/unread")["unread"] > 0
    end_all(own_stack)
    backups.destroy(own_stack)

    backups.restore_redis(own_stack, tmp_path)
    backups.restore_postgresql(own_stack, tmp_path)
    own_stack.manage("doctor", "--after-restore")
    start_all(own_stack)
    truth.wait_for_rest(own_stack)
    there = stored(own_stack)
    assert set(before) <= there, f"{len(set(before) - there)} of {len(before)} lost"
    assert later not in there
    assert own_stack.sql(WRONG_INBOXES) == []
    wait_until(lambda: not truth.left_over(own_stack), message="something is left in Redis")
    with Api(own_stack) as api:
        unread = dict(own_stack.sql("SELECT recipient, unread FROM notifications_inbox"))
        assert {who: api.get(f"/api/recipients/{who}/unread")["unread"] for who in CROWD} == unread
        assert [api.get(f"/api/schedule/{each}")["status"] for each in (kept, cancelled)] == ["scheduled", "cancelled"]
        assert api.get(f"/api/notifications/{dead}")["status"] == "dead"
    truth.assert_mirrors_agree(own_stack)


@pytest.mark.not_on_a_cluster("it restores one server")
def test_a_lost_redis_alone_costs_what_was_only_there(own_stack: Stack) -> None:
    worker = start_all(own_stack)
    with Api(own_stack) as api:
        safe = api.notify_all(CROWD)
        wait_until(lambda: stored(own_stack) >= set(safe), message="not stored")
        kept = plan(api, CROWD[0], daily="08:00")
        wait_until(lambda: own_stack.sql("SELECT 1 FROM scheduler_schedule"), message="not recorded")
        worker.kill()
        lost = api.notify(CROWD[0])
        own_stack.valkey.kill()
        own_stack.valkey.remove()
        own_stack.valkey.start()
        own_stack.start_worker()
        after = api.notify(CROWD[0])
        wait_until(lambda: after in stored(own_stack), message="it did not go on")
        wait_until(lambda: api.request(f"/api/schedule/{kept}").json().get("next_run_at"), message="not rebuilt")
        assert lost not in stored(own_stack)
        assert api.get(f"/api/recipients/{CROWD[0]}/unread") == {"unread": 2}
        wait_until(lambda: own_stack.redis().zcard("notify:{0}:scheduled") == 1, message="not put back")


def test_an_older_postgresql_costs_what_was_stored_since_and_counts_are_right(own_stack: Stack, tmp_path: Path) -> None:
    own_stack.start_web()
    own_stack.start_worker()
    with Api(own_stack) as api:
        kept = api.notify_all(CROWD)
        wait_until(lambda: stored(own_stack) >= set(kept), message="not stored")
        backups.dump_postgresql(own_stack, tmp_path)
        gone = [api.notify(CROWD[0]) for _ in range(3)]
        wait_until(lambda: stored(own_stack) >= set(gone), message="not stored")
        assert api.get(f"/api/recipients/{CROWD[0]}/unread") == {"unread": 4}
    end_all(own_stack)
    own_stack.postgresql.kill()
    own_stack.postgresql.remove()
    backups.restore_postgresql(own_stack, tmp_path)
    assert "mirrors of inboxes forgotten" in own_stack.manage("doctor", "--after-restore").stdout
    own_stack.start_web()
    with Api(own_stack) as api:
        assert stored(own_stack) == set(kept)
        assert api.get(f"/api/recipients/{CROWD[0]}/unread") == {"unread": 1}
