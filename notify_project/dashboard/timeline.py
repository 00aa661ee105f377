"""One notification's life as a person reads it: what happened, oldest first, and what comes next."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from django.db import DatabaseError
from django.urls import reverse
from django.utils import timezone

from dlq import lookup as letters
from dlq.lookup import History
from dlq.models import DeadLetter, Passage
from notifications import events, lookup, wiring
from notifications.events import FailedAttempt
from notifications.exceptions import Invalid
from notifications.representation import timestamp, timestamp_ms
from notifications.stream import states
from notifications.stream.states import InFlight
from notifications.worker import CRASH, INVALID, RETRIES_EXHAUSTED
from notify_project.dashboard.deadline import limited
from scheduler import door
from scheduler.exceptions import Unknown, Unreadable
from scheduler.schedule import Schedule

Kind = Passage.Kind
Status = DeadLetter.Status

# For a whole timeline, of which every part has an index.
TIMEOUT_MS: Final = 2_000

WHY_DEAD: Final = {
    CRASH: "It killed its worker again and again.",
    INVALID: "No other attempt would mend it.",
    RETRIES_EXHAUSTED: "That was the last attempt.",
}
BECAME: Final = {
    Kind.DIED: ("died", "Given up: a dead letter"),
    Kind.ORDERED: ("replay_ordered", "Replay ordered"),
    Kind.REPLAYED: ("replayed", "Replayed: in its lane again"),
    Kind.EDITED: ("edited", "Edited"),
    Kind.DISCARDED: ("discarded", "Discarded"),
    Kind.UNREADABLE: ("put_back", "Put back: its payload cannot be read"),
    Kind.STORED: ("stored_after_all", "Stored after all"),
}
WITHOUT_POSTGRESQL: Final = (
    "PostgreSQL does not answer just now: what Redis knows is shown, and what is in tables (earlier failures, dead "
    "letters, schedules) is missing. Look at Processes."
)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a timeline. Times are RFC 3339 UTC; `at` is null where a step goes on, or has no time.

    Of a step that goes on, `since` says since when, and `until` for how long, each null where nobody knows.
    """

    at: str | None
    kind: str
    title: str
    detail: str = ""
    by: str | None = None
    error: str | None = None
    delay_ms: int | None = None
    since: str | None = None
    until: str | None = None


class Link(msgspec.Struct, frozen=True):
    """Where more is told."""

    title: str
    href: str


class Known(NamedTuple):
    """What is known of a notification: its life as the API tells it, and where each part of the timeline comes from."""

    life: dict[str, Any]
    in_flight: InFlight | None
    holder: str | None
    history: History | None
    failures: Sequence[FailedAttempt]
    schedule: Schedule | None
    complete: bool


class Timeline(msgspec.Struct, frozen=True):
    """The answer, as of `now` by this server's clock: `open` says whether more is to come without anybody's doing."""

    now: str
    notification: dict[str, Any]
    timeline: list[Step]
    open: bool
    links: list[Link]
    note: str


def link(title: str, model: str, pk: str) -> Link:
    """The way to a row in the admin."""
    return Link(title, reverse(f"admin:{model}_change", args=[pk]))


def tell(event_id: UUID) -> Timeline | None:
    """A notification's timeline; None when it was never accepted.

    Raises DatabaseError (TooSlow for one) only where nothing is known of it without PostgreSQL.
    """
    with limited(TIMEOUT_MS):
        life = _life(event_id)
        known = _gather(life) if life else None
    return _told(known) if known else None


def _life(event_id: UUID) -> dict[str, Any] | None:
    try:
        life = lookup.life(event_id)
    except Invalid:
        # A schedule that this release cannot read.
        return None
    if life and life["id"] != str(event_id):
        # A dead letter that was corrected for another recipient: its event has a life of its own.
        return lookup.life(UUID(str(life["id"]))) or life
    return life


def _told(known: Known) -> Timeline:
    return Timeline(
        now=timestamp(timezone.now()),
        notification=known.life,
        timeline=[*_beginning(known), *_past(known), *_now(known)],
        open=_is_open(known),
        links=list(_links(known)),
        note="" if known.complete else WITHOUT_POSTGRESQL,
    )


def _gather(life: dict[str, Any]) -> Known:
    """Looked at after the life: what moved on meanwhile is told as it is now, and never as it was before."""
    event_id = UUID(life["id"])
    stored = life["status"] == "stored"
    in_flight = None if stored else states.in_flight(wiring.shards(), life["id"])
    holder = states.holder(wiring.shards(), life["id"], in_flight) if in_flight else None
    carried = _carried(in_flight)
    try:
        history = letters.history(event_id)
        failures = _each_once([*carried, *(history.failures if history else ()), *lookup.failures(event_id)])
        schedule = _schedule(life)
    except DatabaseError:
        if in_flight is None:
            raise
        return Known(life, in_flight, holder, None, carried, None, complete=False)
    return Known(life, in_flight, holder, history, failures, schedule, complete=True)


def _each_once(failures: Iterable[FailedAttempt]) -> list[FailedAttempt]:
    """Each attempt, with the most that is kept of its error: an event keeps less of earlier lives than a letter."""
    once: dict[tuple[int, int, int], FailedAttempt] = {}
    for failure in failures:
        key = (failure.life, failure.attempt, failure.at_ms)
        if key not in once or len(failure.error) > len(once[key].error):
            once[key] = failure
    return [once[key] for key in sorted(once)]


def _carried(in_flight: InFlight | None) -> Sequence[FailedAttempt]:
    """The failures that an event in flight carries."""
    try:
        return events.decode(in_flight.payload).failures if in_flight else ()
    except Invalid:
        return ()


def _schedule(life: dict[str, Any]) -> Schedule | None:
    if life["source"] != "schedule" or not events.is_id(life["source_id"] or ""):
        return None
    try:
        return door.look(UUID(life["source_id"]))
    except (Unknown, Unreadable):
        return None


def _beginning(known: Known) -> Iterator[Step]:
    """How it came in: by the API, in a bulk job, or by a schedule, which has a beginning of its own."""
    life = known.life
    if life["source"] != "schedule" or not events.is_id(life["source_id"] or ""):
        detail = "Its bulk job was accepted." if life["source"] == "bulk" else "The API answered 202: it is on disk."
        yield Step(at=life["accepted_at"], kind="accepted", title="Accepted", detail=detail)
        return
    schedule, own = known.schedule, life["source_id"] == life["id"]
    yield Step(
        at=timestamp_ms(events.accepted_ms(life["source_id"])),
        kind="scheduled",
        title="Scheduled" if own else "A schedule was made that sends it",
        by=schedule.about.by or None if schedule else None,
        until=timestamp_ms(schedule.about.at_ms) if own and schedule and schedule.about.at_ms else None,
    )
    if not own:
        yield Step(at=life["accepted_at"], kind="fired", title="Its schedule fired")
    elif life["status"] not in {"scheduled", "cancelled"}:
        yield Step(at=_fired_at(schedule), kind="fired", title="Its schedule fired")


def _fired_at(schedule: Schedule | None) -> str | None:
    """When a schedule that fires once did; until that is recorded, when it was due."""
    about = schedule.about if schedule else None
    fired_ms = about and (about.last_run_ms or about.at_ms)
    return timestamp_ms(fired_ms) if fired_ms else None


def _past(known: Known) -> Iterator[Step]:
    """Failures and what became of the dead letter, life by life: clocks of several machines told their times."""
    passages = known.history.passages if known.history else ()
    lived: list[tuple[int, FailedAttempt | Passage]] = [(failure.life, failure) for failure in known.failures]
    lived += [(passage.life, passage) for passage in passages]
    for _, members in groupby(sorted(lived, key=lambda one: one[0]), key=lambda one: one[0]):
        last: FailedAttempt | None = None
        for _, one in members:
            if isinstance(one, FailedAttempt):
                last = one
                yield _failed(one)
            else:
                yield _passed(one, last)
    if known.in_flight and known.in_flight.place == "dlq":
        yield _died(known.in_flight, known.failures)


def _failed(failure: FailedAttempt) -> Step:
    return Step(
        at=timestamp_ms(failure.at_ms),
        kind="attempt_failed",
        title=f"Attempt {failure.attempt} failed",
        error=failure.error,
        delay_ms=failure.delay_ms,
    )


def _passed(passage: Passage, last: FailedAttempt | None) -> Step:
    kind, title = BECAME[Kind(passage.kind)]
    return Step(
        at=timestamp(passage.at),
        kind=kind,
        title=title,
        detail=WHY_DEAD.get(passage.reason, passage.reason) if kind == "died" else "",
        by=passage.by or None,
        error=_unless_told(passage.error, last),
    )


def _died(letter: InFlight, failures: Sequence[FailedAttempt]) -> Step:
    """The death that is not recorded yet."""
    return Step(
        at=_moment(letter.since_ms),
        kind="died",
        title=BECAME[Kind.DIED][1],
        error=_unless_told(letter.error or "", failures[-1] if failures else None),
    )


def _unless_told(error: str, last: FailedAttempt | None) -> str | None:
    """The error of a death, unless the attempt that failed last says the very same."""
    return None if not error or (last and last.error == error) else error


def _now(known: Known) -> Iterator[Step]:
    """Where it is, and what comes next."""
    life, in_flight = known.life, known.in_flight
    if life["status"] == "stored":
        yield from _stored(known)
    elif in_flight and in_flight.place in {"live", "bulk"}:
        yield _in_lane(in_flight, known.holder)
    elif in_flight and in_flight.status == "retrying":
        attempt = f"attempt {life['attempts'] + 1}"
        yield Step(at=None, kind="waiting", title=f"Waits for {attempt}", until=_moment(in_flight.due_ms))
    elif in_flight and in_flight.status == "scheduled":
        yield Step(at=None, kind="waiting", title="Waits for its time", until=_moment(in_flight.due_ms))
    elif in_flight and in_flight.place == "dlq":
        yield Step(at=None, kind="waiting", title="Waits to be recorded", detail="A DLQ worker makes a row of it.")
    elif life["status"] == "cancelled":
        changed_ms = known.schedule.about.changed_ms if known.schedule else 0
        yield Step(at=_moment(changed_ms or None), kind="cancelled", title="Cancelled", detail="It is never sent.")
    else:
        yield from _settled(known)


def _stored(known: Known) -> Iterator[Step]:
    life = known.life
    by = f"By attempt {life['attempts']}. " if life["attempts"] > 1 else ""
    yield Step(
        at=life["stored_at"], kind="stored", title="Stored", detail=f"{by}It is number {life['seq']} in the inbox."
    )
    if life["read_at"]:
        yield Step(at=life["read_at"], kind="read", title="Read")
    else:
        yield Step(at=None, kind="unread", title="Not read yet", since=life["stored_at"])


def _in_lane(in_flight: InFlight, holder: str | None) -> Step:
    since = _moment(in_flight.since_ms)
    if holder:
        return Step(at=None, kind="handling", title="In the hands of a worker", detail=f"It is {holder}.", since=since)
    return Step(
        at=None, kind="waiting", title="Waits for a worker", detail=f"It is in the lane {in_flight.place}.", since=since
    )


def _settled(known: Known) -> Iterator[Step]:
    """What is neither a row nor in flight: a dead letter, or on its way from one place to the next."""
    status = Status(known.history.letter.status) if known.history else None
    if status == Status.DEAD:
        detail = "It stays a dead letter until somebody replays or discards it."
        yield Step(at=None, kind="waiting", title="Waits for a decision", detail=detail)
    elif status == Status.REPLAYING:
        yield Step(at=None, kind="waiting", title="Waits to be put into its lane", detail="A DLQ worker does that.")
    elif status != Status.DISCARDED:
        yield Step(at=None, kind="waiting", title="On its way")


def _is_open(known: Known) -> bool:
    if known.life["status"] == "stored":
        return False
    if known.in_flight:
        return known.in_flight.status != "cancelled"
    return known.life["status"] in {"scheduled", "queued", "retrying"}


def _links(known: Known) -> Iterator[Link]:
    life = known.life
    if life["recipient"]:
        yield Link("Inbox of the recipient", f"{reverse('inbox')}?{urlencode({'recipient': life['recipient']})}")
    if known.history:
        yield link("Dead letter", "dlq_deadletter", str(known.history.letter.pk))
    if life["source"] == "schedule" and known.schedule:
        yield link("Schedule", "scheduler_schedule", known.schedule.id)
    if life["source"] == "bulk" and life["source_id"]:
        yield link("Bulk job", "bulk_bulkjob", life["source_id"])
    if life["status"] == "stored":
        yield link("Row in the admin", "notifications_notification", life["id"])


def _moment(unix_ms: int | None) -> str | None:
    return None if unix_ms is None else timestamp_ms(unix_ms)
