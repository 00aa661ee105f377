"""Child processes that do not outlive this one, and a way to know a process again later."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import psutil

PR_SET_PDEATHSIG = 1
# prctl is looked up here because the child, between fork and exec, should do as little as it can.
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
# The kernel counts a process' start in ticks since boot, and the time of boot moves when the clock is set.
CLOCK_TOLERANCE_SECONDS = 2.0
KILL_SECONDS = 5.0


@dataclass(frozen=True)
class Account:
    """A system user to run a server as."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    output: IO[bytes] | int | None = None,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that a terminal's Ctrl-C reaches its parent alone.

    On Linux the kernel sends it `death_signal` when the parent is gone, however that happened. The kernel
    means the parent's *thread*, hence the insistence on the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a child dies with the thread that forked it: spawn from the main thread")
    return subprocess.Popen(  # noqa: S603 - the commands are this project's own
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else [],
        # Runs after the change of user, which would have cleared what it sets.
        preexec_fn=_die_with_parent(death_signal),  # noqa: PLW1509 - the parent forks from its only busy thread
    )


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    if LIBC is None:
        return None
    prctl, parent = LIBC.prctl, os.getpid()

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:  # it died before the kernel was asked to tell
            os.kill(os.getpid(), signal.SIGKILL)

    return arrange


@dataclass(frozen=True)
class Identity:
    """What tells a process from another one that got its number later: start time and arguments too."""

    pid: int
    created: float
    arguments: list[str]

    @classmethod
    def of(cls, pid: int, command: Sequence[str]) -> Self | None:
        """The identity of a child that was just started with `command`; None when it has ended already.

        The command is not asked of the system, which shows an empty one for a moment after the start.
        """
        try:
            created = psutil.Process(pid).create_time()
        except psutil.Error:
            return None
        # The program's own name is left out: macOS' framework Python changes it after it started.
        return cls(pid, created, list(command[1:]))

    def find(self) -> psutil.Process | None:
        """The very same process, if it still runs."""
        try:
            process = psutil.Process(self.pid)
            apart = abs(process.create_time() - self.created)
            same = apart <= CLOCK_TOLERANCE_SECONDS and process.cmdline()[1:] == self.arguments
        except psutil.Error:
            return None
        return process if same else None


def end(processes: Iterable[psutil.Process], *, grace_seconds: float, ask: signal.Signals = signal.SIGTERM) -> None:
    """Ask processes to go, wait, and kill those that did not."""
    asked = list(processes)
    for process in asked:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(ask)
    _, stubborn = psutil.wait_procs(asked, timeout=grace_seconds)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=KILL_SECONDS)


def outcome(returncode: int) -> str:
    """How a child ended, in words: `exit code 1`, `SIGKILL`."""
    if returncode >= 0:
        return f"exit code {returncode}"
    with suppress(ValueError):
        return signal.Signals(-returncode).name
    return f"signal {-returncode}"
