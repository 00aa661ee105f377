"""Dead letters over real processes: recorded once, replayed once, whoever is killed meanwhile."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from notifications.stream import keys
from tests import truth
from tests.api import Api
from tests.handles import ServerHandle
from tests.stack import Process, Stack, wait_until

INVALID = {"fault": {"invalid": True}}
DEAD, REPLAYING, REPLAYED = range(3)
DIED, ORDERED, CARRIED_OUT = range(3)
MANY = 10_000
FEW = 20


VARIABLES: dict[str, Any] = {"NOTIFY_CLAIM_IDLE_SECONDS": "5", "NOTIFY_RETRY_DELAYS": "0.2,0.2"}
RECORDER_STEPS = ("recorder.read", "recorder.recorded", "recorder.settled")
REPLAY_STEPS = [
    *(("web", step) for step in ("replay.ordered", "replay.admitted", "replay.committed")),
    *(("dlq_worker", step) for step in ("replay.admitted", "replay.committed")),
]


@pytest.fixture
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers and a web, quick to retry and to claim."""
    with Stack(tmp_path_factory.mktemp("stack"), **VARIABLES) as running:
        running.start_web()
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The same for several tests, each with a type of events of its own."""
    with Stack(tmp_path_factory.mktemp("stack"), **VARIABLES) as running:
        running.start_web()
        yield running


@pytest.fixture(scope="module")
def recorded(shared: Stack) -> Stack:
    """With some letters for each step of a replay, whose cause is gone by now."""
    with Api(shared) as api:
        for who, step in REPLAY_STEPS:
            bury(shared, api, FEW, type_of(who, step))
    recorder = shared.start_dlq_worker()
    wait_for_letters(shared, FEW * len(REPLAY_STEPS), "type LIKE 'replay%'")
    end(recorder)
    start_mended_worker(shared)
    return shared


@contextmanager
def having(stack: Stack, **variables: str) -> Iterator[None]:
    """What is started here has these variables."""
    before = stack.env
    stack.env = before | variables
    try:
        yield
    finally:
        stack.env = before


def start_mended_worker(stack: Stack) -> Process:
    """A worker for which no event asks for trouble: the cause is removed."""
    with having(stack, NOTIFY_FAULT_INJECTION="0"):
        return stack.start_worker()


def send_invalid(api: Api, count: int, kind: str = "test") -> list[str]:
    """Events that die at once; their ids."""
    ids = []
    for start in range(0, count, 1000):
        batch = [
            {"recipient": f"r{number % 500}", "type": kind, "title": "A title", "data": INVALID}
            for number in range(start, min(start + 1000, count))
        ]
        answer = api.post("/api/notify/batch", {"notifications": batch})
        assert answer.status_code == 202, answer.text
        ids += [result["id"] for result in answer.json()["results"]]
    return ids


def letters(stack: Stack, condition: str = "true") -> int:
    """How many letters there are."""
    count: int = stack.sql(f"SELECT count(*) FROM dlq_deadletter WHERE {condition}")[0][0]
    return count


def histories(stack: Stack, condition: str = "true") -> Counter[tuple[int, ...]]:
    """How many letters have which history."""
    found = stack.sql(
        "SELECT array_agg(kind ORDER BY passage.id) FROM dlq_passage passage"
        f" JOIN dlq_deadletter letter ON letter.id = letter_id WHERE {condition} GROUP BY letter_id"
    )
    return Counter(tuple(kinds) for (kinds,) in found)


def wait_for_letters(stack: Stack, count: int, condition: str = "true", timeout: float = 60) -> None:
    wait_until(lambda: letters(stack, condition) >= count, timeout, f"never {count} letters with {condition}")


def kill_and_restart(stack: Stack, dlq_worker: Process) -> Process:
    """In the middle of whatever it does."""
    dlq_worker.kill()
    return stack.start_dlq_worker()


def end(process: Process) -> None:
    """As an operator does, once it is there to be asked."""
    wait_until(lambda: "process.started" in process.log(), message="it never started")
    process.terminate()
    assert process.wait(10) == 0, process.log()


def bury(stack: Stack, api: Api, count: int, kind: str) -> list[str]:
    """Events that died, in the dead letters' streams; nobody works any more. Their ids."""
    client: Any = stack.redis()
    names = [keys.dead_letters(shard) for shard in truth.shards(stack)]
    before = sum(map(client.xlen, names))
    worker = stack.start_worker()
    ids = send_invalid(api, count, kind)
    wait_until(lambda: sum(map(client.xlen, names)) == before + count, message="they live")
    end(worker)
    return ids


def type_of(who: str, step: str) -> str:
    """The type of the events that a step's test has to itself."""
    return f"{step}.{who}"


def start_armed(stack: Stack, failpoint: str, start: Callable[[], Process]) -> Process:
    """A process that dies when it reaches the failpoint."""
    with having(stack, NOTIFY_FAILPOINT=failpoint):
        return start()


def test_an_event_that_always_fails_becomes_a_letter_and_is_replayed_once_its_cause_is_gone(deployment: Stack) -> None:
    processes = [deployment.start_worker(), deployment.start_scheduler(), deployment.start_dlq_worker()]
    with Api(deployment) as api:
        event_id = api.notify("alice", data={"fault": {"fail": -1}})
        wait_for_letters(deployment, 1)
        letter = api.get(f"/api/dlq/{event_id}")
        assert (letter["status"], letter["reason"], letter["attempts"]) == ("dead", "retries_exhausted", 3)
        assert letter["first_failed_at"] < letter["last_failed_at"]
        life = api.get(f"/api/notifications/{event_id}")
        assert (life["status"], life["attempts"], life["last_error"]) == ("dead", 3, letter["error"])

        assert api.post(f"/api/dlq/{event_id}/replay").status_code == 202
        wait_for_letters(deployment, 1, "status = 0 AND life = 1")
        corrected = {"recipient": "alice", "type": "test", "title": "Mended"}
        answer = api.post(f"/api/dlq/{event_id}/replay", {"notification": corrected})
        assert answer.status_code == 202, answer.text
        wait_until(lambda: api.get(f"/api/notifications/{event_id}")["status"] == "stored", message="never stored")
        assert api.get(f"/api/notifications/{event_id}")["title"] == "Mended"
        letter = api.get(f"/api/dlq/{event_id}")
        assert letter["status"] == "replayed"
        assert [line["what"] for line in letter["history"]] == [
            *("died", "ordered", "replayed"),
            *("died", "edited", "ordered", "replayed"),
        ]
    truth.wait_for_rest(deployment)
    truth.assert_kept(deployment, [event_id])
    for process in processes:
        end(process)


@pytest.mark.one_shard_is_enough
def test_10_000_letters_replayed_by_filter_twice_with_dlq_workers_killed_are_10_000_rows(deployment: Stack) -> None:
    dlq_worker, worker = deployment.start_dlq_worker(), deployment.start_worker()
    with Api(deployment) as api:
        ids = send_invalid(api, MANY)
        wait_for_letters(deployment, 2000)
        dlq_worker = kill_and_restart(deployment, dlq_worker)
        wait_for_letters(deployment, MANY, "status = 0 AND life = 0")

        # The cause is still there: every one of them dies again, and is the same letter.
        assert api.post("/api/dlq/replay", {"reason": "invalid"}).json()["matched"] == MANY
        wait_for_letters(deployment, 2000, "status = 2 OR life = 1")
        dlq_worker = kill_and_restart(deployment, dlq_worker)
        wait_for_letters(deployment, MANY, "status = 0 AND life = 1")
        assert truth.rows(deployment) == 0
        end(worker)

        start_mended_worker(deployment)
        with ThreadPoolExecutor(2) as two:
            orders = two.map(lambda _: api.post("/api/dlq/replay", {"reason": "invalid"}).json(), range(2))
            assert sorted(order["matched"] for order in orders) == [0, MANY]
        wait_for_letters(deployment, 2000, "status = 2")
        assert letters(deployment, "status = 1") > 0
        kill_and_restart(deployment, dlq_worker)
        wait_for_letters(deployment, MANY, "status = 2")
    truth.wait_for_rest(deployment)
    truth.assert_kept(deployment, ids)
    assert letters(deployment) == MANY
    assert histories(deployment) == {(DIED, ORDERED, CARRIED_OUT) * 2: MANY}


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize("step", RECORDER_STEPS)
def test_a_dlq_worker_killed_at_a_step_of_recording_makes_each_letter_once(shared: Stack, step: str) -> None:
    with Api(shared) as api:
        ids = bury(shared, api, FEW, step)
    assert start_armed(shared, step, shared.start_dlq_worker).wait() == -signal.SIGKILL
    heir = shared.start_dlq_worker()
    wait_until(lambda: not truth.left_over(shared), message="something is left in Redis")
    assert {str(pk) for (pk,) in shared.sql("SELECT id FROM dlq_deadletter WHERE type = %s", [step])} == set(ids)
    assert histories(shared, f"type = '{step}'") == {(DIED,): FEW}
    end(heir)


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(("who", "step"), REPLAY_STEPS)
def test_whoever_is_killed_at_a_step_of_a_replay_each_letter_is_replayed_once(
    recorded: Stack, who: str, step: str
) -> None:
    mine = f"type = '{type_of(who, step)}'"
    assert letters(recorded, f"{mine} AND status = 0") == FEW
    die_in_replay(recorded, who, step)
    assert letters(recorded, f"{mine} AND status = 0") == 0, "it died before it had ordered"
    heir = recorded.start_dlq_worker()
    wait_for_letters(recorded, FEW, f"{mine} AND status = 2")
    wait_until(lambda: not truth.left_over(recorded), message="something is left in Redis")
    rows = recorded.sql(f"SELECT count(*), count(DISTINCT id) FROM notifications_notification WHERE {mine}")
    assert rows == [(FEW, FEW)]
    assert histories(recorded, mine) == {(DIED, ORDERED, CARRIED_OUT): FEW}
    end(heir)


def die_in_replay(stack: Stack, who: str, step: str) -> None:
    """Replay the letters of a step, with one process that is killed at it."""
    kind = type_of(who, step)
    if who == "web":
        url = stack.url
        web = start_armed(stack, step, stack.start_web)
        with Api(stack) as api, pytest.raises(httpx.HTTPError):
            api.post("/api/dlq/replay", {"type": kind})
        stack.url = url
        assert web.wait() == -signal.SIGKILL
        return
    # A command that dies as soon as it has ordered leaves all of it to the DLQ worker.
    with having(stack, NOTIFY_FAILPOINT="replay.ordered"):
        assert stack.manage("dlq_replay", "--type", kind, check=False).returncode == -signal.SIGKILL
    assert start_armed(stack, step, stack.start_dlq_worker).wait() == -signal.SIGKILL


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize("name", ["valkey", "postgresql"])
def test_a_dlq_worker_waits_out_an_outage_and_stops_when_asked(deployment: Stack, name: str) -> None:
    server: ServerHandle = getattr(deployment, name)
    dlq_worker = deployment.start_dlq_worker()
    wait_until(lambda: "process.started" in dlq_worker.log())
    with Api(deployment) as api:
        server.kill()
        wait_until(lambda: "process.outage" in dlq_worker.log(), message="it never noticed")
        server.start()
        wait_until(lambda: "process.outage_over" in dlq_worker.log(), message="it never found the server again")
        deployment.start_worker()
        send_invalid(api, 10)
    wait_for_letters(deployment, 10)
    assert dlq_worker.log().count("process.outage ") == 1
    assert "Traceback" not in dlq_worker.log()
    end(dlq_worker)
