"""A process whose work stands still says so, on a port that the work does not share."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_shard_is_enough

DUTY = """
import threading, django
django.setup()
from redis.exceptions import ConnectionError as Away
from notifications import process
process.STUCK_SECONDS = 1.0

class Duty:
    steps = 0
    def step(self):
        self.steps += 1
        process.pause(0.05)
    def beat(self):
        pass
    def stop(self):
        pass

class Stuck(Duty):
    def step(self):
        threading.Event().wait()

class Waiting(Duty):
    def step(self):
        raise Away("the server is away")

class Fine(Duty):
    pass

process.run("tests", Fine(), Stuck(), Waiting())
"""

Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """Ask a process whose duties are fine, stuck, and waiting for a server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "notify_project.settings",
        "NOTIFY_HEALTH_PORT": str(port),
        "NOTIFY_METRICS_TOKEN": "a-token-for-tests-only",
        "NOTIFY_METRICS_NETWORKS": "none",
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", DUTY], env=environment, stdout=log, stderr=log)

    def get(path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        deadline = time.monotonic() + 30
        while True:
            connection = HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                connection.request(method, path, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except ConnectionError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            finally:
                connection.close()

    yield get
    process.kill()
    process.wait()


def test_each_duty_is_told_and_one_that_is_stuck_makes_the_process_unready(ask: Ask) -> None:
    expected = {"redis": "ok", "postgresql": "ok", "fine": "ok", "stuck": "stuck", "waiting": "ConnectionError"}
    deadline = time.monotonic() + 30
    while json.loads((found := ask("/readyz"))[1]) != {"status": "unavailable", "checks": expected}:
        assert time.monotonic() < deadline, found
    assert found[0] == 503
    assert ask("/healthz") == (200, '{"status": "ok"}')
    status, text = ask("/metrics", Authorization="Bearer a-token-for-tests-only")
    assert status == 200
    assert 'notify_outages_total{duty="waiting",kind="tests"} 1.0' in text
    assert "process_cpu_seconds_total" in text


def test_metrics_are_not_for_everybody_and_other_things_not_for_anybody(ask: Ask) -> None:
    assert ask("/metrics")[0] == 401
    assert ask("/metrics", Authorization="Bearer another")[0] == 401
    assert ask("/elsewhere")[0] == 404
    assert ask("/healthz", method="HEAD") == (200, "")
    assert ask("/healthz", method="POST")[0] == 501
