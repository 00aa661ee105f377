"""Replaying: who may take which letters, and how they get into the stream again.

A replay is ordered in one step and carried out in another. Ordering is a conditional write in PostgreSQL, so of two
that want the same letter one gets it. Carrying out puts ordered letters into the stream, a chunk at a time: the
request that ordered does the first, the DLQ worker the others, and whatever a crash or an outage left.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from redis.exceptions import RedisError

from dlq import deaths, moves, once, outcomes
from dlq.exceptions import DiedAgain, NotDead, Unreadable
from dlq.models import DeadLetter, Passage, Replay
from dlq.outcomes import Outcome
from notifications import events, failpoints, intake
from notifications.events import Event
from notifications.exceptions import FieldError, Invalid, Refused
from notifications.stream.keys import LANES, Lane
from notifications.stream.once import Once

log = structlog.get_logger("notify.replay")

CHUNK: Final = 500
MAX_NAME: Final = 200
RECIPIENT_STAYS: Final = "cannot change: the id belongs to this recipient, {recipient}"

Status = DeadLetter.Status
Kind = Passage.Kind


class Criteria(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which of the dead letters are meant: those that fit all that is given; without anything, all of them.

    `since` and `until` are bounds of the last failure, both inclusive.
    """

    ids: list[UUID] | None = None
    reason: str | None = None
    type: str | None = None
    recipient: str | None = None
    fingerprint: str | None = None
    since: datetime | None = None
    until: datetime | None = None


LOOKUPS: Final = {
    "ids": "pk__in",
    "reason": "reason",
    "type": "type",
    "recipient": "recipient",
    "fingerprint": "fingerprint",
    "since": "last_failed_at__gte",
    "until": "last_failed_at__lte",
}


def matching(criteria: Criteria) -> QuerySet[DeadLetter]:
    """The letters that fit and are dead, readable or not: what `discard` takes."""
    given = {LOOKUPS[name]: value for name, value in msgspec.structs.asdict(criteria).items() if value is not None}
    return DeadLetter.objects.filter(status=Status.DEAD, **given)


def replayable(criteria: Criteria) -> QuerySet[DeadLetter]:
    """Those of them that can be replayed as they are: what `order` takes. The others have to be corrected first."""
    return matching(criteria).filter(readable=True)


def order(criteria: Criteria, by: str, limit: int | None = None, *, request: Once | None = None) -> Replay:
    """Take letters to be replayed, the oldest first; `letters` of the answer says how many. `by` names who asks.

    Whoever comes second gets 0 of them. Any number of letters is one statement; `begin` carries out the first.
    `request` is the idempotency record of what asks, if it has one. Raises IntegrityError, and nothing is ordered,
    where the same key gave an order already (see dlq/once.py).
    """
    with _ordering(criteria, by, limit, request) as replay:
        replay.letters = _claim(replayable(criteria), replay, limit)
    return replay


def order_one(letter_id: UUID, by: str, *, life: int | None = None, request: Once | None = None) -> Replay:
    """Take one letter to be replayed as it is; where `life` is given, only if that is the life it died of last.

    Raises DeadLetter.DoesNotExist, NotDead, DiedAgain or Unreadable; with a `request`, what `order` does.
    """
    criteria = Criteria(ids=[letter_id])
    with _ordering(criteria, by, request=request) as replay:
        replay.letters = _claim(_of_life(replayable(criteria), life), replay)
        if not replay.letters:
            _check(DeadLetter.objects.only("status", "life").get(pk=letter_id), life)
            raise Unreadable
    return replay


def order_corrected(
    letter_id: UUID,
    document: bytes | msgspec.Raw,
    by: str,
    *,
    at: str = "",
    life: int | None = None,
    request: Once | None = None,
) -> Replay:
    """Take one letter to be replayed with another event, a JSON document as producers send it, kept from now on.

    `at` is the pointer of the document in what was sent, `life` as in `order_one`. Raises Invalid with every broken
    rule, DeadLetter.DoesNotExist, NotDead or DiedAgain; with a `request`, what `order` does. A recipient that is known
    cannot change, as it is in the id.
    """
    draft = intake.parse(document, at=at)
    with _ordering(Criteria(ids=[letter_id]), by, request=request) as replay:
        letter = DeadLetter.objects.select_for_update().get(pk=letter_id)
        _check(letter, life)
        if letter.recipient not in ("", draft.recipient):
            raise Invalid([FieldError(f"{at}/recipient", RECIPIENT_STAYS.format(recipient=letter.recipient))])
        _correct(letter, draft, replay)
        replay.letters = _claim(DeadLetter.objects.filter(pk=letter_id), replay)
    return replay


def begin(replay: Replay) -> int:
    """Carry out the first chunk of an order at once, so that a single replay waits for no other process.

    Returns how many. Nothing is raised: what a Redis that does not answer, or a full backlog, keeps out now, the DLQ
    worker puts in later.
    """
    try:
        return carry_out(replay=replay)
    except (RedisError, Refused) as error:
        log.warning("replay.postponed", replay=str(replay.pk), error=repr(error))
        return 0


def carry_out(limit: int = CHUNK, *, replay: Replay | None = None) -> int:
    """Put up to `limit` ordered letters into the stream, of one order or of any; returns how many were dealt with.

    In the stream first, committed after: a crash in between repeats it, and as an event has one id and a life has a
    number, repeating it has no effect. Of any order, letters that another process is at are left to it; of one order,
    they are waited for, so that 0 means it is carried out. Raises RedisError or Refused, and the letters stay ordered.
    """
    with transaction.atomic(durable=True):
        letters = _next_ordered(min(limit, _room()), replay)
        if not letters:
            return 0
        ready = [(letter, event) for letter in letters if (event := _next_life(letter)) is not None]
        for lane in LANES:
            if batch := [event for letter, event in ready if _lane(letter) == lane]:
                intake.readmit(batch, lane)
        failpoints.reach("replay.admitted")
        moved = [letter.pk for letter, _ in ready]
        moves.move(DeadLetter.objects.filter(pk__in=moved), Status.REPLAYED, Kind.REPLAYED)
        _put_back([letter.pk for letter in letters if letter.pk not in set(moved)])
    failpoints.reach("replay.committed")
    log.info("replay.carried_out", letters=len(letters))
    return len(letters)


def outcome(replay: Replay) -> Outcome:
    """What became of an order's letters."""
    return outcomes.of([replay])[replay.pk]


def discard(criteria: Criteria, by: str) -> int:
    """Give letters up for good; returns how many. Their record stays."""
    return _discard(matching(criteria), by)


def discard_one(letter_id: UUID, by: str, *, life: int | None = None) -> None:
    """Give one letter up; nothing happens to one that is given up. `life` as in `order_one`.

    Raises DeadLetter.DoesNotExist, NotDead or DiedAgain.
    """
    if not _discard(_of_life(matching(Criteria(ids=[letter_id])), life), by):
        letter = DeadLetter.objects.only("status", "life").get(pk=letter_id)
        if letter.status != Status.DISCARDED:
            _check(letter, life)


@contextmanager
def _ordering(criteria: Criteria, by: str, limit: int | None = None, request: Once | None = None) -> Iterator[Replay]:
    """An order while it takes its letters: all of it is committed, or nothing of it was.

    The order first, its letters after: who comes second with a key waits here for the first, not at its letters.
    """
    described: dict[str, Any] = msgspec.to_builtins(criteria) | ({"limit": limit} if limit else {})
    replay = Replay(ordered_by=by[:MAX_NAME], ordered_at=timezone.now(), criteria=described, letters=0)
    with transaction.atomic(durable=True):
        if request:
            once.mark(replay, request)
        replay.save(force_insert=True)
        yield replay
        replay.save(update_fields=["letters"])
    failpoints.reach("replay.ordered")
    log.info("replay.ordered", replay=str(replay.pk), by=replay.ordered_by, letters=replay.letters)


def _claim(letters: QuerySet[DeadLetter], replay: Replay, limit: int | None = None) -> int:
    return moves.move(
        letters,
        Status.REPLAYING,
        Kind.ORDERED,
        by=replay.ordered_by,
        at=replay.ordered_at,
        replay=replay,
        limit=limit,
    )


def _discard(letters: QuerySet[DeadLetter], by: str) -> int:
    return moves.move(letters, Status.DISCARDED, Kind.DISCARDED, by=by[:MAX_NAME])


def _of_life(letters: QuerySet[DeadLetter], life: int | None) -> QuerySet[DeadLetter]:
    return letters if life is None else letters.filter(life=life)


def _check(letter: DeadLetter, life: int | None) -> None:
    """Refuse a letter that is not dead, or not of the life that was looked at."""
    if letter.status != Status.DEAD:
        raise NotDead(letter.get_status_display())
    if life is not None and letter.life != life:
        raise DiedAgain


def _correct(letter: DeadLetter, draft: events.Draft, replay: Replay) -> None:
    """Give a letter another event, of the same origin; its history keeps the payload that it had."""
    before = deaths.read(bytes(letter.payload))
    event_id = events.with_route(str(letter.replayed_as or letter.pk), draft.recipient)
    corrected = events.accept(
        draft,
        event_id,
        source=before.source if before else "api",
        source_id=before.source_id if before else None,
        traceparent=before.traceparent if before else None,
    )
    letter.history.create(
        kind=Kind.EDITED, at=replay.ordered_at, by=replay.ordered_by, life=letter.life, payload=letter.payload
    )
    letter.payload, letter.readable = events.encode(corrected), True
    letter.recipient, letter.type = draft.recipient, draft.type
    letter.replayed_as = UUID(event_id) if event_id != str(letter.pk) else None
    letter.save(update_fields=["payload", "readable", "recipient", "type", "replayed_as"])


def _room() -> int:
    """How many letters of one shard find room in an empty backlog: more at once never would."""
    return max(1, settings.NOTIFY.max_backlog // settings.NOTIFY.shards)


def _next_ordered(limit: int, replay: Replay | None) -> list[DeadLetter]:
    ordered = DeadLetter.objects.filter(status=Status.REPLAYING).select_related("replay").order_by("replay_id", "pk")
    if replay is None:
        # Across orders the ids are in no order: to wait here could close a circle.
        return list(ordered.select_for_update(skip_locked=True, of=("self",))[:limit])
    # Who comes second with an order (a double click) holds the letters for a moment: skipped, they would seem done.
    return list(ordered.filter(replay=replay).select_for_update(of=("self",))[:limit])


def _next_life(letter: DeadLetter) -> Event | None:
    """The event as it begins its next life; None where its payload cannot be read (any more: an older release)."""
    event = deaths.read(bytes(letter.payload))
    if event is None:
        return None
    return msgspec.structs.replace(event, attempts=0, last_error=None, first_failed_ms=None, life=letter.life + 1)


def _lane(letter: DeadLetter) -> Lane:
    """One that somebody waits for goes ahead; many go where nobody waits for them."""
    return "live" if letter.replay is None or letter.replay.letters == 1 else "bulk"


def _put_back(unreadable: list[UUID]) -> None:
    if unreadable:
        letters = DeadLetter.objects.filter(pk__in=unreadable)
        moves.move(letters, Status.DEAD, Kind.UNREADABLE)
        letters.update(readable=False)
        log.warning("replay.unreadable", letters=len(unreadable))
