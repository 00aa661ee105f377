"""What schedules tell of a recipient (see notifications/privacy.py)."""

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.db import transaction

from notifications import wiring
from notifications.stream.schedules import Change, Schedules
from scheduler import door, records, shapes
from scheduler.models import Schedule

PAGE: Final = 500
# How often schedules may be made for the recipient while they are being removed.
ROUNDS: Final = 20


def erase(recipient: str) -> dict[str, int]:
    """Remove the schedules of a recipient, in Redis and in PostgreSQL; those that fire just now have fired.

    Under the lock that the log is recorded under, so nobody records or restores one meanwhile. The log's entries about
    them go before the commit: recorded after it, they would bring the rows back.
    """
    schedules = wiring.schedules()
    shard = schedules.shards.of(recipient)
    while (recorded := records.record(schedules, shard)) is not None and recorded == records.BATCH_SIZE:
        pass
    with transaction.atomic(durable=True):
        records.wait_for_turn(shard)
        ids = _uproot(schedules, shard, recipient)
        logged = LogEntry.objects.filter(content_type__app_label="scheduler", object_id__in=ids)
        logged.update(object_repr="erased", change_message="")
        Schedule.objects.filter(pk__in=ids).delete()
    return {"schedules": len(ids)}


def export(recipient: str) -> Iterator[dict[str, Any]]:
    """The schedules of a recipient, those that are over, too."""
    below: UUID | None = None
    while True:
        rows = Schedule.objects.filter(recipient=recipient).order_by("-pk")
        page = list((rows.filter(pk__lt=below) if below else rows)[:PAGE])
        for known in door.now_of(page):
            yield {"kind": "schedule", **shapes.shown(known)}
        if len(page) < PAGE:
            return
        below = page[-1].pk


def _uproot(schedules: Schedules, shard: int, recipient: str) -> list[str]:
    """Take the schedules out of Redis; returns their ids. What the log still says of others is recorded, too."""
    gone: set[str] = set()
    for _ in range(ROUNDS):
        changes = schedules.changes(shard)
        records.apply(changes)
        known = {str(pk) for pk in Schedule.objects.filter(recipient=recipient).values_list("pk", flat=True)}
        told = [change.entry_id for change in changes if _is_of(change, known)]
        if known <= gone and not told:
            return sorted(known)
        schedules.uproot(shard, sorted(known - gone), told)
        gone |= known
    raise TimeoutError("schedules are made faster than they are removed")


def _is_of(change: Change, ids: set[str]) -> bool:
    return change.kept is not None and change.kept.id in ids
