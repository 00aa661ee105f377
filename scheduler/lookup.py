"""The life of an event that is a schedule's own, for whoever asks for the notification."""

from uuid import UUID

from notifications import events, representation, retention
from scheduler.models import Schedule


def life(event_id: UUID) -> dict[str, object] | None:
    """The life of the event of a schedule that fires once, as JSON-ready fields; None where there is no such schedule.

    Redis was asked before, and did not know it: what is not cancelled has just fired, or is being restored.
    """
    row = Schedule.objects.filter(pk=event_id, recurs=False).first()
    if row is None or _left_the_inbox(row):
        return None
    status = {Schedule.Status.CANCELLED: "cancelled", Schedule.Status.SCHEDULED: "scheduled"}.get(
        Schedule.Status(row.status), "queued"
    )
    return representation.life_so_far(
        events.decode(bytes(row.payload)),
        status=status,
        attempts=0,
        last_error=None,
        next_attempt_at=representation.timestamp(row.next_run_at) if row.next_run_at else None,
    )


def _left_the_inbox(row: Schedule) -> bool:
    """Whether what a schedule fired is too old to be kept: it was a row, and was removed."""
    return row.status == Schedule.Status.FIRED and retention.is_expired(row.last_run_at)
