"""Two duties in one process: neither keeps the other waiting, and both end together."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.one_shard_is_enough

PROJECT = Path(__file__).parents[2]
Start = Callable[[str, str], "Running"]

DUTIES = """
import os, threading, django, psycopg
django.setup()
from redis.exceptions import ConnectionError as Away
from notifications import process

def say(*words):
    # In one piece, as two threads say something here.
    os.write(1, (" ".join(map(str, words)) + os.linesep).encode())

process.BEAT_SECONDS, process.STUCK_SECONDS = 0.1, 0.5

class Duty:
    def __init__(self, name):
        self.name, self.steps = name, 0
    def step(self):
        self.steps += 1
        say(self.name, "step", self.steps)
        process.pause(0.02)
    def beat(self):
        say(self.name, "beats")
    def stop(self):
        say(self.name, "stopped")

class Stuck(Duty):
    def step(self):
        super().step()
        threading.Event().wait()

class Waiting(Duty):
    def step(self):
        super().step()
        process.pause(3600)

class Broken(Duty):
    def step(self):
        super().step()
        if self.steps == 3:
            raise ValueError("a bug of " + self.name)

class Outage(Duty):
    def step(self):
        self.steps += 1
        say(self.name, "step", self.steps)
        if self.steps < 3:
            raise Away("the server is away")
        if self.steps < 4:
            # As a server-side cursor raises it, past Django.
            raise psycopg.OperationalError("consuming input failed")
        process.pause(0.02)

process.run("tests", %s("first"), %s("beside"))
"""


class Running:
    """A process of two duties; its output is in a file."""

    def __init__(self, first: str, beside: str, log: Path) -> None:
        self._log = log
        environment = os.environ | {"DJANGO_SETTINGS_MODULE": "notify_project.settings"}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", DUTIES % (first, beside)],
                cwd=PROJECT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def waits_for(self, *words: str) -> None:
        self.waits_until(lambda: all(word in self.log for word in words))

    def waits_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, self.log
            assert self._process.poll() is None, self.log
            time.sleep(0.02)

    def terminate(self) -> None:
        self._process.terminate()

    def ends_within(self, seconds: float) -> int:
        return self._process.wait(seconds)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process of two duties, each by its class."""
    running: list[Running] = []

    def begin(first: str, beside: str) -> Running:
        running.append(Running(first, beside, tmp_path / f"{len(running)}.log"))
        return running[-1]

    yield begin
    for one in running:
        one.kill()


@pytest.mark.parametrize(("first", "beside"), [("Duty", "Duty"), ("Waiting", "Waiting"), ("Duty", "Waiting")])
def test_a_signal_ends_both_duties_within_seconds(start: Start, first: str, beside: str) -> None:
    running = start(first, beside)
    running.waits_for("first step 1", "beside step 1")
    running.terminate()
    assert running.ends_within(5) == 0
    assert running.log.count("first stopped") == running.log.count("beside stopped") == 1
    assert "process.stopped" in running.log


def test_each_duty_has_a_beat_of_its_own_whatever_the_other_does(start: Start) -> None:
    running = start("Waiting", "Duty")
    running.waits_for("first beats", "beside beats")


@pytest.mark.parametrize(("first", "beside"), [("Duty", "Stuck"), ("Stuck", "Duty")])
def test_a_duty_that_stands_still_ends_its_own_beat_and_no_others(start: Start, first: str, beside: str) -> None:
    running = start(first, beside)
    stuck, well = ("beside", "first") if beside == "Stuck" else ("first", "beside")
    running.waits_for("process.stuck")
    beats, others = running.log.count(f"{stuck} beats"), running.log.count(f"{well} beats")
    running.waits_until(lambda: running.log.count(f"{well} beats") > others + 5)
    assert running.log.count(f"{stuck} beats") == beats


@pytest.mark.parametrize("first", ["Duty", "Waiting"])
def test_a_bug_beside_ends_the_process_and_is_shown(start: Start, first: str) -> None:
    running = start(first, "Broken")
    assert running.ends_within(30) != 0
    assert "ValueError: a bug of beside" in running.log
    assert "first stopped" in running.log
    assert "process.stopped" not in running.log


def test_a_bug_of_the_first_ends_the_process_and_is_shown(start: Start) -> None:
    running = start("Broken", "Waiting")
    assert running.ends_within(30) != 0
    assert "ValueError: a bug of first" in running.log


@pytest.mark.parametrize(("first", "beside"), [("Duty", "Outage"), ("Outage", "Duty")])
def test_an_outage_of_one_keeps_the_other_from_nothing(start: Start, first: str, beside: str) -> None:
    running = start(first, beside)
    away, well = ("beside", "first") if beside == "Outage" else ("first", "beside")
    running.waits_for("process.outage_over", f"{away} step 4")
    lines: list[Any] = running.log.splitlines()
    during = lines[lines.index(f"{away} step 2") : lines.index(f"{away} step 4")]
    assert sum(line.startswith(f"{well} step") for line in during) >= 3
    running.terminate()
    assert running.ends_within(5) == 0
    assert running.log.count("process.outage_over") == 1
