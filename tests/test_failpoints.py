"""Each process killed at each of its steps on purpose: whatever it held becomes one row, or one letter, in the end."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from notifications.stream import keys
from tests import truth
from tests.api import Api
from tests.stack import Process, Stack, wait_until

# What a step leaves half done does not depend on the number of shards; each way through them has its own test.
pytestmark = pytest.mark.one_shard_is_enough

WORKER = ("read", "checked", "stored", "mirrored", "announced", "settled")
STORE = ("counted", "inserted")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One deployment; each test leaves it at rest."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.env |= {"NOTIFY_CLAIM_IDLE_SECONDS": "5", "NOTIFY_RETRY_DELAYS": "0.2,0.2"}
        running.start_web()
        yield running


def start_armed(stack: Stack, failpoint: str, start: Callable[[], Process]) -> Process:
    """A process that dies when it reaches the failpoint."""
    stack.env["NOTIFY_FAILPOINT"] = failpoint
    try:
        return start()
    finally:
        del stack.env["NOTIFY_FAILPOINT"]


def send_mixed(api: Api, recipient: str) -> dict[str, list[str]]:
    """A batch of every kind: what works, what works later, what never does."""
    faults: dict[str, Any] = {"works": {}, "later": {"fail": 1}, "never": {"invalid": True}}
    kinds = [*faults] * 10
    batch = [{"recipient": recipient, "type": "test", "title": kind, "data": {"fault": faults[kind]}} for kind in kinds]
    results = api.post("/api/notify/batch", {"notifications": batch}).json()["results"]
    ids: dict[str, list[str]] = {kind: [] for kind in faults}
    for kind, result in zip(kinds, results, strict=True):
        ids[kind].append(result["id"])
    return ids


def letters(stack: Stack) -> Counter[str]:
    """How often each event stands in the dead letters' streams."""
    client: Any = stack.redis()
    return Counter(
        fields[b"id"].decode() for shard in truth.shards(stack) for _, fields in client.xrange(keys.dead_letters(shard))
    )


def rows_of(stack: Stack, recipient: str) -> Counter[str]:
    """How often each event of a recipient is a row."""
    found = stack.sql("SELECT id FROM notifications_notification WHERE recipient = %s", [recipient])
    return Counter(str(row_id) for (row_id,) in found)


def assert_one_effect(stack: Stack, recipient: str, ids: dict[str, list[str]]) -> None:
    """Each event is one row or one letter, and every count is exact."""
    good = ids["works"] + ids["later"]
    wait_until(lambda: rows_of(stack, recipient) == Counter(good), 40, "rows are missing")
    wait_until(lambda: not truth.pending(stack), message="entries are still pending")
    assert {row: n for row, n in letters(stack).items() if row in ids["never"]} == dict.fromkeys(ids["never"], 1)
    ((seq, unread),) = stack.sql("SELECT seq, unread FROM notifications_inbox WHERE recipient = %s", [recipient])
    assert seq == unread == len(good)
    truth.assert_mirrors_agree(stack)


@pytest.mark.parametrize("failpoint", [*(f"worker.{step}" for step in WORKER), *(f"store.{step}" for step in STORE)])
def test_a_worker_killed_at_a_step_has_one_effect_in_the_end(stack: Stack, failpoint: str) -> None:
    with Api(stack) as api:
        recipient = f"at-{failpoint}"
        api.get(f"/api/recipients/{recipient}/unread")
        ids = send_mixed(api, recipient)
        doomed = start_armed(stack, failpoint, stack.start_worker)
        assert doomed.wait() == -signal.SIGKILL
        others = [stack.start_worker(), stack.start_scheduler()]
        assert_one_effect(stack, recipient, ids)
        for process in others:
            process.terminate()
            assert process.wait(10) == 0


@pytest.mark.parametrize("failpoint", ["scheduler.looked", "scheduler.moved"])
def test_a_scheduler_killed_at_a_step_moves_everything_once(stack: Stack, failpoint: str) -> None:
    with Api(stack) as api:
        recipient = f"at-{failpoint}"
        api.get(f"/api/recipients/{recipient}/unread")
        ids = send_mixed(api, recipient)
        worker = stack.start_worker()
        doomed = start_armed(stack, failpoint, stack.start_scheduler)
        assert doomed.wait() == -signal.SIGKILL
        scheduler = stack.start_scheduler()
        assert_one_effect(stack, recipient, ids)
        for process in (worker, scheduler):
            process.terminate()
            assert process.wait(10) == 0


@pytest.mark.parametrize(("failpoint", "kept"), [("intake.parsed", 0), ("intake.accepted", 1)])
def test_a_web_killed_before_its_answer_took_the_event_once_or_not_at_all(
    own_stack: Stack, failpoint: str, kept: int
) -> None:
    web = start_armed(own_stack, failpoint, own_stack.start_web)
    with Api(own_stack) as api, pytest.raises(httpx.HTTPError):
        api.notify("alice")
    assert web.wait() == -signal.SIGKILL
    own_stack.start_worker()
    truth.wait_for_rest(own_stack)
    assert truth.rows(own_stack) == kept


def test_an_event_that_kills_its_workers_is_a_letter_and_those_beside_it_are_rows(stack: Stack) -> None:
    with Api(stack) as api:
        plain = {"recipient": "beside", "type": "test", "title": "A title"}
        batch = [{**plain, "data": {"fault": {"crash": True}}} if number == 4 else plain for number in range(9)]
        ids = [result["id"] for result in api.post("/api/notify/batch", {"notifications": batch}).json()["results"]]
        killer = ids.pop(4)
        deaths = 0
        while not letters(stack)[killer]:
            worker = stack.start_worker()
            wait_until(lambda one=worker: one.returncode or letters(stack)[killer], 40, "neither dead nor killed")  # type: ignore[misc]
            deaths += worker.returncode == -signal.SIGKILL
            assert deaths <= 4, "once among its neighbours, three times alone"
        assert deaths == 4
        assert api.get(f"/api/notifications/{killer}")["status"] == "dead"
        assert rows_of(stack, "beside") == Counter(ids)
        worker.terminate()
        assert worker.wait() == 0
