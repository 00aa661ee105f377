"""Replaying: who may take which letters, and how they get into the stream again.

A replay is ordered in one step and carried out in another. Ordering is a conditional write in PostgreSQL, so of two
that want the same letter one gets it. Carrying out puts ordered letters into the stream, a chunk at a time: the
request that ordered does the first, the DLQ worker the others, and whatever a crash or an outage left.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from redis.exceptions import RedisError

from dlq import deaths, moves
from dlq.exceptions import NotDead, Unreadable
from dlq.models import DeadLetter, Passage, Replay
from notifications import events, failpoints, intake
from notifications.events import Event
from notifications.exceptions import FieldError, Invalid, Refused
from notifications.stream.keys import LANES, Lane

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


def order(criteria: Criteria, by: str, limit: int | None = None) -> Replay:
    """Take letters to be replayed, the oldest first; `letters` of the answer says how many. `by` names who asks.

    Whoever comes second gets 0 of them. Any number of letters is one statement; `begin` carries out the first.
    """
    replay = _new_replay(criteria, by)
    with transaction.atomic(durable=True):
        replay.letters = _claim(replayable(criteria), replay, limit)
        replay.save(force_insert=True)
    _ordered(replay)
    return replay


def order_one(letter_id: UUID, by: str) -> Replay:
    """Take one letter to be replayed as it is. Raises DeadLetter.DoesNotExist, NotDead or Unreadable."""
    criteria = Criteria(ids=[letter_id])
    replay = _new_replay(criteria, by)
    with transaction.atomic(durable=True):
        replay.letters = _claim(replayable(criteria), replay, None)
        if not replay.letters:
            _explain(letter_id)
        replay.save(force_insert=True)
    _ordered(replay)
    return replay


def order_corrected(letter_id: UUID, document: bytes | msgspec.Raw, by: str, *, at: str = "") -> Replay:
    """Take one letter to be replayed with another event, a JSON document as producers send it, kept from now on.

    `at` is the pointer of the document in what was sent. Raises Invalid with every broken rule,
    DeadLetter.DoesNotExist or NotDead. A recipient that is known cannot change, as it is in the id.
    """
    draft = intake.parse(document, at=at)
    replay = _new_replay(Criteria(ids=[letter_id]), by)
    replay.letters = 1
    with transaction.atomic(durable=True):
        letter = DeadLetter.objects.select_for_update().get(pk=letter_id)
        if letter.status != Status.DEAD:
            raise NotDead(letter.get_status_display())
        if letter.recipient not in ("", draft.recipient):
            raise Invalid([FieldError(f"{at}/recipient", RECIPIENT_STAYS.format(recipient=letter.recipient))])
        _correct(letter, draft, replay)
        _claim(DeadLetter.objects.filter(pk=letter_id), replay, None)
        replay.save(force_insert=True)
    _ordered(replay)
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
        letters = _next_ordered(limit, replay)
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


def discard(criteria: Criteria, by: str) -> int:
    """Give letters up for good; returns how many. Their record stays."""
    return moves.move(matching(criteria), Status.DISCARDED, Kind.DISCARDED, by=by[:MAX_NAME])


def discard_one(letter_id: UUID, by: str) -> None:
    """Give one letter up; nothing happens to one that is given up. Raises DeadLetter.DoesNotExist or NotDead."""
    if not discard(Criteria(ids=[letter_id]), by):
        letter = DeadLetter.objects.only("status").get(pk=letter_id)
        if letter.status != Status.DISCARDED:
            raise NotDead(letter.get_status_display())


def _new_replay(criteria: Criteria, by: str) -> Replay:
    described: dict[str, Any] = msgspec.to_builtins(criteria)
    return Replay(ordered_by=by[:MAX_NAME], ordered_at=timezone.now(), criteria=described, letters=0)


def _claim(letters: QuerySet[DeadLetter], replay: Replay, limit: int | None) -> int:
    return moves.move(
        letters,
        Status.REPLAYING,
        Kind.ORDERED,
        by=replay.ordered_by,
        at=replay.ordered_at,
        replay=replay,
        limit=limit,
    )


def _explain(letter_id: UUID) -> None:
    """Why a letter cannot be replayed as it is."""
    letter = DeadLetter.objects.only("status").get(pk=letter_id)
    raise Unreadable if letter.status == Status.DEAD else NotDead(letter.get_status_display())


def _ordered(replay: Replay) -> None:
    failpoints.reach("replay.ordered")
    log.info("replay.ordered", replay=str(replay.pk), by=replay.ordered_by, letters=replay.letters)


def _correct(letter: DeadLetter, draft: events.Draft, replay: Replay) -> None:
    """Give a letter another event, of the same origin; its history keeps the payload that it had."""
    before = deaths.read(bytes(letter.payload))
    event_id = events.with_route(str(letter.replayed_as or letter.pk), draft.recipient)
    source, source_id = (before.source, before.source_id) if before else ("api", None)
    corrected = events.accept(draft, event_id, source=source, source_id=source_id)
    letter.history.create(
        kind=Kind.EDITED, at=replay.ordered_at, by=replay.ordered_by, life=letter.life, payload=letter.payload
    )
    letter.payload, letter.readable = events.encode(corrected), True
    letter.recipient, letter.type = draft.recipient, draft.type
    letter.replayed_as = UUID(event_id) if event_id != str(letter.pk) else None
    letter.save(update_fields=["payload", "readable", "recipient", "type", "replayed_as"])


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
        DeadLetter.objects.filter(pk__in=unreadable).update(status=Status.DEAD, readable=False)
        log.warning("replay.unreadable", letters=len(unreadable))
