"""Old notifications leave: those that are stored for longer than NOTIFY_RETENTION_DAYS, a batch at a time.

A pass goes through the primary key from its beginning, as ids rise with time and no other index is needed: an id is
never younger than its row. What a pass passes over (a row that is younger than its id, or may be delivered again) it
looks at once, not once a batch. One process at a time removes, and rests after a batch for as long as that took.

A row must not leave while its event may still be delivered again, or it would come back as a new one. So nothing leaves
while a lane has an entry from before the last hour, nor what is in flight, nor what an unfinished bulk job may send
again; and nothing ever before its request's idempotency key is forgotten.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from notifications import erasures, process, removal, unread
from notifications.live.announce import Announcer
from notifications.models import Dropped, Notification
from notifications.process import Chore
from notifications.removal import AT_ONCE, OthersTurn, Row
from notifications.store import EMPTY
from notifications.stream import keys
from notifications.stream.client import Shards

log = structlog.get_logger("notify.retention")

HOUR_SECONDS: Final = 3600.0
LOOK_SECONDS: Final = 1.0
# While the pipeline is behind, or another process is at it.
REST_SECONDS: Final = 5.0
# Whoever was just sent something is ahead of what is old; of bulk, which waits by design, only what waits very long
# matters, and to what may come back all the same.
LATE_MS: Final = {"live": 5_000, "bulk": 3_600_000}
# An hour longer than a request can be repeated: the row of one that is begun anew must still be there.
LEEWAY: Final = timedelta(hours=1)
# What is left of an erased recipient stays for so long: longer than anything of it is on its way.
ERASED_DAYS: Final = 30
LOCK: Final = 0x4E6F7479
# The other locks of this kind are by shard, from 0 up.
TURN: Final = -1

# Jobs that are not over: id → when each was made.
UnderWay = dict[UUID, datetime]


class Retention:
    """A duty of every scheduler (see process.py): removes what is old, and at last what is left of who was erased."""

    def __init__(self, shards: Shards, announcer: Announcer) -> None:
        self._shards = shards
        self._announcer = announcer
        self._after: UUID | None = None
        self._removed = 0
        self._chores = [
            Chore(HOUR_SECONDS, self._begin),
            Chore(HOUR_SECONDS, self._forget),
        ]

    def step(self) -> None:
        """Remove one batch of a pass, and rest; or wait for the next pass."""
        for chore in self._chores:
            chore.do_if_due()
        if self._after is None:
            process.pause(LOOK_SECONDS)
            return
        if is_behind(self._shards):
            process.pause(REST_SECONDS)
            return
        began = time.monotonic()
        self._pass(self._after)
        process.pause(time.monotonic() - began)

    def beat(self) -> None:
        """Nothing is held."""

    def stop(self) -> None:
        """Nothing is held."""

    def _begin(self) -> None:
        if settings.NOTIFY.retention_days and self._after is None:
            self._after, self._removed = UUID(int=0), 0

    def _forget(self) -> bool:
        """Whether there may be more."""
        return max(forget_erased(self._shards, self._announcer), forget_dropped()) == AT_ONCE

    def _pass(self, after: UUID) -> None:
        found = sweep(self._shards, self._announcer, after)
        if found is None:
            process.pause(REST_SECONDS)
            return
        self._after, removed = found
        self._removed += removed
        if self._after is None and self._removed:
            log.info("retention.removed", notifications=self._removed)


def oldest_kept() -> datetime | None:
    """What was stored before this is not kept; None where all is."""
    days = settings.NOTIFY.retention_days
    if not days:
        return None
    return timezone.now() - max(timedelta(days=days), timedelta(hours=settings.NOTIFY.idempotency_hours) + LEEWAY)


def is_expired(stored_at: datetime | None) -> bool:
    """Whether a notification that was stored then is not kept any more."""
    bound = oldest_kept()
    return bound is not None and stored_at is not None and stored_at < bound


def is_behind(shards: Shards) -> bool:
    """Whether something waits in a lane for longer than it should. Raises RedisError."""
    pipe = shards.client.pipeline(transaction=False)
    pipe.time()
    for shard in shards.each():
        for lane in keys.LANES:
            pipe.xrange(keys.lane(shard, lane), count=1)
    (seconds, _), *firsts = pipe.execute()
    lanes = keys.LANES * shards.count
    return any(
        entries and seconds * 1000 - int(entries[0][0].partition(b"-")[0]) > LATE_MS[lane]
        for lane, entries in zip(lanes, firsts, strict=True)
    )


def sweep(shards: Shards, announcer: Announcer, after: UUID) -> tuple[UUID | None, int] | None:
    """Look at the next rows after an id, and remove those that are old.

    Returns the id to go on after (None: the pass is over) and how many were removed; None where another process has
    the turn.
    """
    bound = oldest_kept()
    if bound is None:
        return None, 0
    found = _next(after, bound)
    if not found:
        return None, 0
    old = [Row(pk, recipient, read_at is None) for pk, recipient, stored_at, read_at, _ in found if stored_at < bound]
    needed = _needed(shards, [(pk, source_id) for pk, _, _, _, source_id in found])
    try:
        removed = removal.remove(announcer, [row for row in old if row.id not in needed], turn=(LOCK, TURN))
    except OthersTurn:
        return None
    return (found[-1][0] if len(found) == AT_ONCE else None), removed


def forget_erased(shards: Shards, announcer: Announcer) -> int:
    """Take away marks that are old, at most AT_ONCE, with the inbox where nothing came since; returns how many."""
    old = erasures.marked().filter(erased_ms__lt=round(_long_ago().timestamp() * 1000))
    recipients = list(old.order_by("erased_ms").values_list("recipient", flat=True)[:AT_ONCE])
    for recipient in recipients:
        _forget(shards, announcer, recipient)
    return len(recipients)


def forget_dropped() -> int:
    """Forget ids of events that were dropped long ago, at most AT_ONCE; returns how many."""
    ids = list(Dropped.objects.filter(at__lt=_long_ago()).order_by("at").values_list("pk", flat=True)[:AT_ONCE])
    Dropped.objects.filter(pk__in=ids).delete()
    return len(ids)


def under_way() -> UnderWay:
    """The bulk jobs that are not over, by the app that has them."""
    return _under_way_by()()


def _long_ago() -> datetime:
    """Nothing that was made before this is on its way any more."""
    return min([timezone.now() - timedelta(days=ERASED_DAYS), *under_way().values()])


def _forget(shards: Shards, announcer: Announcer, recipient: str) -> None:
    with unread.intent(shards, recipient):
        with transaction.atomic():
            inbox = erasures.marked().select_for_update().filter(recipient=recipient).first()
            if inbox is None:
                return
            came_back = Notification.objects.filter(recipient=recipient).exists()
            if came_back:
                inbox.erased_ms = None
                inbox.save(update_fields=["erased_ms"])
            else:
                inbox.delete()
        if not came_back:
            announcer.reflect({recipient: EMPTY})


def _next(after: UUID, bound: datetime) -> Sequence[Any]:
    # Ids of this time begin with its milliseconds.
    below = UUID(int=round(bound.astimezone(UTC).timestamp() * 1000) << 80)
    rows = Notification.objects.filter(pk__gt=after, pk__lt=below).order_by("pk")
    return list(rows.values_list("pk", "recipient", "stored_at", "read_at", "source_id")[:AT_ONCE])


def _needed(shards: Shards, rows: Sequence[tuple[UUID, UUID | None]]) -> set[UUID]:
    """The rows whose event may be delivered again: it is in flight, or of a job that is not over."""
    jobs = under_way()
    needed = {pk for pk, source_id in rows if source_id in jobs}
    pipe = shards.client.pipeline(transaction=False)
    for pk, _ in rows:
        pipe.hexists(keys.inflight(shards.of_id(str(pk))), str(pk))
    return needed | {pk for (pk, _), there in zip(rows, pipe.execute(), strict=True) if there}


@cache
def _under_way_by() -> Callable[[], UnderWay]:
    found: Callable[[], UnderWay] = import_string(settings.NOTIFY_JOBS_UNDER_WAY)
    return found
