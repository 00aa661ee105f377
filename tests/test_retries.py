"""Retries over real processes: nothing is tried too early, too often or twice, whoever is killed meanwhile."""

import re
import time
from collections import Counter
from typing import Any

import pytest

from notifications.stream import keys
from tests import truth
from tests.api import Api
from tests.stack import Process, Stack, wait_until

DELAYS = "0.3,0.3,0.3,0.3,0.3"
# What a scheduler cannot do without Redis, and says so of.
DUTIES = {"planner", "recorder"}


def waiting(stack: Stack) -> int:
    """Events that wait for their next attempt."""
    client: Any = stack.redis()
    return sum(client.zcard(keys.delayed(shard)) for shard in truth.shards(stack))


def send_failing(api: Api, count: int, fail: int) -> list[str]:
    """Send one batch of events whose first attempts fail; their ids."""
    event = {"type": "test", "title": "A title", "data": {"fault": {"fail": fail}}}
    batch = [{**event, "recipient": f"r{number % 20}"} for number in range(count)]
    answer = api.post("/api/notify/batch", {"notifications": batch})
    assert answer.status_code == 202, answer.text
    return [result["id"] for result in answer.json()["results"]]


def attempts(stack: Stack) -> Counter[int]:
    """How many rows took how many attempts."""
    return Counter(n for (n,) in stack.sql("SELECT attempts FROM notifications_notification"))


def test_an_event_that_fails_twice_and_then_works_is_one_row_after_three_attempts(own_stack: Stack) -> None:
    own_stack.env["NOTIFY_RETRY_DELAYS"] = "1,1,1,1,1"
    own_stack.start_web()
    own_stack.start_worker()
    own_stack.start_scheduler()
    with Api(own_stack) as api:
        event_id = api.notify("alice", data={"fault": {"fail": 2}})
        seen = {}

        def note() -> bool:
            life = api.get(f"/api/notifications/{event_id}")
            if life["next_attempt_at"]:
                seen[life["attempts"]] = life
            return bool(life["status"] == "stored")

        wait_until(note, message="never stored")
        assert {n: (life["status"], life["last_error"]) for n, life in seen.items()} == {
            n: ("retrying", f"/data/fault/fail: attempt {n} fails, as the event asks for") for n in (1, 2)
        }
        assert seen[1]["accepted_at"] < seen[1]["next_attempt_at"] < seen[2]["next_attempt_at"]
        assert api.get(f"/api/notifications/{event_id}")["attempts"] == 3
    truth.wait_for_rest(own_stack)
    truth.assert_kept(own_stack, [event_id])


def test_schedulers_and_workers_killed_in_the_middle_of_retries_lose_and_double_nothing(own_stack: Stack) -> None:
    own_stack.env["NOTIFY_RETRY_DELAYS"] = DELAYS
    own_stack.start_web()
    workers = [own_stack.start_worker() for _ in range(2)]
    schedulers = [own_stack.start_scheduler() for _ in range(2)]
    with Api(own_stack) as api:
        accepted = []
        for round_number in range(4):
            accepted += send_failing(api, 300, fail=2) + send_failing(api, 300, fail=1)
            wait_until(lambda: waiting(own_stack) > 0, message="nothing failed")
            side = round_number % 2
            schedulers[side].kill()
            schedulers[side] = own_stack.start_scheduler()
            workers[side].kill()
            workers[side] = own_stack.start_worker()
        truth.wait_for_rest(own_stack)
    assert attempts(own_stack) == {3: 1200, 2: 1200}
    truth.assert_kept(own_stack, accepted)


def test_retries_wait_in_redis_and_outlive_every_process_and_the_server(own_stack: Stack) -> None:
    own_stack.env["NOTIFY_RETRY_DELAYS"] = "1"
    web, worker = own_stack.start_web(), own_stack.start_worker()
    with Api(own_stack) as api:
        accepted = send_failing(api, 50, fail=1)
        wait_until(lambda: waiting(own_stack) == 50, message="nothing failed")
    for process in (web, worker):
        process.kill()
    own_stack.valkey.kill()
    own_stack.valkey.start()
    assert waiting(own_stack) == 50
    own_stack.start_worker()
    own_stack.start_scheduler()
    truth.wait_for_rest(own_stack)
    assert attempts(own_stack) == {2: 50}
    truth.assert_kept(own_stack, accepted)


def said_by(process: Process, action: str) -> Counter[str]:
    """How often each duty of a process logged an action."""
    return Counter(re.findall(rf"{re.escape(action)} .*duty=(\w+)", process.log()))


@pytest.mark.one_shard_is_enough
def test_a_scheduler_waits_out_an_outage_and_stops_when_asked(own_stack: Stack) -> None:
    scheduler = own_stack.start_scheduler()
    wait_until(lambda: "process.started" in scheduler.log())
    own_stack.valkey.kill()
    wait_until(lambda: said_by(scheduler, "process.outage").keys() >= DUTIES, message="it never noticed")
    own_stack.valkey.start()
    wait_until(lambda: said_by(scheduler, "process.outage_over").keys() >= DUTIES, message="it never came back")
    assert set(said_by(scheduler, "process.outage").values()) == {1}
    assert "Traceback" not in scheduler.log()
    begun = time.monotonic()
    scheduler.terminate()
    assert scheduler.wait(10) == 0
    assert time.monotonic() - begun < 10


@pytest.mark.one_shard_is_enough
def test_a_worker_stops_in_the_middle_of_slow_events_and_gives_them_back(own_stack: Stack) -> None:
    own_stack.start_web()
    worker = own_stack.start_worker()
    with Api(own_stack) as api:
        accepted = [api.notify("alice", data={"fault": {"sleep_ms": 60_000}})]
        wait_until(lambda: truth.pending(own_stack) == 1, message="nobody took it")
        worker.terminate()
        assert worker.wait(10) == 0
        assert truth.pending(own_stack) == 1
        # Without faults, another finds nothing in it to sleep for.
        own_stack.env["NOTIFY_FAULT_INJECTION"] = "0"
        own_stack.start_worker()
        wait_until(lambda: truth.rows(own_stack) == 1, 10, "it was not given back")
        truth.wait_for_rest(own_stack)
    truth.assert_kept(own_stack, accepted)
