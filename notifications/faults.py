"""Fault injection: an event's `data.fault` asks for trouble, where NOTIFY_FAULT_INJECTION allows it.

    {"fail": 2}         the first two attempts fail; -1: every one
    {"invalid": true}   fails for good
    {"crash": true}     kills the worker process at once
    {"sleep_ms": 250}   its handling takes so much longer

It is how tests, the dashboard's simulator and a curious user see retries and dead letters at work.
"""

import os
import signal
from typing import Annotated, Final

import msgspec
from django.conf import settings
from msgspec import Meta

from notifications import process
from notifications.events import Draft, Event
from notifications.exceptions import FieldError, Invalid, Retry

ALWAYS: Final = -1
MAX_SLEEP_MS: Final = 60_000
AT: Final = "/data/fault"
RULE: Final = (
    'must be an object with one or more of "fail" (a number of attempts, -1 for all), "invalid" (true or false), '
    f'"crash" (true or false) and "sleep_ms" (0 to {MAX_SLEEP_MS}), as NOTIFY_FAULT_INJECTION is on'
)


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The trouble that an event asks for."""

    fail: Annotated[int, Meta(ge=ALWAYS, le=1000)] = 0
    invalid: bool = False
    crash: bool = False
    sleep_ms: Annotated[int, Meta(ge=0, le=MAX_SLEEP_MS)] = 0


class _Data(msgspec.Struct):
    fault: Fault | None = None


_decoder: Final = msgspec.json.Decoder(_Data)


def check(draft: Draft, at: str = "") -> None:
    """At the door: raises Invalid for a `data.fault` that asks for what there is not."""
    if settings.NOTIFY.fault_injection and draft.data.get("fault") is not None:
        try:
            msgspec.convert(draft.data["fault"], Fault)
        except msgspec.ValidationError:
            raise Invalid([FieldError(f"{at}{AT}", RULE)]) from None


def may_be_asked_for() -> bool:
    """Whether an event that asks for trouble gets it."""
    return bool(settings.NOTIFY.fault_injection)


def suffer(event: Event) -> None:
    """In the worker, once an attempt: do what the event asks for. Raises Invalid, Retry, or process.Stopping."""
    if not may_be_asked_for() or b'"fault"' not in bytes(event.data):
        return
    fault = _asked_for(event)
    if fault.sleep_ms:
        process.pause(fault.sleep_ms / 1000)
    if fault.crash:
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.invalid:
        raise Invalid([FieldError(f"{AT}/invalid", "asks for an event that can never succeed")])
    if fault.fail == ALWAYS or event.attempts < fault.fail:
        raise Retry(f"{AT}/fail: attempt {event.attempts + 1} fails, as the event asks for")


def _asked_for(event: Event) -> Fault:
    """Events from before fault injection was switched on may hold anything there; they ask for nothing."""
    try:
        return _decoder.decode(event.data).fault or Fault()
    except msgspec.MsgspecError:
        return Fault()
