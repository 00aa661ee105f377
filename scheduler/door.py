"""The one door for schedules: the API, the admin and the command line come through here.

Making, changing and cancelling touch Redis only. What is over is looked up in PostgreSQL.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from notifications import events, failpoints, tracing, wiring
from notifications.access.rates import Charge
from notifications.events import Draft
from notifications.exceptions import Invalid, RateExceeded
from notifications.intake import Answer
from notifications.stream.once import Once, Pending, Replayed
from notifications.stream.schedules import Kept, Step
from scheduler import records, requests, schedule, shapes
from scheduler.exceptions import Changed, Restoring, TooLate, Unknown, Unreadable
from scheduler.models import Schedule as Row
from scheduler.requests import Asked
from scheduler.schedule import About, Schedule

# A schedule that is fired while it is being changed is looked at again; between two looks it fires rarely.
LOOKS: Final = 5


class _Promised(msgspec.Struct):
    """What an answer says of the schedule that its request makes."""

    id: str
    next_run_at: datetime


class _Accepted(msgspec.Struct):
    """What an answer says of the event that its request fires."""

    id: str
    status: str = "queued"


def make(document: bytes, by: str, once: Once | None = None, charge: Charge | None = None) -> Answer:
    """Make a schedule of a JSON document; the answer is the schedule. Raises Invalid, IdempotencyConflict, Refused.

    `charge`: what it takes from its caller's rate, 1; nothing, if not said.
    """
    charge = charge or Charge()
    try:
        asked = requests.parse(document, wiring.schedules().now_ms, by)
        charge.take(1)
    except (Invalid, RateExceeded):
        if once and (answer := _made_earlier(document, by, once)):
            return answer
        raise
    with charge.given_back_on_error():
        return _make(asked, once, charge)


def preview(document: bytes, by: str) -> Schedule:
    """The schedule that a document would make, under an id that nobody has."""
    return schedule.new(*_of(requests.parse(document, wiring.schedules().now_ms, by)))


def look(schedule_id: UUID) -> Schedule:
    """A schedule as it is now. Raises Unknown and Unreadable."""
    if kept := wiring.schedules().look(str(schedule_id)):
        return _read(kept)
    return of_row(_row(schedule_id))


def now_of(rows: list[Row]) -> list[Schedule]:
    """Rows, each as it is now; without those that only a newer release can read."""
    found = wiring.schedules().look_many(str(row.pk) for row in rows)
    known = []
    for row in rows:
        with suppress(Unreadable):
            kept = found.get(str(row.pk))
            known.append(_read(kept) if kept else of_row(row))
    return known


def next_runs(known: Schedule, count: int) -> list[dict[str, str | None]]:
    """The next times of a schedule, UTC and by its own clock."""
    return shapes.next_runs(known, count, _now_ms(known))


def change(schedule_id: UUID, document: bytes) -> Schedule:
    """Change what a JSON document names. Raises Unknown, TooLate, Changed, Invalid, Refused."""

    def changed(known: Schedule) -> Schedule:
        (draft, due_ms, about), revision = requests.parse_change(document, known, _now_ms(known))
        if revision not in {None, known.revision}:
            raise Changed
        return schedule.changed(known, draft, about, due_ms)

    return _replace(schedule_id, changed)


def cancel(schedule_id: UUID, revision: int | None = None) -> Schedule:
    """Cancel a schedule that waits; one that is cancelled stays so. Raises Unknown, TooLate, Changed, Refused."""

    def cancelled(known: Schedule) -> Schedule:
        if revision not in {None, known.revision}:
            raise Changed
        return schedule.cancelled(known, _now_ms(known))

    try:
        return _replace(schedule_id, cancelled)
    except TooLate:
        known = look(schedule_id)
        if known.status == "cancelled":
            return known
        raise


def run_now(schedule_id: UUID, once: Once | None = None) -> Answer:
    """Fire a schedule now; the answer is the event's id. One that comes again fires besides, and waits as before.

    Raises Unknown, TooLate, IdempotencyConflict, Refused.
    """
    # One for the whole request: a call whose answer was lost may have had its effect.
    event_id = events.new_id_beside(str(schedule_id))
    for _ in range(LOOKS):
        if answer := _run(look(schedule_id), event_id, once):
            return answer
    raise Changed


def of_row(row: Row) -> Schedule:
    """A schedule as PostgreSQL has it, when Redis has it no more."""
    known = _read(records.kept_of(row))
    last_run_ms = schedule.unix_ms(row.last_run_at) if row.last_run_at else None
    about = msgspec.structs.replace(known.about, runs=row.runs, last_run_ms=last_run_ms)
    return msgspec.structs.replace(known, about=about)


def _make(asked: Asked, once: Once | None, charge: Charge) -> Answer:
    made = schedule.new(*_of(asked))
    body = msgspec.json.encode(shapes.shown(made))
    failpoints.reach("schedule.parsed")
    if once is None:
        wiring.schedules().plan(schedule.to_kept(made), charge.since)
        return Answer(body)
    earlier = wiring.schedules().plan_once(schedule.to_kept(made), once, body, charge.since)
    if earlier is None:
        return Answer(body)
    charge.give_back()
    if isinstance(earlier, Pending):
        _finish(asked, once, earlier.answer)
    return Answer(earlier.answer, replayed=True)


def _read(kept: Kept) -> Schedule:
    try:
        return schedule.from_kept(kept)
    except (msgspec.MsgspecError, Invalid):
        raise Unreadable from None


def _of(asked: Asked) -> tuple[Draft, About, int]:
    return asked.draft, asked.about, asked.due_ms


def _made_earlier(document: bytes, by: str, once: Once) -> Answer | None:
    """The answer to the same request, which was no mistake then: its time was not in the past yet."""
    earlier = wiring.schedules().earlier(once)
    if isinstance(earlier, Pending):
        then_ms = events.accepted_ms(msgspec.json.decode(earlier.answer, type=_Promised).id)
        _finish(requests.parse(document, lambda _: then_ms, by), once, earlier.answer)
    return Answer(earlier.answer, replayed=True) if earlier else None


def _finish(asked: Asked, once: Once, answer: bytes) -> None:
    """Go on with a request that was begun and did not end: under the id, and for the time, in its answer."""
    promised = msgspec.json.decode(answer, type=_Promised)
    due_ms = schedule.unix_ms(promised.next_run_at)
    about = asked.about if asked.about.recurrence else msgspec.structs.replace(asked.about, at_ms=due_ms)
    made = schedule.new(asked.draft, about, due_ms, promised.id)
    wiring.schedules().finish(schedule.to_kept(made), once, answer)


def _replace(schedule_id: UUID, replaced: Callable[[Schedule], Schedule]) -> Schedule:
    for _ in range(LOOKS):
        known = _waiting(schedule_id)
        new = replaced(known)
        outcome = wiring.schedules().change(schedule.to_kept(known), schedule.to_kept(new))
        if outcome == "changed":
            return new
        if outcome == "over":
            raise TooLate(look(schedule_id).status)
    raise Changed


def _run(known: Schedule, fresh_id: str, once: Once | None) -> Answer | None:
    """Fire a schedule; None where it was changed since it was looked at.

    One that is over is tried all the same: it may be this very request that fired it, and its key knows.
    """
    if known.status != "scheduled" and once is None:
        raise TooLate(known.status)
    event_id = fresh_id if known.recurs else known.id
    body = msgspec.json.encode(_Accepted(event_id))
    outcome = wiring.schedules().run(_step(known, event_id), once, body)
    if isinstance(outcome, Pending) and once is not None:
        return _run_as_promised(known, once, outcome.answer)
    if isinstance(outcome, Replayed):
        return Answer(outcome.answer, replayed=True)
    if outcome == "accepted":
        return Answer(body)
    _check_stale(known, outcome)
    return None


def _run_as_promised(known: Schedule, once: Once, answer: bytes) -> Answer | None:
    """Go on with a request that was begun and did not end: under the id in its answer."""
    promised = msgspec.json.decode(answer, type=_Accepted).id
    outcome = wiring.schedules().run_reserved(_step(known, promised), once, answer)
    # One that fires once has fired, under that id: whether by that request or at its time makes no difference.
    if outcome == "accepted" or (known.status == "fired" and promised == known.id):
        return Answer(answer, replayed=True)
    _check_stale(known, outcome)
    return None


def _check_stale(known: Schedule, outcome: object) -> None:
    """Raise why a schedule cannot be fired, unless that is just that it was changed since it was looked at."""
    if outcome != "stale":
        _waiting(UUID(known.id))


def _step(known: Schedule, event_id: str) -> Step:
    event = msgspec.structs.replace(known.event, id=event_id, traceparent=tracing.carried())
    return schedule.step(known, schedule.ran_now(known, _now_ms(known)), event)


def _now_ms(known: Schedule) -> int:
    return wiring.schedules().now_ms(known.event.recipient)


def _waiting(schedule_id: UUID) -> Schedule:
    """A schedule that waits in Redis, where it can be changed. Raises Unknown, TooLate and Restoring."""
    if kept := wiring.schedules().look(str(schedule_id)):
        known = _read(kept)
        if known.status != "scheduled":
            raise TooLate(known.status)
        return known
    row = _row(schedule_id)
    if row.status == Row.Status.SCHEDULED:
        raise Restoring
    raise TooLate(row.get_status_display())


def _row(schedule_id: UUID) -> Row:
    row = Row.objects.filter(pk=schedule_id).first()
    if row is None:
        raise Unknown
    return row
