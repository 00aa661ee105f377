"""The table of the dead letters: how deaths come into it. Writers lock letters in the order of their ids."""

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from dlq import deaths, moves
from dlq.deaths import Death
from dlq.models import DeadLetter, Passage
from notifications import erasures
from notifications.erasures import Gone
from notifications.models import Notification

log = structlog.get_logger("notify.recorder")

# How long after its death an event may turn out to be a row: longer than any process stands still and goes on again …
RECENT: Final = timedelta(hours=1)
# … or, looked at less often, than a request may take to be finished by another with its idempotency key.
RETRIES: Final = timedelta(hours=1)

# The life of a letter that is not recorded yet: before any that an event has.
UNBORN: Final = -1

Status = DeadLetter.Status
Kind = Passage.Kind

# What a letter takes over from the death that it records.
SAME_IN_BOTH: Final = (
    "recipient",
    "type",
    "source_id",
    "payload",
    "readable",
    "reason",
    "error",
    "fingerprint",
    "attempts",
    "life",
)
CHANGED: Final = ("status", "last_failed_at", *SAME_IN_BOTH)


def record(found: Collection[Death]) -> int:
    """Record deaths in one transaction; returns how many were not recorded yet.

    A life that is recorded already changes nothing. An event that is a row is none: its death is not recorded.
    """
    try:
        return _record(found)
    except IntegrityError:
        # Another recorder was at the same letters, and has committed by now: they are seen this time.
        return _record(found)


def close_stored_long_after() -> int:
    """The same for letters as old as an idempotency key may be."""
    return close_stored(timedelta(hours=settings.NOTIFY.idempotency_hours) + RETRIES)


def close_stored(within: timedelta = RECENT) -> int:
    """Close letters, dead for no longer than `within`, whose event became a row after all; returns how many.

    A worker that stood still with it in hand, while others gave it up, may store it when it goes on.
    """
    row = Notification.objects.filter(pk=Coalesce(OuterRef("replayed_as"), OuterRef("pk")))
    recent = DeadLetter.objects.filter(status=Status.DEAD, last_failed_at__gt=timezone.now() - within)
    closed = moves.move(recent.filter(Exists(row)), Status.REPLAYED, Kind.STORED)
    if closed:
        log.warning("letter.stored_after_all", letters=closed)
    return closed


def read_again() -> int:
    """Look again at payloads that could not be read: this release may be a newer one. Returns how many it reads."""
    unreadable = DeadLetter.objects.filter(status=Status.DEAD, readable=False)
    found = [pk for pk, payload in unreadable.values_list("pk", "payload").iterator() if deaths.read(bytes(payload))]
    return unreadable.filter(pk__in=found).update(readable=True)


def _record(found: Collection[Death]) -> int:
    with transaction.atomic(durable=True):
        erasures.begin_recording()
        dead = _without_erased(_without_rows(found))
        letters = _lock({death.event_id for death in dead})
        changed: dict[UUID, DeadLetter] = {}
        passages: list[Passage] = []
        for death in sorted(dead, key=lambda death: (death.event_id, death.life)):
            letter = letters.setdefault(death.event_id, DeadLetter(pk=death.event_id, life=UNBORN))
            if _is_news(death, letter):
                passages += _passages(letter, death)
                _die(letter, death)
                changed[letter.pk] = letter
        _save(changed.values())
        Passage.objects.bulk_create(passages)
    return sum(passage.kind == Kind.DIED for passage in passages)


def _is_news(death: Death, letter: DeadLetter) -> bool:
    """Whether a death is not recorded yet: of a later life, or later in the same one.

    The latter is of an event that came in twice, by a request that was finished long after it was begun, say. An entry
    that is delivered again tells the very time that is recorded.
    """
    if death.life == letter.life:
        return death.failed_at > letter.last_failed_at
    return death.life > letter.life


def _without_rows(found: Collection[Death]) -> list[Death]:
    stored = set(Notification.objects.filter(pk__in={death.event_id for death in found}).values_list("pk", flat=True))
    if stored:
        log.warning("letter.stored_already", ids=sorted(map(str, stored)))
    return [death for death in found if death.event_id not in stored]


def _without_erased(found: list[Death]) -> list[Death]:
    """Those whose recipient was not erased since they were accepted; the others are dropped for good."""
    marks = erasures.marks({death.recipient for death in found})
    erased = {death for death in found if erasures.is_erased(str(death.event_id), marks.get(death.recipient))}
    if erased:
        known = {death.event_id: deaths.read(death.payload) for death in erased}
        erasures.drop([erasures.gone(event) if event else Gone(str(pk), None) for pk, event in known.items()])
    return [death for death in found if death not in erased]


def _lock(ids: Collection[UUID]) -> dict[UUID, DeadLetter]:
    """The letters that are there, by the ids of their events, each locked until the commit."""
    letters = DeadLetter.objects.select_for_update().defer("payload").order_by("pk")
    return {
        event_id: letter
        for letter in letters.filter(Q(pk__in=ids) | Q(replayed_as__in=ids))
        for event_id in (letter.pk, letter.replayed_as)
        if event_id is not None
    }


def _passages(letter: DeadLetter, death: Death) -> Iterator[Passage]:
    if letter.status == Status.REPLAYING:
        # It was carried out, by a process that died before it could say so.
        yield Passage(
            letter=letter, kind=Kind.REPLAYED, at=timezone.now(), life=letter.life, replay_id=letter.replay_id
        )
    yield Passage(
        letter=letter,
        kind=Kind.DIED,
        at=death.failed_at,
        life=death.life,
        reason=death.reason,
        error=death.error,
        attempts=death.attempts,
        replay_id=letter.replay_id,
    )


def _die(letter: DeadLetter, death: Death) -> None:
    if letter.life == UNBORN:
        letter.first_failed_at = death.first_failed_at
    letter.status = Status.DEAD
    letter.last_failed_at = death.failed_at
    for name in SAME_IN_BOTH:
        setattr(letter, name, getattr(death, name))


def _save(letters: Collection[DeadLetter]) -> None:
    known = [letter for letter in letters if not letter._state.adding]  # noqa: SLF001 - Django's own
    DeadLetter.objects.bulk_create(letter for letter in letters if letter._state.adding)  # noqa: SLF001
    # An update in bulk, all of them being there and locked: Django's own bulk_update takes ten times as long.
    DeadLetter.objects.bulk_create(known, update_conflicts=True, update_fields=CHANGED, unique_fields=["id"])
