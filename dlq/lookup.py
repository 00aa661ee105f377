"""What others ask about dead letters: the life of an event that is one, its history, how many a source has."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from dlq import deaths
from dlq.models import DeadLetter, Passage
from notifications import representation, retention
from notifications.events import Event, FailedAttempt
from notifications.models import Notification

STATUS_SHOWN: Final = {
    DeadLetter.Status.DEAD: "dead",
    DeadLetter.Status.REPLAYING: "queued",
    DeadLetter.Status.REPLAYED: "queued",
    DeadLetter.Status.DISCARDED: "dead",
}


class History(NamedTuple):
    """All that is known of an event that was a dead letter, whatever became of it since; oldest first."""

    letter: DeadLetter
    passages: Sequence[Passage]
    failures: Sequence[FailedAttempt]


def life(event_id: UUID) -> dict[str, object] | None:
    """The life of the event that a letter holds, as JSON-ready fields; None where there is no such letter."""
    letter = DeadLetter.objects.filter(Q(pk=event_id) | Q(replayed_as=event_id)).first()
    if letter is None or _left_the_inbox(letter):
        return None
    if letter.replayed_as and (row := Notification.objects.filter(pk=letter.replayed_as).first()):
        return representation.life_of_row(row)
    return life_of(letter)


def life_of(letter: DeadLetter) -> dict[str, object]:
    """The life of the event that a letter holds, which is no row."""
    return representation.life_so_far(
        deaths.read(bytes(letter.payload)) or _as_far_as_known(letter),
        status=STATUS_SHOWN[DeadLetter.Status(letter.status)],
        attempts=letter.attempts,
        last_error=letter.error,
    )


def history(event_id: UUID) -> History | None:
    """The letter of an event and what became of it; None where it never was one.

    A correction begins a new event, and what failed before is in the payload that its history keeps.
    """
    letter = DeadLetter.objects.filter(Q(pk=event_id) | Q(replayed_as=event_id)).first()
    if letter is None:
        return None
    passages = list(letter.history.all())
    payloads = [*(passage.payload for passage in passages if passage.payload is not None), letter.payload]
    readable = [event for payload in payloads if (event := deaths.read(bytes(payload)))]
    # A later payload repeats what an earlier one tells.
    failures = dict.fromkeys(failure for event in readable for failure in event.failures)
    return History(letter, passages, list(failures))


def without_rows() -> QuerySet[DeadLetter]:
    """The letters whose event is no row (yet)."""
    row = Notification.objects.filter(pk=Coalesce(OuterRef("replayed_as"), OuterRef("pk")))
    return DeadLetter.objects.filter(~Exists(row))


def dead_of(source_ids: Collection[UUID]) -> dict[UUID, int]:
    """How many events of each source are dead letters, discarded ones too; those on their way again are none.

    Nor is one that became a row after all: it would count as both.
    """
    given_up = [DeadLetter.Status.DEAD, DeadLetter.Status.DISCARDED]
    dead = without_rows().filter(source_id__in=source_ids, status__in=given_up)
    counted = dead.order_by().values_list("source_id").annotate(Count("pk"))
    return {source_id: count for source_id, count in counted if source_id is not None}


def _left_the_inbox(letter: DeadLetter) -> bool:
    """Whether the row that a letter became may be too old to be kept: it was replayed that long ago, and is none."""
    since = letter.replay.ordered_at if letter.replay else letter.last_failed_at
    return letter.status == DeadLetter.Status.REPLAYED and retention.is_expired(since) and not _row_of(letter)


def _row_of(letter: DeadLetter) -> Notification | None:
    return Notification.objects.filter(pk=letter.replayed_as or letter.pk).first()


def _as_far_as_known(letter: DeadLetter) -> Event:
    return Event(id=str(letter.pk), recipient=letter.recipient, type=letter.type, title="")
