"""The scheduler: fires what is due. Any number may run, as each move is one script; none leads, none holds a lock."""

from typing import Final

import structlog

from notifications import failpoints, process
from notifications.stream import delayed
from notifications.stream.client import Shards

log = structlog.get_logger("notify.scheduler")

# What becomes due sooner than all that is known may come in at any time: the look at Redis is that often.
LONGEST_SLEEP_SECONDS: Final = 0.1


class Planner:
    """One scheduler process' duty (see notifications/process.py). It holds nothing, so it has nothing to give back."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def step(self) -> None:
        """Move what is due into its lane; then sleep until the next is, or until the next look."""
        failpoints.reach("scheduler.looked")
        moved = delayed.move_due(self._shards)
        if moved.events:
            failpoints.reach("scheduler.moved")
            log.debug("scheduler.moved", events=moved.events)
        process.pause(_sleep_seconds(moved.next_in_ms))

    def beat(self) -> None:
        """Nothing is held."""

    def stop(self) -> None:
        """Nothing is held."""


def _sleep_seconds(next_in_ms: int | None) -> float:
    if next_in_ms is None:
        return LONGEST_SLEEP_SECONDS
    return min(next_in_ms / 1000, LONGEST_SLEEP_SECONDS)
