"""When something is to be done, as requests say it: `at` a time, or after a `delay`. No I/O."""

import math
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from notifications.exceptions import FieldError, Invalid
from notifications.representation import timestamp_ms

# An appointment that was a moment ago when it was made still counts: clocks differ, and requests take time.
GRACE_MS: Final = 60_000
# Where datetime is about to end.
LAST: Final = datetime(9000, 1, 1, tzinfo=UTC)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MS: Final = (LAST - EPOCH) // timedelta(milliseconds=1)

AT_RULE: Final = "must be a time with its zone (RFC 3339), 2026-12-24T18:00:00Z for one"
FAR_RULE: Final = "must be before the year 9000"
DELAY_RULE: Final = "must be a number of seconds, 0 or more"


def at(value: object, now_ms: int) -> int:
    """The Unix ms that `at` means, now at the earliest. Raises Invalid."""
    try:
        when = msgspec.convert(value, datetime)
        if when.tzinfo is None:
            raise Invalid([FieldError("/at", AT_RULE)])
        when = when.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise Invalid([FieldError("/at", AT_RULE)]) from None
    if when >= LAST:
        raise Invalid([FieldError("/at", FAR_RULE)])
    # A part of a millisecond counts as a whole one, so that nothing is early.
    due_ms = -((EPOCH - when) // timedelta(milliseconds=1))
    if due_ms < now_ms - GRACE_MS:
        past = f"must not be in the past: it is {timestamp_ms(now_ms)} (a time up to 60 seconds ago is taken as now)"
        raise Invalid([FieldError("/at", past)])
    return max(due_ms, now_ms)


def after(value: object, now_ms: int) -> int:
    """The Unix ms at which a `delay` that begins now is over. Raises Invalid."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise Invalid([FieldError("/delay", DELAY_RULE)])
    # Compared before it is multiplied: a number of four hundred digits is none that a float can be.
    if value > LAST_MS or (due_ms := now_ms + math.ceil(value * 1000)) >= LAST_MS:
        raise Invalid([FieldError("/delay", f"is too long: the time {FAR_RULE}")])
    return due_ms
