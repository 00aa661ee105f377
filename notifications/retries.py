"""When a failed event is tried again, and when it is given up."""

import random
import time
from functools import cache
from typing import Final

import msgspec
from django.conf import settings

from notifications.events import Event, FailedAttempt

JITTER: Final = 0.1
MAX_ERROR_CHARACTERS: Final = 2000
# What an event carries of its failures goes through the stream with each attempt: so many, so much of each error, less
# of an error of an earlier life, and so many bytes of JSON of all.
MAX_KEPT: Final = 50
MAX_KEPT_CHARACTERS: Final = 1000
MAX_EARLIER_CHARACTERS: Final = 200
MAX_KEPT_BYTES: Final = 8 * 1024


def delay_ms(failed_attempts: int) -> int | None:
    """How long to wait after so many failed attempts, in milliseconds; None when they were the last.

    ±10 % of jitter, so that what failed together is not tried again together.
    """
    delays = _delays_seconds(settings.NOTIFY.retry_delays)
    if failed_attempts > len(delays):
        return None
    spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, protects nothing
    return round(delays[failed_attempts - 1] * 1000 * spread)


def after_failure(event: Event, error: str, attempts: int = 1, *, delay_ms: int | None = None) -> Event:
    """The event after so many failed attempts more, as the next one finds it after `delay_ms` (None: there is none)."""
    now_ms = time.time_ns() // 1_000_000
    failure = FailedAttempt(
        at_ms=now_ms, attempt=event.attempts + attempts, error=_kept(error), delay_ms=delay_ms, life=event.life
    )
    return msgspec.structs.replace(
        event,
        attempts=event.attempts + attempts,
        last_error=error,
        first_failed_ms=event.first_failed_ms or now_ms,
        failures=_bounded((*event.failures, failure)),
    )


def error_text(error: BaseException) -> str:
    """What is kept of an error: its words, or its kind where it has none."""
    return (str(error).strip() or repr(error))[:MAX_ERROR_CHARACTERS]


def _kept(error: str) -> str:
    """As much of an error as is kept of each, as PostgreSQL takes it: without NUL and lone surrogates."""
    text = error.encode(errors="replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return _cut(text, MAX_KEPT_CHARACTERS)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def _bounded(failures: tuple[FailedAttempt, ...]) -> tuple[FailedAttempt, ...]:
    """The first, which tells how it began, and as many of the newest as there is room for; earlier lives in short."""
    newest = failures[-1]
    first, *others = [one if one.life == newest.life else _in_short(one) for one in failures]
    if others and _bytes(first) + _bytes(newest) > MAX_KEPT_BYTES:
        first = _in_short(first)
    left, kept = MAX_KEPT_BYTES - _bytes(first), list[FailedAttempt]()
    for one in reversed(others[1 - MAX_KEPT :]):
        left -= _bytes(one)
        if left < 0:
            break
        kept.append(one)
    return (first, *reversed(kept))


def _in_short(failure: FailedAttempt) -> FailedAttempt:
    return msgspec.structs.replace(failure, error=_cut(failure.error, MAX_EARLIER_CHARACTERS))


def _bytes(failure: FailedAttempt) -> int:
    """How many bytes a failure takes in an event's JSON, with its comma."""
    return len(msgspec.json.encode(failure)) + 1


@cache
def _delays_seconds(listed: str) -> tuple[float, ...]:
    return tuple(float(seconds) for seconds in listed.split(","))
