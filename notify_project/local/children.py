"""The processes that run beside the servers, and one of them as its supervisor sees it."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import structlog

from notify_project.local.exceptions import StartError
from notify_project.local.processes import outcome

log = structlog.get_logger("notify.up")

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 10.0
# Who stood this long had no trouble starting: the next wait is the shortest again.
STEADY_SECONDS = 30.0

PROJECT = Path(__file__).resolve().parent.parent.parent


class Stage(IntEnum):
    """Started upwards and stopped downwards: nobody outlives what it stands on."""

    SERVERS = 1
    BACKGROUND = 2
    FRONT = 3


@dataclass(frozen=True)
class Kind:
    """A kind of process: what it is called, how it is started and how many there are."""

    name: str
    stage: Stage
    command: tuple[str, ...]
    count: int = 1

    @property
    def names(self) -> list[str]:
        """`web`, or `worker 1`, `worker 2` …"""
        return [self.name] if self.count == 1 else [f"{self.name} {n}" for n in range(1, self.count + 1)]


def kinds(*, host: str, port: int, workers: int) -> list[Kind]:
    """Every kind that `up` runs, the servers apart."""
    gateway = (sys.executable, "-m", "notify_project.gateway", "-b", host, "-p", str(port))
    return [
        Kind("worker", Stage.BACKGROUND, manage("worker"), workers),
        Kind("bulk_worker", Stage.BACKGROUND, manage("bulk_worker")),
        Kind("scheduler", Stage.BACKGROUND, manage("scheduler")),
        Kind("dlq_worker", Stage.BACKGROUND, manage("dlq_worker")),
        Kind("web", Stage.FRONT, gateway),
    ]


def manage(*arguments: str) -> tuple[str, ...]:
    """A command of this project's manage.py."""
    return (sys.executable, str(PROJECT / "manage.py"), *arguments)


class BackOff:
    """How long to wait before a start: 0.5 s, twice as long each time, 10 s at most."""

    def __init__(self) -> None:
        self._seconds = FIRST_WAIT_SECONDS

    def next_wait(self, stood_seconds: float) -> float:
        """The wait after a process that stood for so long."""
        if stood_seconds >= STEADY_SECONDS:
            self._seconds = FIRST_WAIT_SECONDS
        wait = self._seconds
        self._seconds = min(2 * wait, LONGEST_WAIT_SECONDS)
        return wait


class Child:
    """One process that is meant to run: watched, and started again when it ended."""

    def __init__(
        self,
        name: str,
        spawn: Callable[[], subprocess.Popen[bytes]],
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.endings: list[str] = []
        self._spawn = spawn
        self._stop_signal = stop_signal
        self._back_off = BackOff()
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._restart_at = 0.0

    def start(self) -> None:
        """Start the process; when the system refuses, that counts as an ending."""
        self._started = time.monotonic()
        try:
            self.watch(self._spawn())
        except (OSError, subprocess.SubprocessError, StartError) as error:
            self._note_ending(str(error))

    def watch(self, process: subprocess.Popen[bytes]) -> None:
        """Take over a process that has just been started."""
        self._process, self._started = process, time.monotonic()
        log.info("child.started", child=self.name, pid=process.pid)

    def look(self) -> None:
        """Notice an ending; start again when the wait after one is over."""
        if self._process is not None:
            returncode = self._process.poll()
            if returncode is not None:
                self._note_ending(outcome(returncode))
        elif time.monotonic() >= self._restart_at:
            self.start()

    def ask_to_stop(self) -> None:
        """Send the signal at which it finishes what it does and goes."""
        if self._process is not None:
            self._process.send_signal(self._stop_signal)

    def gone(self) -> bool:
        """Whether no process runs."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _note_ending(self, ending: str) -> None:
        self._process = None
        self.endings.append(ending)
        wait = self._back_off.next_wait(time.monotonic() - self._started)
        self._restart_at = time.monotonic() + wait
        log.warning("child.ended", child=self.name, ending=ending, restart_in_seconds=wait)
