"""Old notifications leave: those that are stored for longer than NOTIFY_RETENTION_DAYS.

A pass goes through the primary key from its beginning, as ids rise with time and no other index is needed: an id is
never younger than its row. What a pass passes over (a row that is younger than its id, or may be delivered again) it
looks at once, not once a batch. One process at a time removes, and rests after a batch for as long as that took.

A partition leaves as a whole once all of it is old: what is unread in it goes before, a batch at a time and with its
counts, and what is read goes with the table. So rows of a partition stay until the youngest of them is old, but where
it has room for more time than new ones get: there, and in the default one, what is old leaves row by row.

A row must not leave while its event may still be delivered again, or it would come back as a new one. So nothing leaves
while a lane has an entry from before the last hour, nor what is in flight, nor what an unfinished bulk job may send
again; and nothing ever before its request's idempotency key is forgotten.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from notifications import erasures, partitions, process, removal, unread
from notifications.live.announce import Announcer
from notifications.models import Dropped, Notification
from notifications.partitions import NotNow, Partition
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
# While somebody uses a partition that is to leave: to ask for it keeps others waiting, too.
NOT_NOW_SECONDS: Final = 60.0
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


class Stretch(NamedTuple):
    """Ids that a pass has still to go through, from `first` on and below `end`.

    `whole` is their partition where all of it is old; `kept` tells how many rows in it have to stay all the same.
    """

    first: UUID
    end: UUID
    whole: Partition | None = None
    kept: int = 0


class Retention:
    """A duty of every scheduler (see process.py): removes what is old, and at last what is left of who was erased.

    It makes partitions ahead, too.
    """

    def __init__(self, shards: Shards, announcer: Announcer) -> None:
        self._shards = shards
        self._announcer = announcer
        self._stretches: deque[Stretch] = deque()
        self._removed = 0
        self._chores = [
            Chore(HOUR_SECONDS, make_partitions),
            Chore(HOUR_SECONDS, self._begin),
            Chore(HOUR_SECONDS, self._forget),
        ]

    def step(self) -> None:
        """Remove one batch of a pass, and rest; or wait for the next pass."""
        for chore in self._chores:
            chore.do_if_due()
        if not self._stretches:
            process.pause(LOOK_SECONDS)
            return
        if is_behind(self._shards):
            process.pause(REST_SECONDS)
            return
        began = time.monotonic()
        self._pass(self._stretches[0])
        process.pause(time.monotonic() - began)

    def beat(self) -> None:
        """Nothing is held."""

    def stop(self) -> None:
        """Nothing is held."""

    def _begin(self) -> None:
        bound = oldest_kept()
        if bound and not self._stretches:
            self._stretches.extend(stretches(bound))
            self._removed = 0

    def _forget(self) -> bool:
        """Whether there may be more."""
        return max(forget_erased(self._shards, self._announcer), forget_dropped()) == AT_ONCE

    def _pass(self, stretch: Stretch) -> None:
        try:
            left, removed = sweep(self._shards, self._announcer, stretch)
        except OthersTurn:
            process.pause(REST_SECONDS)
            return
        except NotNow as why:
            log.info("retention.put_off", why=str(why))
            process.pause(NOT_NOW_SECONDS)
            return
        self._stretches.popleft()
        if left:
            self._stretches.appendleft(left)
        self._removed += removed
        if not self._stretches and self._removed:
            log.info("retention.removed", notifications=self._removed)


def make_partitions() -> None:
    """Make those of the time to come. Where they cannot be made, rows go into the default one, and nothing is lost."""
    try:
        partitions.make_ahead(timezone.now())
    except NotNow as why:
        log.info("partitions.put_off", why=str(why))
    except DatabaseError as error:
        log.warning("partitions.not_made", error=str(error).partition("\n")[0])


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


def stretches(bound: datetime) -> Iterator[Stretch]:
    """The ids that a pass goes through, the oldest first."""
    # An id that is younger is of a row that is.
    end, after = partitions.id_at(bound), UUID(int=0)
    for partition in partitions.every():
        # What is between two partitions is in the default one.
        yield from _rows(after, min(partition.first, end))
        if partition.end <= end:
            yield Stretch(partition.first, partition.end, partition)
        elif partition.span > partitions.width():
            yield from _rows(partition.first, end)
        after = partition.end
    yield from _rows(after, end)


def sweep(shards: Shards, announcer: Announcer, stretch: Stretch) -> tuple[Stretch | None, int]:
    """Look at the next rows of a stretch, and remove those that are old; at its end, the partition that is free.

    Returns what is left of the stretch and how many rows were removed, but for those that went with a partition.
    Raises OthersTurn and NotNow.
    """
    bound = oldest_kept()
    if bound is None:
        return None, 0
    if stretch.first == stretch.end:
        return _let_go(stretch, bound), 0
    found = _next(stretch)
    needed = _needed(shards, [(pk, source_id) for pk, _, _, _, source_id in found])
    old = [
        Row(pk, recipient, read_at is None)
        for pk, recipient, stored_at, read_at, _ in found
        if stored_at < bound and pk not in needed
    ]
    leaving = [row for row in old if row.unread] if stretch.whole else old
    removed = removal.remove(announcer, leaving, turn=(LOCK, TURN))
    kept = stretch.kept + len(found) - len(old)
    if len(found) == AT_ONCE:
        return stretch._replace(first=UUID(int=found[-1][0].int + 1), kept=kept), removed
    return (stretch._replace(first=stretch.end) if stretch.whole and not kept else None), removed


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


def _rows(first: UUID, end: UUID) -> Iterator[Stretch]:
    if first < end:
        yield Stretch(first, end)


def _let_go(stretch: Stretch, bound: datetime) -> Stretch | None:
    """The end of a partition: what of its attempts failed, a batch at a time, and then itself."""
    partition = stretch.whole
    if partition is None:
        return None
    if removal.forget_attempts(partition.first, partition.end, bound) == AT_ONCE:
        return stretch
    if partitions.drop(partition, bound):
        log.info("retention.partition_left", name=partition.name)
    return None


def _next(stretch: Stretch) -> Sequence[Any]:
    rows = Notification.objects.filter(pk__gte=stretch.first, pk__lt=stretch.end).order_by("pk")
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
