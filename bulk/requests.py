"""What a request for a bulk job says: a notification, to whom, how fast and when. No I/O.

The notification is an event without a recipient, and is checked as one, with somebody put in.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import msgspec

from bulk import recipients
from bulk.recipients import Batch
from notifications import events, intake, when
from notifications.access.keys import RATE, RATE_RULE
from notifications.events import Draft
from notifications.exceptions import FieldError, Invalid

T = TypeVar("T")
Fields = dict[str, msgspec.Raw]

SOMEBODY: Final = msgspec.Raw(b'"somebody"')
RUNNING: Final[tuple[str, ...]] = ("rate", "at", "delay")
INLINE: Final = ("recipients", "notification", *RUNNING)

OBJECT_RULE: Final = "must be a JSON object with the fields of a notification"
INLINE_RULE: Final = f"must be a JSON object, its fields any of: {', '.join(sorted(INLINE))}"
UNKNOWN_RULE: Final = f"is not one of: {', '.join(sorted(INLINE))}"
RECIPIENT_RULE: Final = "is not a field of a bulk's notification: its recipients are the list's"
ONE_TIME: Final = "must have at most one of: at, delay"


class Running(NamedTuple):
    """How a job runs: `rate_limit` as it is written, `500/s` (empty: none). It begins at a time, Unix ms, or so many
    milliseconds after all of its list is here."""

    rate_limit: str = ""
    at_ms: int | None = None
    delay_ms: int = 0


class Content(NamedTuple):
    """A job but for its recipients: what all of them get, addressed to somebody, and how it runs."""

    draft: Draft
    running: Running = Running()


class Inline(NamedTuple):
    """A whole request in one JSON object."""

    content: Content
    batch: Batch


def parse(document: bytes, now_ms: int) -> Content:
    """A job without its recipients: the notification's fields, and `rate`, `at` or `delay` beside them.

    Raises Invalid with every broken rule.
    """
    fields = _object(document, "", OBJECT_RULE)
    ways = {name: fields.pop(name) for name in RUNNING if name in fields}
    errors: list[FieldError] = []
    draft = _gather(errors, lambda: _draft(fields, ""))
    running = _gather(errors, lambda: _running(ways, now_ms))
    if draft is None or running is None:
        raise Invalid(errors)
    return Content(draft, running)


def parse_inline(document: bytes, now_ms: int) -> Inline:
    """A whole request. Raises Invalid with every broken rule; ids that are none are in the batch."""
    fields = _object(document, "", INLINE_RULE)
    errors = [FieldError(f"/{events.pointer_token(name)}", UNKNOWN_RULE) for name in fields.keys() - set(INLINE)]
    batch = _gather(errors, lambda: _batch(fields))
    draft = _gather(errors, lambda: _notification(fields))
    running = _gather(errors, lambda: _running(fields, now_ms))
    if errors or batch is None or draft is None or running is None:
        raise Invalid(errors)
    return Inline(Content(draft, running), batch)


def _gather(errors: list[FieldError], read: Callable[[], T]) -> T | None:
    """What `read` answers; None where it raises Invalid, whose errors are added to those of the other parts."""
    try:
        return read()
    except Invalid as invalid:
        errors += invalid.errors
        return None


def _object(document: bytes | msgspec.Raw, at: str, rule: str) -> Fields:
    try:
        return msgspec.json.decode(document, type=Fields)
    except msgspec.ValidationError:
        raise Invalid([FieldError(at, rule)]) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Invalid([FieldError(at, events.NOT_JSON)]) from None


def _required(fields: Fields, name: str) -> msgspec.Raw:
    if name not in fields:
        raise Invalid([FieldError(f"/{name}", events.REQUIRED)])
    return fields[name]


def _batch(fields: Fields) -> Batch:
    return recipients.of_list(_required(fields, "recipients"), "/recipients")


def _notification(fields: Fields) -> Draft:
    at = "/notification"
    return _draft(_object(_required(fields, "notification"), at, OBJECT_RULE), at)


def _draft(fields: Fields, at: str) -> Draft:
    """The draft of a notification that stands at the pointer `at`."""
    # One that names a recipient is refused for that, whoever it is.
    errors = [FieldError(f"{at}/recipient", RECIPIENT_RULE)] if "recipient" in fields else []
    draft = _gather(errors, lambda: intake.parse(msgspec.json.encode({**fields, "recipient": SOMEBODY}), at=at))
    if errors or draft is None:
        raise Invalid(errors)
    return draft


def _running(fields: Fields, now_ms: int) -> Running:
    values = {name: _value(fields[name], name) for name in RUNNING if name in fields}
    errors: list[FieldError] = []
    rate_limit = _gather(errors, lambda: _rate(values.get("rate")))
    start = _gather(errors, lambda: _start(values, now_ms))
    if rate_limit is None or start is None:
        raise Invalid(errors)
    return Running(rate_limit, *start)


def _rate(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not RATE.fullmatch(value):
        raise Invalid([FieldError("/rate", RATE_RULE)])
    return value


def _start(values: dict[str, object], now_ms: int) -> tuple[int | None, int]:
    """A time, and milliseconds after all is here."""
    if "at" in values and "delay" in values:
        raise Invalid([FieldError("", ONE_TIME)])
    if "at" in values:
        return when.at(values["at"], now_ms), 0
    return None, when.after(values["delay"], now_ms) - now_ms if "delay" in values else 0


def _value(raw: msgspec.Raw, name: str) -> object:
    try:
        value: object = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Invalid([FieldError(f"/{name}", events.NOT_JSON)]) from None
    return value
