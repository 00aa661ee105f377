"""The scheduler: fires what is due. Any number may run, as each move is one script; none leads, none holds a lock."""

from typing import Final

import structlog

from notifications import failpoints, metrics, process, reporting
from notifications.stream import agenda, delayed, keys
from notifications.stream.agenda import Agenda
from notifications.stream.schedules import Due, Kept, Schedules, Step
from scheduler import schedule as schedules

log = structlog.get_logger("notify.scheduler")

# What becomes due sooner than all that is known may come in at any time: the look at Redis is that often.
LONGEST_SLEEP_SECONDS: Final = 0.1
# A recurrence whose next time cannot be told (its zone is gone from this machine, say) waits for somebody to mend that.
PUT_OFF_MS: Final = 60_000


class Planner:
    """One scheduler process' first duty (see notifications/process.py). It holds nothing, so it gives nothing back."""

    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules
        self._retries = Agenda(schedules.shards, keys.delayed, timed=True)
        self._due = Agenda(schedules.shards, keys.scheduled, timed=True)

    def step(self) -> None:
        """Fire what is due, retries and schedules; then sleep until the next is, or until the next look."""
        failpoints.reach("scheduler.looked")
        agenda.ask(self._schedules.shards, self._retries, self._due)
        moved = delayed.move_due(self._schedules.shards, self._retries)
        due = self._schedules.fire(self._due)
        stepped = self._step(due) if due.again else 0
        if due.put_off:
            log.error("scheduler.unreadable", ids=due.put_off, seconds=PUT_OFF_MS // 1000)
        if moved.events or due.fired or stepped:
            failpoints.reach("scheduler.moved")
            reporting.handled(moved.events + due.fired + stepped)
            count(due)
            log.debug("scheduler.moved", retries=moved.events, fired=due.fired, recurring=stepped)
        waits = (self._retries.next_in_seconds(), self._due.next_in_seconds())
        process.pause(min(*waits, LONGEST_SLEEP_SECONDS))

    def beat(self) -> None:
        """Nothing is held."""

    def stop(self) -> None:
        """Nothing is held."""

    def _step(self, due: Due) -> int:
        steps = [_following(kept, due.now_ms) for kept in due.again]
        failpoints.reach("scheduler.planned")
        return self._schedules.step(steps)


def count(due: Due) -> None:
    """Note by how much later than due schedules fired. One that comes again counts for each scheduler that saw it."""
    for late_ms in (*due.late_ms, *(due.now_ms - kept.due_ms for kept in due.again if kept.due_ms is not None)):
        metrics.late_seconds.observe(max(0, late_ms) / 1000)


def _following(kept: Kept, now_ms: int) -> Step:
    """What a schedule that comes again fires now, and when it is due next."""
    try:
        schedule = schedules.from_kept(kept)
        following = schedules.stepped(schedule, now_ms)
        return schedules.step(schedule, following, schedules.occurrence(schedule))
    except Exception:
        # Whatever it is, it is this one's: the others fire.
        log.exception("scheduler.put_off", id=kept.id, seconds=PUT_OFF_MS // 1000)
        return Step(kept, kept._replace(revision=kept.revision + 1, due_ms=now_ms + PUT_OFF_MS))
