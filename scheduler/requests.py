"""What a request for a schedule says: an event and a time, in one JSON object. No I/O."""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from notifications import events, intake, when
from notifications.events import Draft
from notifications.exceptions import FieldError, Invalid
from scheduler import recurrence, schedule
from scheduler.recurrence import BadRecurrence, Recurrence
from scheduler.schedule import About, Schedule

TIMES: Final = ("at", "delay", "daily", "cron")
RECURRING: Final = ("daily", "cron")
TIMING: Final = (*TIMES, "timezone", "catch_up")
CONTENT: Final = Draft.__struct_fields__

ONE_TIME: Final = "must have exactly one of: at, delay, daily, cron"
TEXT_RULE: Final = "must be a text"
# No set: what is asked for may be a list, which has no hash.
CATCH_UPS: Final = ("once", "all")
CATCH_UP_RULE: Final = "must be once or all"
RECURRING_ONLY: Final = "is for daily and cron only"
RECIPIENT_STAYS: Final = "cannot be changed: cancel this schedule and make another"
REVISION_RULE: Final = "must be the 'revision' of the schedule as you saw it, a whole number"


class Asked(NamedTuple):
    """What is asked for: an event, when it is due (Unix ms) and what is to be known about it."""

    draft: Draft
    due_ms: int
    about: About


class Change(NamedTuple):
    """What is to be changed, and the revision that the caller looked at, where that was said."""

    asked: Asked
    revision: int | None


# The server's time, Unix ms, where a recipient's schedules are kept: it is what tells that they are due.
Clock = Callable[[str], int]


def parse(document: bytes, clock: Clock, by: str) -> Asked:
    """A request for a new schedule. Raises Invalid with every broken rule."""
    fields = _fields(document)
    timing, content = _split(fields)
    errors: list[FieldError] = []
    draft = _collect(errors, lambda: _draft(content))
    now_ms = clock(draft.recipient if draft else "")
    time = _collect(errors, lambda: _time(timing, now_ms))
    if draft is None or time is None:
        raise Invalid(errors)
    due_ms, about = time
    return Asked(draft, due_ms, msgspec.structs.replace(about, by=by, changed_ms=now_ms))


def parse_change(document: bytes, known: Schedule, now_ms: int) -> Change:
    """A request to change a schedule: only what is given is another. Raises Invalid with every broken rule."""
    fields = _fields(document)
    errors: list[FieldError] = []
    revision = _collect(errors, lambda: _revision(fields.pop("revision", None)))
    timing, content = _split(fields)
    draft = _collect(errors, lambda: _changed_draft(content, known))
    time = _collect(errors, lambda: _changed_time(timing, known, now_ms))
    if errors or draft is None or time is None:
        raise Invalid(errors)
    due_ms, about = time
    about = msgspec.structs.replace(
        about,
        by=known.about.by,
        runs=known.about.runs,
        last_run_ms=known.about.last_run_ms,
        changed_ms=now_ms,
    )
    return Change(Asked(draft, due_ms, about), revision)


def _collect(errors: list[FieldError], read: Any) -> Any:  # noqa: ANN401 - whatever is read
    """What `read` answers; None where it raises Invalid, whose errors are added to those of the other half."""
    try:
        return read()
    except Invalid as invalid:
        errors += invalid.errors
        return None


def _fields(document: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(document, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise Invalid([FieldError("", "must be a JSON object with the fields of an event and its time")]) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Invalid([FieldError("", events.NOT_JSON)]) from None


def _split(fields: dict[str, msgspec.Raw]) -> tuple[dict[str, msgspec.Raw], dict[str, msgspec.Raw]]:
    """The fields that say when, and the others, which say what."""
    timing = {name: value for name, value in fields.items() if name in TIMING}
    return timing, {name: value for name, value in fields.items() if name not in TIMING}


def _draft(content: dict[str, msgspec.Raw]) -> Draft:
    return intake.parse(msgspec.json.encode(content))


def _changed_draft(content: dict[str, msgspec.Raw], known: Schedule) -> Draft:
    current = {name: msgspec.Raw(msgspec.json.encode(getattr(known.event, name))) for name in CONTENT}
    draft = _draft({**current, **content})
    if draft.recipient != known.event.recipient:
        raise Invalid([FieldError("/recipient", RECIPIENT_STAYS)])
    return draft


def _revision(raw: msgspec.Raw | None) -> int | None:
    if raw is None:
        return None
    value = _value(raw)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid([FieldError("/revision", REVISION_RULE)])
    return value


def _time(timing: dict[str, msgspec.Raw], now_ms: int) -> tuple[int, About]:
    """When a schedule is due, and what it keeps of how that was said."""
    given = [name for name in TIMES if name in timing]
    if len(given) != 1:
        raise Invalid([FieldError("", ONE_TIME)])
    values = {name: _value(raw) for name, raw in timing.items()}
    if given[0] in RECURRING:
        return _recurring(values, now_ms)
    if misplaced := [FieldError(f"/{name}", RECURRING_ONLY) for name in ("timezone", "catch_up") if name in values]:
        raise Invalid(misplaced)
    due_ms = when.at(values["at"], now_ms) if "at" in values else when.after(values["delay"], now_ms)
    return due_ms, About(at_ms=due_ms)


def _changed_time(timing: dict[str, msgspec.Raw], known: Schedule, now_ms: int) -> tuple[int, About]:
    if not timing:
        return known.due_ms or now_ms, known.about
    recurring = known.about.recurrence
    if not recurring and not any(name in timing for name in TIMES):
        raise Invalid([FieldError(f"/{name}", RECURRING_ONLY) for name in timing])
    if recurring and not any(name in timing for name in TIMES):
        current = {"daily": recurring.daily} if recurring.daily else {"cron": recurring.cron}
        timing = {**{name: msgspec.Raw(msgspec.json.encode(value)) for name, value in current.items()}, **timing}
    # A zone stays as it is while another time of day is given, and so does what happens after a miss.
    if recurring and any(name in timing for name in RECURRING):
        kept = {"timezone": recurring.timezone, "catch_up": known.about.catch_up}
        timing = {**{name: msgspec.Raw(msgspec.json.encode(value)) for name, value in kept.items()}, **timing}
    due_ms, about = _time(timing, now_ms)
    # What is overdue stays so, where only what happens after a miss is another.
    return (known.due_ms or due_ms if about.recurrence and about.recurrence == recurring else due_ms), about


def _recurring(values: dict[str, object], now_ms: int) -> tuple[int, About]:
    errors = list(_recurring_errors(values))
    if errors:
        raise Invalid(errors)
    named: Any = {name: values[name] for name in (*RECURRING, "timezone") if name in values}
    rule = Recurrence(**named)
    try:
        recurrence.check(rule)
    except BadRecurrence as bad:
        raise Invalid([FieldError(f"/{bad.field}", bad.rule)]) from None
    following = recurrence.next_after(rule, schedule.moment(now_ms))
    if following is None:
        raise Invalid([FieldError(f"/{'daily' if rule.daily else 'cron'}", recurrence.NEVER_RULE)])
    catch_up: Any = values.get("catch_up", "once")
    return schedule.unix_ms(following), About(recurrence=rule, catch_up=catch_up)


def _recurring_errors(values: dict[str, object]) -> Iterator[FieldError]:
    for name in (*RECURRING, "timezone"):
        if name in values and not isinstance(values[name], str):
            yield FieldError(f"/{name}", TEXT_RULE)
    if values.get("catch_up", "once") not in CATCH_UPS:
        yield FieldError("/catch_up", CATCH_UP_RULE)


def _value(raw: msgspec.Raw) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Invalid([FieldError("", events.NOT_JSON)]) from None
