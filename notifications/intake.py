"""The one door in. API, command line, and later schedules, bulk and replay all come through here.

It touches Redis only: what it accepts is on disk there, and PostgreSQL may be down.
"""

import hashlib
from typing import Final

import msgspec
from django.conf import settings

from notifications import events, failpoints, faults, reporting, wiring
from notifications.events import Draft, Event
from notifications.exceptions import FieldError, Invalid
from notifications.stream.keys import Lane
from notifications.stream.once import Once, Pending, Replayed

MAX_BATCH: Final = 1000


class Accepted(msgspec.Struct, frozen=True):
    """One accepted event, as its producer is told."""

    id: str
    status: str = "queued"


class Rejected(msgspec.Struct, frozen=True):
    """One event of a batch that breaks rules, and which."""

    errors: list[FieldError]
    status: str = "rejected"


class BatchAnswer(msgspec.Struct, frozen=True):
    """What became of a batch: one result an event, in the batch's order."""

    accepted: int
    rejected: int
    results: list[Accepted | Rejected]


class Answer(msgspec.Struct, frozen=True):
    """The JSON that a producer gets, and whether it is the answer to an earlier request with the same key."""

    body: bytes
    replayed: bool = False


class _BatchRequest(msgspec.Struct, forbid_unknown_fields=True):
    notifications: list[msgspec.Raw]


class _Ids(msgspec.Struct):
    """The ids in an answer, single or batch, whichever it is."""

    id: str | None = None
    results: "list[_Ids]" = []


def parse(document: bytes | msgspec.Raw, *, at: str = "") -> Draft:
    """The draft in a JSON document that stands at the pointer `at`. Raises Invalid with every broken rule."""
    draft = events.parse(document, at=at)
    faults.check(draft, at)
    return draft


def idempotency(caller: str, key: str, endpoint: str, body: bytes) -> Once:
    """The record of a request that takes effect once, for as long as NOTIFY_IDEMPOTENCY_HOURS says."""
    fingerprint = hashlib.sha256(endpoint.encode() + b"\n" + body).hexdigest()[:32]
    return Once(
        caller=caller,
        digest=hashlib.sha256(key.encode()).hexdigest(),
        fingerprint=fingerprint,
        seconds=settings.NOTIFY.idempotency_hours * 3600,
    )


def accept_one(document: bytes, once: Once | None = None) -> Answer:
    """Accept the event in a JSON document. Raises Invalid, IdempotencyConflict, Refused or RedisError."""
    draft = parse(document)
    event_id = events.new_id(draft.recipient)
    return _accept([draft], [event_id], msgspec.json.encode(Accepted(event_id)), once)


def accept_batch(document: bytes, once: Once | None = None) -> Answer:
    """Accept each valid event of `{"notifications": [event, …]}`; the others are rejected one by one."""
    results: list[Accepted | Rejected] = []
    drafts: list[Draft] = []
    for number, part in enumerate(_parts(document)):
        try:
            draft = parse(part, at=f"/notifications/{number}")
        except Invalid as invalid:
            results.append(Rejected(invalid.errors))
        else:
            drafts.append(draft)
            results.append(Accepted(events.new_id(draft.recipient)))
    ids = [result.id for result in results if isinstance(result, Accepted)]
    answer = BatchAnswer(len(drafts), len(results) - len(drafts), results)
    return _accept(drafts, ids, msgspec.json.encode(answer), once)


def send(draft: Draft) -> str:
    """Accept one event of our own (a command, a page); returns its id."""
    event_id = events.new_id(draft.recipient)
    wiring.writer().add([events.accept(draft, event_id)])
    return event_id


def readmit(batch: list[Event], lane: Lane = "live") -> None:
    """Take dead events in again, under the ids they have. Repeating it is harmless.

    Raises BacklogFull or RedisError, and then some may be in: repeat it.
    """
    wiring.writer(lane).readmit(batch)


def _accept(drafts: list[Draft], ids: list[str], body: bytes, once: Once | None) -> Answer:
    batch = _events(drafts, ids)
    failpoints.reach("intake.parsed")
    if once is None:
        wiring.writer().add(batch)
        failpoints.reach("intake.accepted")
        reporting.handled(len(batch))
        return Answer(body)
    earlier = wiring.writer().add_once(batch, once, body)
    if isinstance(earlier, Pending):
        # Begun by a request that did not end: go on under its ids, which are in its answer.
        wiring.writer().finish(_events(drafts, _ids_in(earlier.answer)), once, earlier.answer)
    if isinstance(earlier, Pending | Replayed):
        return Answer(earlier.answer, replayed=True)
    reporting.handled(len(batch))
    return Answer(body)


def _events(drafts: list[Draft], ids: list[str]) -> list[Event]:
    return [events.accept(draft, event_id) for draft, event_id in zip(drafts, ids, strict=True)]


def _ids_in(answer: bytes) -> list[str]:
    found = msgspec.json.decode(answer, type=_Ids)
    return [part.id for part in (found, *found.results) if part.id is not None]


def _parts(document: bytes) -> list[msgspec.Raw]:
    try:
        parts = msgspec.json.decode(document, type=_BatchRequest).notifications
    except msgspec.ValidationError as error:
        raise Invalid([FieldError(*_batch_fault(str(error)))]) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Invalid([FieldError("", events.NOT_JSON)]) from None
    if not 1 <= len(parts) <= MAX_BATCH:
        raise Invalid([FieldError("/notifications", f"must have 1 to {MAX_BATCH} events")])
    return parts


def _batch_fault(error: str) -> tuple[str, str]:
    """Which rule of the batch's frame a document breaks, from msgspec's words."""
    if "unknown field" in error:
        return "", "has a field besides 'notifications'"
    return "/notifications", f"is required, a list of 1 to {MAX_BATCH} events"
