"""What PostgreSQL and Valkey have in common when they run as a child of ours."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psutil

from notify_project.local.exceptions import StartError
from notify_project.local.folders import socket_folder
from notify_project.local.processes import Account, end, outcome, spawn

# A crash recovery or a large append-only file takes its time; a server that *ends* is noticed at once.
READY_SECONDS = 180.0
LEFTOVER_SECONDS = 10.0
STOP_SECONDS = 10.0
TICK_SECONDS = 0.05
# Right after a kill -9 PostgreSQL refuses while its last back ends still hold the shared memory.
RETRY_SECONDS = (0.0, 0.5, 1.5)

Pause = Callable[[float], None]


class Server(ABC):
    """A private server: its data in `data`, its words in `<data>.log`, one unix socket and no port.

    `start` is for the first time, when nothing else can go on without it. A supervisor that brings it back
    later calls `spawn` and leaves the waiting to those who need it.
    """

    label: ClassVar[str]
    socket_name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, data: Path) -> None:
        self.data = data.resolve()
        self.log = self.data.with_name(f"{self.data.name}.log")
        self.socket = socket_folder(self.data, self.socket_name) / self.socket_name
        self.account: Account | None = None
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The address, as in DATABASE_URL or REDIS_URL."""

    @property
    @abstractmethod
    def pid_file(self) -> Path:
        """Where the running server notes its pid, on the first line."""

    @abstractmethod
    def prepare(self) -> None:
        """Make everything that has to be there before the server starts."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The server and its arguments."""

    @abstractmethod
    def owns(self, command: Sequence[str]) -> bool:
        """Whether a process with this command line is a server on our data."""

    @abstractmethod
    def forget_leftovers(self) -> None:
        """Remove what a server that no longer runs left behind and that would confuse the next one."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether a client is served right now."""

    def start(self, pause: Pause = time.sleep) -> subprocess.Popen[bytes]:
        """Start, and return when the server serves; raises StartError, with nothing left running."""
        try:
            return self._start(pause)
        except BaseException:
            self.kill()
            raise

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start without waiting, after whatever of an earlier start is still there has been ended."""
        self.end_leftovers()
        self.log.touch(mode=0o600)
        self.prepare()
        with self.log.open("ab") as log:
            self.process = spawn(
                self.command(),
                environment=self._environment(),
                folder=self.data,
                output=log,
                account=self.account,
                death_signal=self.stop_signal,
            )
        return self.process

    def end_leftovers(self) -> None:
        """End a server that an earlier run left alive, and remove its traces.

        Raises StartError when it cannot be ended: two servers on the same files would ruin them.
        """
        end(self.leftovers(), grace_seconds=LEFTOVER_SECONDS, ask=self.stop_signal)
        for process in self.leftovers():
            raise StartError(f"{self.label} of an earlier start (process {process.pid}) cannot be ended")
        self.forget_leftovers()

    def leftovers(self) -> list[psutil.Process]:
        """A server on our data that an earlier run left, found by its pid file and proved by its command."""
        with suppress(OSError, ValueError, IndexError, psutil.Error):
            process = psutil.Process(int(self.pid_file.read_text().splitlines()[0]))
            if self.owns(process.cmdline()):
                return [process]
        return []

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask the server to stop, and kill it when it has not after `seconds`."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the server at once, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _start(self, pause: Pause) -> subprocess.Popen[bytes]:
        ending = ""
        for seconds in RETRY_SECONDS:
            pause(seconds)
            process = self.spawn()
            if self._comes_up(process, pause):
                return process
            ending = outcome(process.returncode)
        raise StartError(f"{self.label} does not start ({ending}): see {self.log}")

    def _comes_up(self, process: subprocess.Popen[bytes], pause: Pause) -> bool:
        deadline = time.monotonic() + READY_SECONDS
        while process.poll() is None:
            if self.answers():
                return True
            if time.monotonic() > deadline:
                raise StartError(f"{self.label} did not answer within {READY_SECONDS:.0f} s: see {self.log}")
            pause(TICK_SECONDS)
        return False

    @staticmethod
    def _environment() -> Mapping[str, str]:
        """Next to nothing: a developer's PGPORT or LANG is not meant for a server, nor is Notify's secret."""
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
