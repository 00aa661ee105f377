"""The life of an event that is a dead letter, for whoever asks for the notification."""

from typing import Final
from uuid import UUID

from django.db.models import Q

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


def _as_far_as_known(letter: DeadLetter) -> Event:
    return Event(id=str(letter.pk), recipient=letter.recipient, type=letter.type, title="")
