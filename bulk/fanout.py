"""The fan-out: takes the jobs that are under way from their lists into the bulk lane, chunk by chunk.

Any number of bulk workers may run. Where a job stands is in Redis, in the script that adds its chunks; who fans it out
holds it for two seconds, so that no two do the same work, and if that one dies another goes on where it was.
"""

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from typing import Final
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from bulk import lists, orders
from bulk.exceptions import Unknown
from bulk.lists import Recipients
from bulk.models import BulkJob
from notifications import failpoints, metrics, process, reporting
from notifications.process import OUTAGES
from notifications.stream.cluster import AWAY
from notifications.stream.fanout import Fanout, Standing

log = structlog.get_logger("notify.bulk")

Status = BulkJob.Status

# How often jobs are looked for, and how long an order waits whose process died before it was carried out.
LOOK_SECONDS: Final = 0.5
# How long the lane takes to have room again.
FULL_SECONDS: Final = 0.02
# Chunks in the lane of all shards together. More would only be there earlier, and past being stopped.
LANE_CHUNKS: Final = 40
LEAST_CHUNKS: Final = 2
# Where so many events wait for another attempt, or to be recorded as dead letters, nothing is added to them.
FAILED_EVENTS: Final = 100_000


class FanOut:
    """One bulk worker's first duty (see notifications/process.py). What it holds in Redis, it holds for two seconds."""

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        self._limit = max(LEAST_CHUNKS, LANE_CHUNKS // fanout.shards.count)
        self._failed_limit = FAILED_EVENTS // fanout.shards.count
        self._jobs: dict[UUID, Running] = {}
        self._misfits: set[UUID] = set()
        self._turns = 0
        self._look_at = float("-inf")

    def step(self) -> None:
        """Look for jobs where it is time to; give each that is under way a turn; rest where there is no use in more."""
        if time.monotonic() >= self._look_at:
            # What an outage kept from being carried out comes first when it is over.
            self._look_at = float("-inf")
            self._look()
            self._look_at = time.monotonic() + LOOK_SECONDS
        try:
            wait = self._turn()
        except OUTAGES:
            self._look_at = float("-inf")
            raise
        process.pause(wait)

    def beat(self) -> None:
        """Nothing is held that is not let go by itself."""

    def stop(self) -> None:
        """Nothing is held that is not let go by itself."""

    def _turn(self) -> float:
        """Give each job a turn, another one first each time; returns how many seconds to rest then."""
        jobs = deque(job for job in self._jobs.values() if not job.is_all_out())
        if not jobs:
            return LOOK_SECONDS
        # A lane is filled when it is half empty, not chunk by chunk: each call costs everybody a write to Redis' disk.
        crowds = enumerate(self._fanout.crowds())
        room = {shard for shard, (lane, failed) in crowds if lane <= self._limit // 2 and failed < self._failed_limit}
        if not room:
            return FULL_SECONDS
        jobs.rotate(-self._turns)
        self._turns += 1
        if fanned := sum(job.go_on(room, self._limit) for job in jobs):
            reporting.handled(fanned)
            metrics.bulk_fanned.inc(fanned)
            return 0.0
        rest = FULL_SECONDS if len(room) < self._fanout.shards.count else LOOK_SECONDS
        return max(0.0, min(rest, *(job.wait_seconds(room) for job in jobs)))

    def _look(self) -> None:
        found = {job.pk: job for job in _under_way()}
        try:
            standings = self._fanout.standings(map(str, found))
        except AWAY:
            if self._fanout.shards.is_one_server:
                raise
            # What is known to be under way goes on where a node answers; the scripts see to it that it may.
            self._jobs = {job_id: job for job_id, job in self._jobs.items() if job_id in found}
            return
        now = {}
        for job_id, job in found.items():
            if self._fits(job):
                obeyed = self._obeyed(job, standings[str(job_id)])
                now[job_id] = self._jobs.get(job_id) or Running(self._fanout, obeyed)
                now[job_id].ordered(obeyed, standings[str(job_id)])
        self._jobs = now

    def _fits(self, job: BulkJob) -> bool:
        """Whether a job's list is divided into as many shards as there are; another number needs another list."""
        if orders.fits(self._fanout, job):
            return True
        if job.pk not in self._misfits:
            self._misfits.add(job.pk)
            log.error("bulk.other_shards", id=str(job.pk), made_for=len(job.shares), shards=self._fanout.shards.count)
        return False

    def _obeyed(self, job: BulkJob, standings: Sequence[Standing | None]) -> BulkJob:
        """A job whose every order Redis was told, begun where it is not (any more)."""
        if job.status == Status.CANCELLED and _was_cut_short(job, standings):
            self._fanout.close(str(job.pk))
            job = begin(self._fanout, job.pk) or job
        elif job.status == Status.QUEUED or (None in standings and _is_of_use(job)):
            job = begin(self._fanout, job.pk) or job
        elif job.applied < job.revision or any(now and now.revision < job.revision for now in standings):
            with suppress(Unknown):
                job = orders.apply(self._fanout, job)
        return job


def begin(fanout: Fanout, job_id: UUID) -> BulkJob | None:
    """Begin a job in Redis, for the first time or because Redis lost it; None where it is over.

    One that is begun again begins from nothing: what is stored already is not stored again, as the ids are the same,
    and what was under way when Redis lost it is not lost with it.
    """
    with transaction.atomic():
        job = BulkJob.objects.select_for_update().defer("payload").filter(pk=job_id, finished_at=None).first()
        if job is None:
            return None
        if job.started_at:
            log.warning("bulk.begun_again", id=str(job_id), fanned_out=sum(job.positions))
        order = orders.order_of(job)
        if job.status == Status.CANCELLED:
            # As far as it had got, and no further. Where it is begun already, it is whoever cancels that stops it.
            fanout.open(str(job_id), order._replace(state="running"))
        else:
            fanout.open(str(job_id), order)
            fanout.steer(str(job_id), order)
            job.applied = job.revision
        if job.status == Status.QUEUED:
            job.status, job.started_at = Status.RUNNING, timezone.now()
        job.save(update_fields=["applied", "status", "started_at"])
    failpoints.reach("bulk.begun")
    return job


class Running:
    """A job under way, as this bulk worker sees it."""

    def __init__(self, fanout: Fanout, job: BulkJob) -> None:
        self._fanout = fanout
        self._id = job.pk
        self._event = bytes(job.payload)
        self._lists = [Recipients(job.pk, shard) for shard in fanout.shards.each()]
        self._next_at = [0.0] * fanout.shards.count
        self._positions: list[int] = []
        self._sizes: list[int] = []
        self._ends: list[int] = []

    def ordered(self, job: BulkJob, standings: Sequence[Standing | None]) -> None:
        """Take note of what is ordered by now, and of where Redis has the job: one that it lost begins from nothing."""
        self._positions = [standing.position if standing else 0 for standing in standings]
        rates = orders.order_of(job).rates
        shards = self._fanout.shards
        self._sizes = [lists.chunk_size(rates[shard] if rates else None, shards.count) for shard in shards.each()]
        self._ends = orders.ends(job)
        for shard in self._fanout.shards.each():
            if job.status == Status.PAUSED or not self._has_more(shard):
                self._lists[shard].forget()

    def is_all_out(self) -> bool:
        """Whether nothing is left to be fanned out."""
        return not any(self._has_more(shard) for shard in self._fanout.shards.each())

    def go_on(self, room: set[int], limit: int) -> int:
        """Put what there is room for into the lanes, a few chunks in each; returns how many recipients those are.

        `room`: the shards whose lanes are not full; one that turns out to be is taken away.
        """
        return sum(self._fan(shard, room, limit) for shard in sorted(room) if self._may(shard))

    def wait_seconds(self, room: set[int]) -> float:
        """How long until there is use in another turn; infinite where there is nothing to do in these shards."""
        unfinished = [shard for shard in room if self._has_more(shard)]
        return min((self._next_at[shard] - time.monotonic() for shard in unfinished), default=float("inf"))

    def _has_more(self, shard: int) -> bool:
        return self._positions[shard] < self._ends[shard]

    def _may(self, shard: int) -> bool:
        return self._has_more(shard) and time.monotonic() >= self._next_at[shard]

    def _fan(self, shard: int, room: set[int], limit: int) -> int:
        position = self._positions[shard]
        chunks = self._lists[shard].chunks(position, self._ends[shard], self._sizes[shard])
        failpoints.reach("bulk.read")
        if not chunks:
            self._rest(shard, LOOK_SECONDS)
            return 0
        fanned = self._fanout.fan(
            str(self._id), shard, position=position, event=self._event, chunks=chunks, limit=limit
        )
        failpoints.reach("bulk.fanned")
        if fanned.what in {"paused", "cancelled", "gone"}:
            self._rest(shard, LOOK_SECONDS)
            return 0
        if fanned.what == "full":
            room.discard(shard)
            return 0
        self._rest(shard, fanned.wait_ms / 1000)
        self._positions[shard] = fanned.position
        if fanned.what != "fanned":
            return 0
        recipients = fanned.position - position
        metrics.bulk_chunks.inc(ceil(recipients / self._sizes[shard]))
        return recipients

    def _rest(self, shard: int, seconds: float) -> None:
        # No longer than until the next look: an order may come in between.
        self._next_at[shard] = time.monotonic() + min(seconds, LOOK_SECONDS)


def _was_cut_short(job: BulkJob, standings: Sequence[Standing | None]) -> bool:
    """Whether a cancelled job was just being fanned out again, to where it had got before Redis lost it."""
    return any(
        standing and standing.state == "cancelled" and standing.position < position
        for standing, position in zip(standings, job.positions, strict=True)
    )


def _under_way() -> list[BulkJob]:
    """The jobs that Redis has something to do with, or should have, oldest first."""
    if not BulkJob.is_any_unfinished():
        return []
    jobs = BulkJob.objects.filter(finished_at=None).exclude(status=Status.RECEIVING)
    # By PostgreSQL's clock, which said when they begin. A cancelled one does not wait for its time.
    jobs = jobs.filter(Q(start_at__lte=Now()) | Q(status=Status.CANCELLED))
    return [job for job in jobs.order_by("start_at", "pk") if _is_of_use(job) or job.applied < job.revision]


def _is_of_use(job: BulkJob) -> bool:
    """Whether there is anything to fan out; of a cancelled job, what Redis may have lost again."""
    return job.status != Status.CANCELLED or any(job.positions)
