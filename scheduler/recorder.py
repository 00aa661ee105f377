"""What becomes of schedules, from Redis' log into the table; and what Redis lost, from the table back into Redis.

It runs beside the planner, in every scheduler: firing needs no PostgreSQL, and goes on while that is away.
"""

from typing import Final

import structlog

from notifications import failpoints, process
from notifications.process import Chore
from notifications.stream import keys
from notifications.stream.agenda import Agenda
from notifications.stream.schedules import Schedules
from scheduler import records
from scheduler.comparison import Comparison

log = structlog.get_logger("notify.schedules")

# So long after a change it may be missing from a list.
LOOK_SECONDS: Final = 0.1
# How long Redis is asked to wait for a change; a chore may be late by so much.
BLOCK_MS: Final = 1000
LOSS_SECONDS: Final = 1.0
HOUR_SECONDS: Final = 3600.0


class Recorder:
    """One scheduler's second duty (see notifications/process.py)."""

    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules
        self._changed = Agenda(schedules.shards, keys.changes, timed=False)
        self._comparison: Comparison | None = None
        # At start, after an outage (a server that failed over may lack the newest), and now and then.
        self._to_compare = True
        self._server = ""
        self._chores = [
            Chore(LOSS_SECONDS, self._look_for_losses),
            Chore(HOUR_SECONDS, self._compare_again),
            Chore(HOUR_SECONDS, records.prune),
        ]

    def step(self) -> None:
        """Record what waits to be, compare a chunk if a comparison is under way; else wait for a change."""
        try:
            for chore in self._chores:
                chore.do_if_due()
            busy = self._record()
            busy |= self._compare()
        except process.OUTAGES:
            self._comparison, self._to_compare = None, True
            raise
        # What another scheduler is just recording is a change, too: after a rest it is gone.
        if not busy and self._schedules.await_changes(BLOCK_MS):
            process.pause(LOOK_SECONDS)

    def beat(self) -> None:
        """Nothing is held."""

    def stop(self) -> None:
        """Nothing is held."""

    def _record(self) -> bool:
        busy = False
        for shard in self._schedules.changed_shards(self._changed):
            recorded = records.record(self._schedules, shard)
            if recorded:
                failpoints.reach("schedules.recorded")
                log.debug("schedules.recorded", shard=shard, changes=recorded)
            busy |= bool(recorded)
        return busy

    def _compare(self) -> bool:
        if self._to_compare:
            self._comparison, self._to_compare = Comparison(self._schedules), False
        if self._comparison is None:
            return False
        if not self._comparison.step():
            self._comparison = None
        return True

    def _compare_again(self) -> None:
        self._to_compare = True

    def _look_for_losses(self) -> None:
        if self._comparison is None and (lost := self._schedules.lost()):
            log.warning("schedules.to_compare", shards=lost)
            self._to_compare = True
        # A fail-over that no command met is one, too.
        before, self._server = self._server, self._schedules.server()
        if before not in {"", self._server}:
            log.warning("schedules.other_server")
            self._to_compare = True
