"""The one door in. API, command line, and later schedules, bulk and replay all come through here.

It touches Redis only: what it accepts is on disk there, and PostgreSQL may be down.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from django.conf import settings

from notifications import events, failpoints, faults, metrics, reporting, tracing, wiring
from notifications.access.rates import Charge
from notifications.events import Draft, Event
from notifications.exceptions import CallerChanged, FieldError, Invalid, RateExceeded
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


class _ValidBatch(msgspec.Struct, forbid_unknown_fields=True):
    notifications: list[Draft]


class _Ids(msgspec.Struct):
    """The ids in an answer, single or batch, whichever it is."""

    id: str | None = None
    results: "list[_Ids]" = []


_valid_batch_decoder: Final = msgspec.json.Decoder(_ValidBatch)


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


def accept_one(document: bytes, once: Once | None = None, charge: Charge | None = None) -> Answer:
    """Accept the event in a JSON document. Raises Invalid, IdempotencyConflict, Refused or RedisError.

    `charge`: the request's; if not said, it takes from the recipient's rate only.
    """
    draft = parse(document)
    event_id = events.new_id(draft.recipient)
    charge = charge or Charge()
    body = msgspec.json.encode(Accepted(event_id))
    if charge.toll:
        return _admit([draft], [event_id], body, once, charge)
    with charge.given_back_on_error():
        try:
            charge.take(1)
            charge.take_for(draft.recipient)
        except RateExceeded:
            if answer := _earlier([draft], once):
                return answer
            raise
        return _accept([draft], [event_id], body, once, charge)


def accept_batch(document: bytes, once: Once | None = None, charge: Charge | None = None) -> Answer:
    """Accept each valid event of `{"notifications": [event, …]}`; the others are rejected one by one.

    So are those whose recipient's rate has no room left. What the caller's rate has no room for is refused as a whole.
    """
    parsed = _parse_batch(document)
    charge = charge or Charge()
    if charge.toll:
        return _admit(parsed, *_answer(parsed, charge), once, charge)
    with charge.given_back_on_error():
        try:
            charge.take(sum(isinstance(one, Draft) for one in parsed))
        except (RateExceeded, Invalid):
            if answer := _earlier(parsed, once):
                return answer
            raise
        ids, body = _answer(parsed, charge)
        _count_invalid(parsed)
        return _accept(parsed, ids, body, once, charge)


def send(draft: Draft) -> str:
    """Accept one event of our own (a command, a page); returns its id."""
    event_id = events.new_id(draft.recipient)
    wiring.writer().add([events.accept(draft, event_id, traceparent=tracing.carried())])
    return event_id


def readmit(batch: list[Event], lane: Lane = "live") -> None:
    """Take dead events in again, under the ids they have. Repeating it is harmless.

    Raises BacklogFull or RedisError, and then some may be in: repeat it.
    """
    wiring.writer(lane).readmit(batch)


def _parse_batch(document: bytes) -> list[Draft | Rejected]:
    """Each event of a batch, or why it is rejected. Raises Invalid where the batch itself is."""
    try:
        drafts = _valid_batch_decoder.decode(document).notifications
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Something is wrong with one of them, or with all: each is looked at by itself.
        return [_or_rejected(parse, part, number) for number, part in enumerate(_parts(document))]
    _check_count(drafts)
    return [_or_rejected(_checked, draft, number) for number, draft in enumerate(drafts)]


def _or_rejected(check: Callable[..., Draft], what: msgspec.Raw | Draft, number: int) -> Draft | Rejected:
    try:
        return check(what, at=f"/notifications/{number}")
    except Invalid as invalid:
        return Rejected(invalid.errors)


def _checked(draft: Draft, *, at: str) -> Draft:
    """A draft that is decoded already, with the rules that `parse` checks besides. Raises Invalid."""
    events.check(draft, at=at)
    faults.check(draft, at)
    return draft


def _answer(parsed: list[Draft | Rejected], charge: Charge) -> tuple[list[str | None], bytes]:
    """The ids of a batch's events, None of what is rejected; and the answer that tells them."""
    results = _results(parsed, charge)
    ids = [result.id if isinstance(result, Accepted) else None for result in results]
    count = len(ids) - ids.count(None)
    return ids, msgspec.json.encode(BatchAnswer(count, len(ids) - count, results))


def _count_invalid(parsed: Sequence[Draft | Rejected]) -> None:
    if rejected := sum(isinstance(one, Rejected) for one in parsed):
        metrics.refused.labels("invalid").inc(rejected)


def _results(parsed: list[Draft | Rejected], charge: Charge) -> list[Accepted | Rejected]:
    """What becomes of each event of a batch; those are rejected, too, that their recipients have no room for."""
    recipients = [draft.recipient for draft in parsed if isinstance(draft, Draft)]
    full, ids = iter(charge.take_each(recipients)), iter(events.new_ids(recipients))
    results: list[Accepted | Rejected] = []
    for number, one in enumerate(parsed):
        if isinstance(one, Rejected):
            results.append(one)
            continue
        event_id, detail = next(ids), next(full)
        if detail:
            metrics.refused.labels("recipient_rate").inc()
            results.append(Rejected([FieldError(f"/notifications/{number}/recipient", detail)]))
        else:
            results.append(Accepted(event_id))
    return results


def _accept(
    parsed: Sequence[Draft | Rejected], ids: Sequence[str | None], body: bytes, once: Once | None, charge: Charge
) -> Answer:
    batch = _events(parsed, ids)
    failpoints.reach("intake.parsed")
    if once is None:
        wiring.writer().add(batch, charge.since)
        failpoints.reach("intake.accepted")
    elif earlier := wiring.writer().add_once(batch, once, body, charge.since):
        charge.give_back()
        return _again(parsed, once, earlier)
    reporting.handled(len(batch))
    return Answer(body)


def _admit(
    parsed: Sequence[Draft | Rejected], ids: Sequence[str | None], body: bytes, once: Once | None, charge: Charge
) -> Answer:
    """Accept where one script looks after the caller and its rate as well. Raises CallerChanged where that has to be
    done beforehand, as there is more to say of either."""
    batch = _events(parsed, ids)
    if charge.toll is None or not charge.fits(len(batch)):
        raise CallerChanged
    failpoints.reach("intake.parsed")
    earlier, standing = wiring.writer().admit(batch, charge.toll, once, body)
    if once and earlier:
        charge.stands(standing)
        _count_invalid(parsed)
        return _again(parsed, once, earlier)
    charge.taken(len(batch), standing)
    _count_invalid(parsed)
    if once is None:
        failpoints.reach("intake.accepted")
    reporting.handled(len(batch))
    return Answer(body)


def _earlier(parsed: Sequence[Draft | Rejected], once: Once | None) -> Answer | None:
    """The answer to the same request, made before: that is given again, whatever the rate says by now."""
    earlier = wiring.writer().earlier(once) if once else None
    return _again(parsed, once, earlier) if once and earlier else None


def _again(parsed: Sequence[Draft | Rejected], once: Once, earlier: Replayed | Pending) -> Answer:
    if isinstance(earlier, Pending):
        # Begun by a request that did not end: go on under its ids, which are in its answer.
        wiring.writer().finish(_events(parsed, _ids_in(earlier.answer)), once, earlier.answer)
    return Answer(earlier.answer, replayed=True)


def _events(parsed: Sequence[Draft | Rejected], ids: Sequence[str | None]) -> list[Event]:
    pairs = zip(parsed, ids, strict=True)
    traceparent = tracing.carried()
    return [
        events.accept(draft, event_id, traceparent=traceparent)
        for draft, event_id in pairs
        if event_id and isinstance(draft, Draft)
    ]


def _ids_in(answer: bytes) -> list[str | None]:
    found = msgspec.json.decode(answer, type=_Ids)
    return [part.id for part in found.results or [found]]


def _parts(document: bytes) -> list[msgspec.Raw]:
    try:
        parts = msgspec.json.decode(document, type=_BatchRequest).notifications
    except msgspec.ValidationError as error:
        raise Invalid([FieldError(*_batch_fault(str(error)))]) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Invalid([FieldError("", events.NOT_JSON)]) from None
    _check_count(parts)
    return parts


def _check_count(batch: Sequence[object]) -> None:
    if not 1 <= len(batch) <= MAX_BATCH:
        raise Invalid([FieldError("/notifications", f"must have 1 to {MAX_BATCH} events")])


def _batch_fault(error: str) -> tuple[str, str]:
    """Which rule of the batch's frame a document breaks, from msgspec's words."""
    if "unknown field" in error:
        return "", "has a field besides 'notifications'"
    return "/notifications", f"is required, a list of 1 to {MAX_BATCH} events"
