"""Keeps children running, and stops them in order."""

import time
from collections import defaultdict

import structlog

from notify_project.local.children import Child, Stage
from notify_project.local.signals import TICK_SECONDS, StopSignals

log = structlog.get_logger("notify.up")

# Seconds since the stop began at which a stage that has not gone is killed; all of it within 10 s.
STOP_DEADLINES = {Stage.FRONT: 2.5, Stage.BACKGROUND: 7.0, Stage.SERVERS: 9.5}


class Supervisor:
    """The children, by the stage they are started and stopped at."""

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals
        self._stages: dict[Stage, list[Child]] = defaultdict(list)

    def add(self, stage: Stage, child: Child) -> None:
        """Look after a child from now on."""
        self._stages[stage].append(child)

    def endings(self, stage: Stage) -> list[str]:
        """How the children of a stage have ended so far."""
        return [ending for child in self._stages[stage] for ending in child.endings]

    def look(self) -> None:
        """One round: notice who ended, start again whose wait is over."""
        for children in self._stages.values():
            for child in children:
                child.look()

    def run(self) -> None:
        """Look after the children until StopRequested is raised."""
        while True:
            self.look()
            self._signals.pause(TICK_SECONDS)

    def stop(self) -> None:
        """Stop who takes requests, then who works, then the servers; a second Ctrl-C kills them all."""
        began = time.monotonic()
        for stage, seconds in STOP_DEADLINES.items():
            children = self._stages[stage]
            for child in children:
                child.ask_to_stop()
            self._await_end(children, began + seconds)

    def _await_end(self, children: list[Child], deadline: float) -> None:
        while not all(child.gone() for child in children):
            if self._signals.hurry or time.monotonic() > deadline:
                break
            time.sleep(TICK_SECONDS / 4)
        for child in children:
            if not child.gone():
                log.warning("child.killed", child=child.name)
                child.kill()
