"""When a failed event is tried again, and when it is given up."""

import random
import time
from functools import cache
from typing import Final

import msgspec
from django.conf import settings

from notifications.events import Event

JITTER: Final = 0.1
MAX_ERROR_CHARACTERS: Final = 2000


def delay_ms(failed_attempts: int) -> int | None:
    """How long to wait after so many failed attempts, in milliseconds; None when they were the last.

    ±10 % of jitter, so that what failed together is not tried again together.
    """
    delays = _delays_seconds(settings.NOTIFY.retry_delays)
    if failed_attempts > len(delays):
        return None
    spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, protects nothing
    return round(delays[failed_attempts - 1] * 1000 * spread)


def after_failure(event: Event, error: str, attempts: int = 1) -> Event:
    """The event after so many failed attempts more, as the next one finds it."""
    return msgspec.structs.replace(
        event,
        attempts=event.attempts + attempts,
        last_error=error,
        first_failed_ms=event.first_failed_ms or time.time_ns() // 1_000_000,
    )


def error_text(error: BaseException) -> str:
    """What is kept of an error: its words, or its kind where it has none."""
    return (str(error).strip() or repr(error))[:MAX_ERROR_CHARACTERS]


@cache
def _delays_seconds(listed: str) -> tuple[float, ...]:
    return tuple(float(seconds) for seconds in listed.split(","))
