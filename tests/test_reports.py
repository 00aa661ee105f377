"""What real processes tell of themselves, while they work, when they die, and when a server is away."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import psutil
import pytest
import structlog

from notifications.stream import register
from notifications.stream.register import Process
from notify_project import reports
from tests import truth
from tests.api import Api
from tests.sockets import Socket
from tests.stack import Stack, free_port, wait_until

# A server that loads the application once and serves it from a fork, as gunicorn does with --preload.
PREFORK = """
import os, sys
from wsgiref.simple_server import make_server
from notify_project.wsgi import application
server = make_server("127.0.0.1", int(sys.argv[1]), application)
server.timeout = 0.1
parent = os.getpid()
if os.fork():
    os.wait()
while os.getppid() == parent:
    server.handle_request()
"""


@pytest.fixture(scope="module")
def full_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All that `up` starts, for tests that kill nothing."""
    with Stack(tmp_path_factory.mktemp("stack"), NOTIFY_RETRY_DELAYS="0.1,0.1") as running:
        running.start_web()
        running.start_worker()
        running.start_bulk_worker()
        running.start_scheduler()
        running.start_dlq_worker()
        yield running


def processes(stack: Stack, kind: str) -> list[Process]:
    with stack.redis() as client:
        return [process for process in register.processes(client) if process.kind == kind]


def states(stack: Stack, kind: str) -> list[str]:
    return [process.state for process in processes(stack, kind)]


def wait_for_state(stack: Stack, kind: str, *wanted: str, timeout: float = 20) -> None:
    wait_until(lambda: states(stack, kind) == list(wanted), timeout, f"no {kind} that is {wanted}")


def handled(stack: Stack, kind: str) -> int:
    return sum(process.handled for process in processes(stack, kind))


def test_every_kind_of_process_is_there_with_its_pid(full_stack: Stack) -> None:
    for kind in ("web", "worker", "bulk_worker", "scheduler", "dlq_worker"):
        wait_for_state(full_stack, kind, "alive")
        (process,) = processes(full_stack, kind)
        assert process.pid > 1
        assert process.rss_bytes > 10 << 20
        assert (process.sockets is not None) == (kind == "web")


def test_each_counts_what_it_handles_and_the_past_adds_up(full_stack: Stack) -> None:
    wait_for_state(full_stack, "worker", "alive")
    before = {kind: handled(full_stack, kind) for kind in ("web", "worker", "scheduler", "dlq_worker")}
    with full_stack.redis() as client, Api(full_stack) as api:
        api.notify_all([f"past-{number}" for number in range(50)])
        api.notify("past", data={"fault": {"fail": 1}})
        api.notify("past", data={"fault": {"invalid": True}})
        api.post("/api/schedule", {"recipient": "past", "type": "test", "title": "t", "delay": 1}).raise_for_status()

        def told(kind: str) -> int:
            return handled(full_stack, kind) - before[kind]

        # What is scheduled comes in when it fires; what failed once is moved once, and handled twice.
        wait_until(lambda: told("web") == 52)
        wait_until(lambda: told("scheduler") == 2)
        wait_until(lambda: told("worker") == 54)
        wait_until(lambda: told("dlq_worker") == 1)
        wait_until(lambda: _sums(full_stack) == (53, 52, 1, 1, 1), message="the past never added up")
        slices = register.history(client)
        assert sum(sum(part.latencies.values()) for part in slices) == 52
        median = register.percentile(register.merged(part.latencies for part in slices), 0.5)
    assert median is not None
    assert median < 5_000


def _sums(stack: Stack) -> tuple[int, ...]:
    with stack.redis() as client:
        parts = register.history(client)
    return tuple(
        sum(getattr(part, name) for part in parts) for name in ("accepted", "stored", "failed", "dead", "fired")
    )


@pytest.mark.one_shard_is_enough
def test_a_web_that_cannot_tell_of_itself_answers_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def fail(*names: str, sockets: object) -> None:
        begun.append(names)
        raise psutil.AccessDenied(1)

    monkeypatch.setattr(reports, "Reporter", fail)
    monkeypatch.setattr(reports, "_beginning", reports._Beginning())
    application = reports.of_wsgi(lambda _environ, _start: [b"answer"])
    with structlog.testing.capture_logs() as lines:
        assert [application({}, print) for _ in range(3)] == [[b"answer"]] * 3
    assert len(begun) == 1
    assert [line["event"] for line in lines] == ["reporting.not_begun"]


def test_a_gateway_tells_how_many_sockets_it_holds_and_for_whom(full_stack: Stack) -> None:
    def held() -> tuple[int | None, int | None]:
        (web,) = processes(full_stack, "web")
        return web.sockets, web.recipients

    with Api(full_stack) as api, ExitStack() as opened:
        for recipient in ("alice", "alice", "bob"):
            opened.enter_context(Socket(full_stack.url, api.token(recipient))).expect("hello")
        wait_until(lambda: held() == (3, 2))
        for _ in range(4):
            api.notify("alice")
        wait_until(lambda: processes(full_stack, "web")[0].frame_rate)
    wait_until(lambda: held() == (0, 0))


@pytest.mark.one_shard_is_enough
def test_who_is_killed_is_silent_then_dead_and_who_stops_says_goodbye(own_stack: Stack) -> None:
    killed, stopped = own_stack.start_worker(), own_stack.start_dlq_worker()
    wait_for_state(own_stack, "worker", "alive")
    wait_for_state(own_stack, "dlq_worker", "alive")
    killed.kill()
    stopped.terminate()
    assert stopped.wait(10) == 0
    assert states(own_stack, "dlq_worker") == ["stopped"]
    wait_for_state(own_stack, "worker", "silent")
    wait_for_state(own_stack, "worker", "dead")
    wait_for_state(own_stack, "dlq_worker")


@pytest.mark.one_shard_is_enough
def test_who_stands_still_is_silent_and_goes_on_as_the_same_process(own_stack: Stack) -> None:
    worker = own_stack.start_worker()
    wait_for_state(own_stack, "worker", "alive")
    (before,) = processes(own_stack, "worker")
    worker.stop()
    wait_for_state(own_stack, "worker", "silent")
    worker.cont()
    wait_for_state(own_stack, "worker", "alive")
    (after,) = processes(own_stack, "worker")
    assert (after.name, after.started_at) == (before.name, before.started_at)


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize("trouble", ["killed", "frozen", "flushed"])
def test_processes_are_there_again_after_an_outage_of_redis(own_stack: Stack, trouble: str) -> None:
    own_stack.start_web()
    worker = own_stack.start_worker()
    wait_for_state(own_stack, "web", "alive")
    wait_for_state(own_stack, "worker", "alive")
    if trouble == "killed":
        own_stack.valkey.kill()
        wait_until(lambda: "reporting.dropped" in worker.log())
        own_stack.valkey.start()
    elif trouble == "frozen":
        own_stack.valkey.freeze()
        wait_until(lambda: "reporting.dropped" in worker.log())
        own_stack.valkey.thaw()
    else:
        with own_stack.redis() as client:
            client.flushall()
    wait_for_state(own_stack, "web", "alive")
    wait_for_state(own_stack, "worker", "alive")
    with Api(own_stack) as api:
        accepted = [api.notify("alice")]
        truth.wait_for_rest(own_stack)
    truth.assert_kept(own_stack, accepted)
    assert worker.log().count("reporting.dropped") == (trouble != "flushed")
    assert worker.returncode is None


@pytest.mark.one_shard_is_enough
def test_a_frozen_redis_keeps_no_process_from_ending_in_time(own_stack: Stack) -> None:
    running = [own_stack.start_web(), own_stack.start_worker(), own_stack.start_scheduler()]
    wait_for_state(own_stack, "web", "alive")
    wait_for_state(own_stack, "worker", "alive")
    wait_for_state(own_stack, "scheduler", "alive")
    own_stack.valkey.freeze()
    for process in running:
        process.terminate()
    for process in running:
        assert process.wait(10) == 0
    own_stack.valkey.thaw()


@pytest.mark.one_shard_is_enough
def test_under_a_server_that_forks_whoever_serves_tells_and_nobody_else(own_stack: Stack) -> None:
    port = free_port()
    parent = own_stack.start([sys.executable, "-c", PREFORK, str(port)])
    own_stack.url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert parent.returncode is None, parent.tail()
        with Api(own_stack) as api:
            try:
                return api.request("/healthz").status_code == 200
            except httpx.TransportError:
                return False

    wait_until(answers)
    wait_for_state(own_stack, "web", "alive")
    (process,) = processes(own_stack, "web")
    assert process.pid != parent.pid
    assert process.sockets is None
    parent.kill()
    wait_for_state(own_stack, "web", "stopped")
