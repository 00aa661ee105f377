"""What Redis lost is put back from PostgreSQL: the schedules that it lacks, or has as they were earlier.

Of two states of a schedule, the one with the higher revision is the newer. Redis is where schedules change, so it is
ahead by what its log holds; that is recorded first. What PostgreSQL then still knows better, Redis lost.
"""

import secrets
from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

import structlog
from django.db import transaction
from django.db.models import Q

from notifications import failpoints
from notifications.stream.schedules import COMPARED, Schedules
from scheduler import records
from scheduler.models import Schedule

log = structlog.get_logger("notify.schedules")

CHUNK: Final = 1000
# How many batches of changes are recorded before what is behind is looked at, at most.
BATCHES: Final = 1000
TURN_MS: Final = 4000

Status = Schedule.Status


class Known(NamedTuple):
    """As much of a row as it takes to compare it; the revision of one that is over is negative (see behind.lua)."""

    schedule_id: str
    revision: int


class Comparison:
    """One comparison of all shards, a chunk at a time, so that its caller can do other things in between.

    What is over and waits in Redis all the same goes first; then what waits is compared in the order in which it is
    due, so what is overdue comes back first.
    """

    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules
        self._notes = {
            shard: schedules.begin_comparison(shard, secrets.token_hex(8)) for shard in schedules.shards.each()
        }
        self._chunks = _chunks(schedules)
        self.compared = 0
        self.restored = 0

    def step(self) -> bool:
        """Compare the next chunk; False when that was the last. Raises what the two servers raise."""
        chunk = next(self._chunks, None)
        if chunk is None:
            self._end()
            return False
        self.compared += len(chunk)
        per_shard: dict[int, list[Known]] = defaultdict(list)
        for known in chunk:
            per_shard[self._schedules.shards.of_id(known.schedule_id)].append(known)
        for shard, revisions in per_shard.items():
            if behind := self._schedules.behind(shard, revisions):
                self.restored += _restore(self._schedules, shard, behind)
        return True

    def _end(self) -> None:
        for shard, note in self._notes.items():
            if note != COMPARED and not self._schedules.end_comparison(shard, note):
                log.warning("schedules.lost_again", shard=shard)
        if self.restored:
            log.warning("schedules.restored", schedules=self.restored)


def _restore(schedules: Schedules, shard: int, ids: list[str]) -> int:
    """Put back those that Redis still lacks when all that it has to say is recorded. One process at a time.

    One that stands still while it has the turn loses it after five seconds (see settings.py), and restores nothing
    after four: what it knows may be old by then.
    """
    for _ in range(BATCHES):
        recorded = records.record(schedules, shard)
        if recorded is None or recorded < records.BATCH_SIZE:
            break
    with transaction.atomic(durable=True):
        records.wait_for_turn(shard)
        until_ms = schedules.earliest_ms() + TURN_MS
        changes = schedules.changes(shard, records.BATCH_SIZE)
        if len(changes) == records.BATCH_SIZE:
            raise TimeoutError("changes come in faster than they are recorded")
        over = records.apply(changes)
        rows = Schedule.objects.filter(pk__in=ids).order_by("next_run_at", "pk")
        kept = [records.kept_of(row) for row in rows]
        failpoints.reach("comparison.ready")
        restored = schedules.restore(shard, kept, until_ms)
    schedules.recorded(shard, changes, over)
    return restored


def _chunks(schedules: Schedules) -> Iterator[list[Known]]:
    """Of what waits in Redis, what is over; then all that waits in PostgreSQL, by due time."""
    for shard in schedules.shards.each():
        # None of them may be without a question to PostgreSQL: while that is away, each would seem to be its return.
        for ids in filter(None, schedules.waiting(shard, CHUNK)):
            rows = Schedule.objects.filter(pk__in=ids).exclude(status=Status.SCHEDULED)
            yield [Known(str(pk), -revision) for pk, revision in rows.values_list("pk", "revision")]
    waiting = Schedule.objects.filter(status=Status.SCHEDULED).order_by("next_run_at", "pk")
    ordered, place = waiting.values_list("pk", "revision", "next_run_at"), Q()
    while chunk := list(ordered.filter(place)[:CHUNK]):
        yield [Known(str(pk), revision) for pk, revision, _ in chunk]
        last_pk, _, last = chunk[-1]
        place = Q(next_run_at__gte=last) & ~Q(next_run_at=last, pk__lte=last_pk)
