"""What others ask about dead letters: the life of an event that is one, how many a source has."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q
from django.db.models.functions import Coalesce

from dlq import deaths
from dlq.models import DeadLetter
from notifications import representation
from notifications.events import Event
from notifications.models import Notification

STATUS_SHOWN: Final = {
    DeadLetter.Status.DEAD: "dead",
    DeadLetter.Status.REPLAYING: "queued",
    DeadLetter.Status.REPLAYED: "queued",
    DeadLetter.Status.DISCARDED: "dead",
}


def life(event_id: UUID) -> dict[str, object] | None:
    """The life of the event that a letter holds, as JSON-ready fields; None where there is no such letter."""
    letter = DeadLetter.objects.filter(Q(pk=event_id) | Q(replayed_as=event_id)).first()
    if letter is None:
        return None
    if letter.replayed_as and (row := Notification.objects.filter(pk=letter.replayed_as).first()):
        return representation.life_of_row(row)
    return representation.life_so_far(
        deaths.read(bytes(letter.payload)) or _as_far_as_known(letter),
        status=STATUS_SHOWN[DeadLetter.Status(letter.status)],
        attempts=letter.attempts,
        last_error=letter.error,
    )


def dead_of(source_ids: Collection[UUID]) -> dict[UUID, int]:
    """How many events of each source are dead letters, discarded ones too; those on their way again are none.

    Nor is one that became a row after all: it would count as both.
    """
    row = Notification.objects.filter(pk=Coalesce(OuterRef("replayed_as"), OuterRef("pk")))
    dead = DeadLetter.objects.filter(
        ~Exists(row), source_id__in=source_ids, status__in=[DeadLetter.Status.DEAD, DeadLetter.Status.DISCARDED]
    )
    counted = dead.order_by().values_list("source_id").annotate(Count("pk"))
    return {source_id: count for source_id, count in counted if source_id is not None}


def _as_far_as_known(letter: DeadLetter) -> Event:
    return Event(id=str(letter.pk), recipient=letter.recipient, type=letter.type, title="")
