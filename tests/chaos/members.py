"""One process or server that is meant to run: broken by order, and started again however it ended."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final, Protocol

from notify_project.local.exceptions import StartError
from notify_project.local.processes import outcome
from tests.chaos.breaking import Action
from tests.stack import Process

RESTART_SECONDS: Final = (0.2, 1.0)
# The contract says 10 s; on a machine where everything else breaks too, nobody is killed for some more.
PATIENCE_SECONDS: Final = 25.0


class Engine(Protocol):
    """A process or a server, with what can happen to it. A ServerHandle is one."""

    @property
    def returncode(self) -> int | None:
        """How it ended, or None while it runs."""

    def spawn(self) -> None:
        """Start it and do not wait."""

    def terminate(self) -> None:
        """Ask it to stop and do not wait."""

    def kill(self) -> None:
        """SIGKILL."""

    def freeze(self) -> None:
        """SIGSTOP."""

    def thaw(self) -> None:
        """SIGCONT."""


class Program:
    """An engine that runs a command; all its lives write one log."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._environment = environment
        self._log = log
        self.spawn()

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def spawn(self) -> None:
        self._process = Process(self._command, self._environment, self._log)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def freeze(self) -> None:
        self._process.stop()

    def thaw(self) -> None:
        self._process.cont()


class Member:
    """One that is meant to run: broken by order, and started again however it ended."""

    def __init__(self, name: str, engine: Engine, random: Random) -> None:
        self.name = name
        self.endings = Counter[str]()  # those that nobody ordered
        self.slowest_stop = 0.0
        self._engine = engine
        self._random = random
        self._restart_at: float | None = None
        self._thaw_at: float | None = None
        self._asked_at: float | None = None
        self._away_seconds = 0.0

    @property
    def whole(self) -> bool:
        """Whether it runs and nothing has been ordered for it."""
        return self._engine.returncode is None and self._thaw_at is None and self._asked_at is None

    def suffer(self, action: Action, seconds: float) -> bool:
        """Be killed, stopped or frozen, and be so for that long; False where it is broken already."""
        if not self.whole:
            return False
        now = time.monotonic()
        match action:
            case Action.KILL:
                self._engine.kill()
                self._restart_at = now + seconds
            case Action.STOP:
                self._engine.terminate()
                self._asked_at, self._away_seconds = now, seconds
            case Action.FREEZE | Action.CUT:
                self._engine.freeze()
                self._thaw_at = now + seconds
            case Action.MOVE:
                raise ValueError(f"{self.name} cannot be moved")
        return True

    def look(self) -> None:
        """Go on when the time has come; notice an end."""
        now = time.monotonic()
        if self._restart_at is not None:
            if now >= self._restart_at:
                self._start_again(now)
        elif self._engine.returncode is not None:
            self._note_end(now, self._engine.returncode)
        elif self._thaw_at is not None and now >= self._thaw_at:
            self._engine.thaw()
            self._thaw_at = None
        elif self._asked_at is not None and now >= self._asked_at + PATIENCE_SECONDS:
            self.endings["did not stop and was killed"] += 1
            self._engine.kill()

    def mend(self) -> None:
        """Whatever was ordered is over."""
        self._away_seconds = 0.0
        if self._thaw_at is not None:
            self._thaw_at = 0.0
        if self._restart_at is not None:
            self._restart_at = 0.0

    def end(self) -> None:
        """End it for good."""
        self._engine.kill()

    def _start_again(self, now: float) -> None:
        self._restart_at = self._thaw_at = None
        try:
            self._engine.spawn()
        except StartError as error:
            self.endings[str(error)] += 1
            self._restart_at = now + self._jitter()

    def _note_end(self, now: float, returncode: int) -> None:
        if self._asked_at is not None:
            self.slowest_stop = max(self.slowest_stop, now - self._asked_at)
            self._restart_at, self._asked_at = now + self._away_seconds, None
        else:
            self.endings[outcome(returncode)] += 1
            self._restart_at = now + self._jitter()

    def _jitter(self) -> float:
        return self._random.uniform(*RESTART_SECONDS)
