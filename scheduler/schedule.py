"""What a schedule is: an event, and when it fires. From and to what Redis keeps; no I/O."""

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec

from notifications import events, tracing
from notifications.events import Draft, Event
from notifications.stream.schedules import Kept, Kind, Step
from scheduler import recurrence
from scheduler.recurrence import Recurrence

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)

Status = Literal["scheduled", "fired", "cancelled"]
CatchUp = Literal["once", "all"]


# As Redis has it: by status, and whether it comes again.
KINDS: Final[dict[tuple[Status, bool], Kind]] = {
    ("scheduled", False): "once",
    ("scheduled", True): "recurring",
    ("fired", False): "fired",
    ("fired", True): "recurring",
    ("cancelled", False): "cancelled",
    ("cancelled", True): "stopped",
}


class About(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known about a schedule besides its event; times are Unix ms.

    `at_ms` where it fires once, `recurrence` where it comes again. A recurrence that missed several of its times fires
    `once` for all of them, or for `all`, each. `by` is for people: who made it.
    """

    at_ms: int | None = None
    recurrence: Recurrence | None = None
    catch_up: CatchUp = "once"
    by: str = ""
    changed_ms: int = 0
    runs: int = 0
    last_run_ms: int | None = None


class Schedule(msgspec.Struct, frozen=True):
    """A schedule. Its event's id is its own, which is also the notification's where it fires once."""

    status: Status
    revision: int
    due_ms: int | None
    about: About
    event: Event

    @property
    def id(self) -> str:
        """The id that it keeps for ever."""
        return self.event.id

    @property
    def recurs(self) -> bool:
        """Whether it comes again."""
        return self.about.recurrence is not None


_encoder: Final = msgspec.json.Encoder()
_about_decoder: Final = msgspec.json.Decoder(About)


def new(draft: Draft, about: About, due_ms: int, schedule_id: str | None = None) -> Schedule:
    """A schedule of a draft, under a fresh id or the one that it was promised."""
    schedule_id = schedule_id or events.new_id(draft.recipient)
    event = _event(draft, schedule_id, about)
    return Schedule("scheduled", 1, due_ms, about, event)


def from_kept(kept: Kept) -> Schedule:
    """A schedule as Redis has it. Raises msgspec.MsgspecError or Invalid where this release cannot read it."""
    about, event = _about_decoder.decode(kept.about), events.decode(kept.event)
    if kept.kind in {"cancelled", "stopped"}:
        return Schedule("cancelled", kept.revision, None, about, event)
    if kept.due_ms is not None:
        return Schedule("scheduled", kept.revision, kept.due_ms, about, event)
    if kept.kind == "once":
        # It fired at its time, and that is not written into it.
        about = msgspec.structs.replace(about, runs=about.runs + 1)
        return Schedule("fired", kept.revision + 1, None, about, event)
    return Schedule("fired", kept.revision, None, about, event)


def to_kept(schedule: Schedule) -> Kept:
    """The same as Redis keeps it."""
    return Kept(
        id=schedule.id,
        kind=KINDS[schedule.status, schedule.recurs],
        revision=schedule.revision,
        about=_encoder.encode(schedule.about),
        event=events.encode(schedule.event),
        due_ms=schedule.due_ms,
    )


def changed(schedule: Schedule, draft: Draft, about: About, due_ms: int | None) -> Schedule:
    """A schedule with other content and another time."""
    event = _event(draft, schedule.id, about)
    return Schedule(schedule.status, schedule.revision + 1, due_ms, about, event)


def cancelled(schedule: Schedule, now_ms: int) -> Schedule:
    """A schedule that does not fire any more."""
    about = msgspec.structs.replace(schedule.about, changed_ms=now_ms)
    return Schedule("cancelled", schedule.revision + 1, None, about, schedule.event)


def stepped(schedule: Schedule, now_ms: int) -> Schedule:
    """A schedule that fired at its time and comes again: as it waits for the next.

    What it missed besides is passed over, unless it catches up with `all`.
    """
    due_ms = schedule.due_ms or now_ms
    after = due_ms if schedule.about.catch_up == "all" else max(due_ms, now_ms)
    return _ran(schedule, now_ms, next_ms(schedule, after))


def ran_now(schedule: Schedule, now_ms: int) -> Schedule:
    """A schedule that was fired before its time: one that comes again waits as before."""
    return _ran(schedule, now_ms, schedule.due_ms if schedule.recurs else None)


def occurrence(schedule: Schedule) -> Event:
    """The event that a schedule which comes again fires for the time at which it is due.

    Its id is derived from the schedule's and that time: firing it again has no second effect.
    """
    due_ms = schedule.due_ms or 0
    event_id = events.derived_id(schedule.event.recipient, due_ms, schedule.id, str(due_ms))
    return msgspec.structs.replace(schedule.event, id=event_id)


def step(schedule: Schedule, following: Schedule, event: Event) -> Step:
    """A schedule and what it becomes as it fires an event."""
    return Step(to_kept(schedule), to_kept(following), event.id, events.encode(event))


def next_ms(schedule: Schedule, after_ms: int) -> int | None:
    """The next time, Unix ms, of a schedule that comes again; None where there is none."""
    rule = schedule.about.recurrence
    following = recurrence.next_after(rule, moment(after_ms)) if rule else None
    return unix_ms(following) if following else None


def upcoming(schedule: Schedule, count: int, now_ms: int) -> list[datetime]:
    """The next times that a schedule fires, UTC. Raises BadRecurrence where its zone is gone from this machine."""
    if schedule.due_ms is None:
        return []
    due = moment(schedule.due_ms)
    if schedule.about.recurrence is None:
        return [due]
    after = due if schedule.about.catch_up == "all" else max(due, moment(now_ms))
    return [due, *recurrence.upcoming(schedule.about.recurrence, after, count - 1)]


def moment(unix_milliseconds: int) -> datetime:
    """Unix ms as a moment, UTC."""
    return EPOCH + unix_milliseconds * MILLISECOND


def unix_ms(when: datetime) -> int:
    """A moment as Unix ms; a part of a millisecond counts as a whole one, so that nothing is early."""
    return -((EPOCH - when) // MILLISECOND)


def _event(draft: Draft, schedule_id: str, about: About) -> Event:
    # What comes again for years is no part of the request that it began with.
    traceparent = None if about.recurrence else tracing.carried()
    return events.accept(draft, schedule_id, source="schedule", source_id=schedule_id, traceparent=traceparent)


def _ran(schedule: Schedule, now_ms: int, due_ms: int | None) -> Schedule:
    about = msgspec.structs.replace(schedule.about, runs=schedule.about.runs + 1, last_run_ms=now_ms)
    status: Status = "fired" if due_ms is None else "scheduled"
    return Schedule(status, schedule.revision + 1, due_ms, about, schedule.event)
