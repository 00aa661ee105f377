"""Bulk jobs while processes are killed and servers go away: each recipient gets one, and every count is exact."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests import bulks
from tests.api import Api
from tests.stack import Process, Stack, wait_until

# How many get one where processes are killed. The longer form, for a report: BULK_COUNT=200000 pytest …
BULK_COUNT = int(os.environ.get("BULK_COUNT", "20000"))
LIMIT_SECONDS = 60 + BULK_COUNT / 1000
SOME = 10_000
FEW = 250
# Slow enough for an order to come in the middle, whatever the machine does.
SLOW = "500/s"
KILLS = 10

BULK_WORKER_STEPS = ("bulk.begun", "bulk.read", "bulk.fanned", "bulk.counted")
# Before and after the transaction ends, and when nothing is left to do. All others: notifications/tests/test_chunks.py.
WORKER_STEPS = ("store.inserted", "worker.stored", "worker.settled")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers and a web, quick to claim; each test starts the processes that it needs, and leaves it at rest."""
    with Stack(tmp_path_factory.mktemp("stack"), NOTIFY_CLAIM_IDLE_SECONDS="5") as running:
        running.start_web()
        yield running


@pytest.fixture(autouse=True)
def _nobody_stays(stack: Stack) -> Iterator[None]:
    """Who outlives a test that failed does not take part in the next one."""
    yield
    for process in stack._processes[1:]:
        if process.returncode is None:
            process.kill()


@pytest.fixture
def crew(stack: Stack) -> Iterator["Crew"]:
    """A worker and a bulk worker."""
    crew = Crew(stack)
    yield crew
    crew.end()


class Crew:
    """A worker and a bulk worker, each of which may be replaced."""

    def __init__(self, stack: Stack) -> None:
        self._starts: list[Callable[[], Process]] = [stack.start_worker, stack.start_bulk_worker]
        self.members = [start() for start in self._starts]

    def kill(self, number: int) -> None:
        """Kill one of them, and start another."""
        self.members[number].kill()
        self.members[number] = self._starts[number]()

    def stop(self) -> None:
        """Let both stand still."""
        for process in self.members:
            process.stop()

    def cont(self) -> None:
        """Let both go on."""
        for process in self.members:
            process.cont()

    def end(self) -> None:
        """End both, which is what still runs of them."""
        for process in self.members:
            assert process.returncode is None, process.tail()
            assert "Traceback" not in process.log(), process.tail()
        bulks.end(*self.members)


@contextmanager
def having(stack: Stack, **variables: str) -> Iterator[None]:
    """What is started here has these variables."""
    before = stack.env
    stack.env = before | variables
    try:
        yield
    finally:
        stack.env = before


def start_armed(stack: Stack, failpoint: str, start: Callable[[], Process]) -> Process:
    """A process that dies when it reaches the failpoint, and claims nothing before."""
    with having(stack, NOTIFY_FAILPOINT=failpoint, NOTIFY_CLAIM_IDLE_SECONDS="600"):
        return start()


def assert_done(stack: Stack, api: Api, job_id: str, recipients: list[str], timeout: float = 60) -> None:
    """Wait for the end of a job: everybody has one."""
    bulks.assert_done(stack, bulks.wait_until_over(api, job_id, timeout), recipients)


@pytest.mark.timeout(LIMIT_SECONDS + 60)
def test_a_worker_and_a_bulk_worker_killed_ten_times_lose_and_double_nothing(stack: Stack, crew: Crew) -> None:
    recipients = bulks.crowd("killed", BULK_COUNT)
    with Api(stack) as api:
        job_id = bulks.send(stack, recipients)
        for number in range(KILLS):
            due = BULK_COUNT * (number + 1) // (KILLS + 2)
            wait_until(lambda due=due: bulks.rows(stack, job_id) >= due, 60, "nobody works")  # type: ignore[misc]
            crew.kill(number % 2)
        assert bulks.rows(stack, job_id) < BULK_COUNT, "the last was killed when all was over"
        assert_done(stack, api, job_id, recipients, LIMIT_SECONDS)


@pytest.mark.one_shard_is_enough
def test_a_bulk_worker_killed_at_each_of_its_steps_fans_out_everybody_once(stack: Stack) -> None:
    worker = stack.start_worker()
    jobs: dict[str, list[str]] = {}
    for step in BULK_WORKER_STEPS:
        recipients = bulks.crowd(step, FEW)
        jobs[bulks.send(stack, recipients)] = recipients
        assert start_armed(stack, step, stack.start_bulk_worker).wait() == -signal.SIGKILL
    heir = stack.start_bulk_worker()
    with Api(stack) as api:
        for job_id, recipients in jobs.items():
            assert_done(stack, api, job_id, recipients)
    bulks.end(worker, heir)


@pytest.mark.one_shard_is_enough
@pytest.mark.not_on_a_cluster("what dead workers leave fills the lanes of many shards")
def test_a_worker_killed_at_each_of_its_steps_stores_each_chunk_once(stack: Stack) -> None:
    bulk_worker = stack.start_bulk_worker()
    jobs: dict[str, list[str]] = {}
    with Api(stack) as api:
        for step in WORKER_STEPS:
            recipients = bulks.crowd(step, FEW)
            job_id = bulks.send(stack, recipients)
            jobs[job_id] = recipients
            wait_until(lambda job_id=job_id: bulks.look(api, job_id)["fanned_out"] == FEW, message="never fanned out")  # type: ignore[misc]
            assert start_armed(stack, step, stack.start_worker).wait() == -signal.SIGKILL
        heir = stack.start_worker()
        for job_id, recipients in jobs.items():
            assert_done(stack, api, job_id, recipients)
    bulks.end(bulk_worker, heir)


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize("step", ["bulk.ordered", "bulk.steered"])
def test_an_order_whose_web_was_killed_is_carried_out_all_the_same(stack: Stack, crew: Crew, step: str) -> None:
    paused, cancelled = bulks.crowd(f"{step}-paused", SOME), bulks.crowd(f"{step}-cancelled", SOME)
    with Api(stack) as api:
        to_pause, to_cancel = (bulks.send(stack, recipients, rate=SLOW) for recipients in (paused, cancelled))
        for job_id, what in ((to_pause, "pause"), (to_cancel, "cancel")):
            bulks.wait_until_fanned(api, job_id, 1)
            die_ordering(stack, step, job_id, what)
        wait_until(lambda: not unapplied(stack), message="nobody carried it out")
        still = bulks.look(api, to_pause)
        bulks.assert_stands_still(stack, api, still)
        cut = bulks.wait_until_over(api, to_cancel)
        bulks.assert_cut(stack, cut, cancelled)
        assert 0 < cut["stored"] < SOME
        bulks.dial(api, to_pause, None)
        bulks.order(api, to_pause, "resume")
        assert_done(stack, api, to_pause, paused)
        assert bulks.rows(stack, to_cancel) == cut["stored"]


def die_ordering(stack: Stack, step: str, job_id: str, what: str) -> None:
    """Give an order through a web that dies over it."""
    url = stack.url
    web = start_armed(stack, step, stack.start_web)
    try:
        with Api(stack) as api, pytest.raises(httpx.HTTPError):
            api.post(f"/api/bulk/{job_id}/{what}")
    finally:
        stack.url = url
    assert web.wait() == -signal.SIGKILL


def unapplied(stack: Stack) -> int:
    """How many jobs have an order that Redis may not know of."""
    count: int = stack.sql("SELECT count(*) FROM bulk_bulkjob WHERE applied < revision AND finished_at IS NULL")[0][0]
    return count


def test_a_flushed_redis_in_the_middle_costs_nobody_anything(stack: Stack, crew: Crew) -> None:
    recipients = bulks.crowd("flushed", SOME)
    with Api(stack) as api:
        job_id = bulks.send(stack, recipients, rate="8000/s")
        bulks.wait_until_fanned(api, job_id, SOME * 4 // 10)
        stack.redis().flushall()
        assert_done(stack, api, job_id, recipients)


def test_a_job_that_was_cancelled_before_redis_was_flushed_gets_no_further_than_it_was(stack: Stack) -> None:
    recipients = bulks.crowd("cut", SOME)
    bulk_worker = stack.start_bulk_worker()
    with Api(stack) as api:
        job_id = bulks.send(stack, recipients)
        bulks.wait_until_fanned(api, job_id, 1)
        cancelled = bulks.order(api, job_id, "cancel")
        stack.redis().flushall()
        worker = stack.start_worker()
        over = bulks.wait_until_over(api, job_id)
        assert over["stored"] == cancelled["fanned_out"] < SOME
        bulks.wait_for_rest(stack)
        bulks.assert_cut(stack, over, recipients)
    bulks.end(worker, bulk_worker)


@pytest.mark.parametrize("name", ["valkey", "postgresql"])
def test_a_server_killed_in_the_middle_costs_nobody_anything(stack: Stack, crew: Crew, name: str) -> None:
    server = getattr(stack, name)
    recipients = bulks.crowd(f"without-{name}", SOME)
    with Api(stack) as api:
        job_id = bulks.send(stack, recipients, rate="8000/s")
        bulks.wait_until_fanned(api, job_id, SOME // 5)
        server.kill()
        # A worker that has just nothing to store may notice later.
        wait_until(lambda: "process.outage" in crew.members[1].log(), message="the bulk worker never noticed")
        server.start()
        wait_until(lambda: api.request(f"/api/bulk/{job_id}").status_code == 200, message="still not reading")
        assert_done(stack, api, job_id, recipients)


def test_processes_that_stood_still_and_go_on_double_nothing(stack: Stack, crew: Crew) -> None:
    recipients = bulks.crowd("frozen", SOME)
    with Api(stack) as api:
        job_id = bulks.send(stack, recipients, rate="8000/s")
        bulks.wait_until_fanned(api, job_id, SOME // 5)
        crew.stop()
        others = Crew(stack)
        assert_done(stack, api, job_id, recipients)
        crew.cont()
        more = bulks.crowd("after-frost", SOME)
        assert_done(stack, api, bulks.send(stack, more), more)
        assert bulks.rows(stack, job_id) == SOME
        others.end()


@pytest.fixture
def faulty(stack: Stack) -> Iterator[list[Process]]:
    """Everybody whom an event that fails meets, the worker first."""
    with having(stack, NOTIFY_RETRY_DELAYS="0.2,0.2"):
        starts = (stack.start_worker, stack.start_bulk_worker, stack.start_scheduler, stack.start_dlq_worker)
        processes = [start() for start in starts]
    yield processes
    bulks.end(*processes)


def test_what_fails_once_in_a_bulk_is_stored_and_what_always_fails_is_letters_until_a_replay(
    stack: Stack, faulty: list[Process]
) -> None:
    patient, recipients = bulks.crowd("once", FEW), bulks.crowd("dead", FEW)
    with Api(stack) as api:
        once = bulks.send(stack, patient, data={"fault": {"fail": 1}})
        job_id = bulks.send(stack, recipients, type="dead", data={"fault": {"fail": -1}})
        assert_done(stack, api, once, patient)
        attempts = stack.sql("SELECT DISTINCT attempts FROM notifications_notification WHERE source_id = %s", [once])
        assert attempts == [(2,)]
        over = bulks.wait_until_over(api, job_id)
        assert (over["status"], over["stored"], over["failed"], over["fanned_out"]) == ("done", 0, FEW, FEW)
        bulks.end(faulty.pop(0))
        # The cause is removed.
        with having(stack, NOTIFY_FAULT_INJECTION="0"):
            faulty.append(stack.start_worker())
        assert api.post("/api/dlq/replay", {"type": "dead"}).json()["matched"] == FEW
        wait_until(lambda: bulks.look(api, job_id)["failed"] == 0, message="they stay dead")
        wait_until(lambda: bulks.look(api, job_id)["stored"] == FEW, message="they are not stored")
        assert_done(stack, api, job_id, recipients)
