"""A job's list on its way into PostgreSQL: pieces as they come in, sorted out in one transaction at their end.

Until then the job is receiving, and nobody is shown it; one whose list never comes to its end is removed.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from psycopg.types.json import Jsonb

from bulk.models import PART_SIZE, BulkJob, Received
from bulk.requests import Content, Running
from notifications import events, failpoints, tracing
from notifications.exceptions import Unavailable
from notifications.stream import keys

# About so many recipients are held before they are written.
PIECE_SIZE: Final = 5000
# A list of which nothing has come for so long is given up.
ABANDONED: Final = timedelta(hours=1)
MAX_NAME: Final = 200
RETRY_SECONDS: Final = 2

Status = BulkJob.Status

# Hand-written: one round trip a piece. It is written only while the job is there, and receiving.
INSERT_PIECE: Final = """
    WITH job AS (
        UPDATE bulk_bulkjob SET received_at = now() WHERE id = %(job)s AND status = %(receiving)s RETURNING id
    )
    INSERT INTO bulk_received (job_id, shard, recipients)
    SELECT job.id, piece.shard, piece.recipients
    FROM job, unnest(%(shards)s::int[], %(recipients)s::text[]) AS piece (shard, recipients)
"""

# Hand-written: a list of any length is sorted, rid of duplicates and cut into parts where it is. It is compared byte by
# byte ("C"), which is several times as fast as by a language's rules, and the same on every machine.
SORT_OUT: Final = """
    WITH names AS (
        SELECT DISTINCT shard, name COLLATE "C" AS name
        FROM bulk_received, unnest(string_to_array(recipients, E'\\n')) AS name
        WHERE job_id = %(job)s
    ), numbered AS (
        SELECT shard, name, (row_number() OVER (PARTITION BY shard ORDER BY name) - 1) / %(size)s AS number FROM names
    ), parts AS (
        SELECT shard, number, count(*) AS size, string_agg(name, E'\\n' ORDER BY name) AS recipients
        FROM numbered GROUP BY shard, number
    ), written AS (
        INSERT INTO bulk_part (job_id, shard, number, recipients)
        SELECT %(job)s, shard, number, recipients FROM parts
    )
    SELECT shard, sum(size)::bigint FROM parts GROUP BY shard
"""

# What a sort may hold in memory before it goes to disk.
WORK_MEMORY: Final = "SET LOCAL work_mem = '16MB'"

# By PostgreSQL's clock, which bulk workers go by.
QUEUE: Final = """
    UPDATE bulk_bulkjob SET
        status = %(queued)s, total = %(total)s, duplicates = %(duplicates)s, rejected = %(rejected)s,
        shares = %(shares)s, positions = %(positions)s,
        start_at = coalesce(to_timestamp(%(at)s), now() + %(delay)s)
    WHERE id = %(job)s
    RETURNING start_at
"""


class Queued(NamedTuple):
    """What a list came to: recipients, each counted once; how many were named again; when their job begins."""

    total: int
    duplicates: int
    start_at: datetime


class Upload:
    """A list that is coming in, of a job that is receiving. Every call may raise Unavailable: it was given up."""

    def __init__(self, job_id: UUID) -> None:
        self.job_id = job_id
        self.named = 0
        self._held: list[str] = []

    def add(self, recipients: list[str]) -> None:
        """Take the next recipients of the list."""
        self._held += recipients
        if len(self._held) >= PIECE_SIZE:
            self.flush()

    def flush(self) -> None:
        """Write what is held; committed when this returns."""
        pieces = _by_shard(self._held)
        values: dict[str, Any] = {
            "job": self.job_id,
            "receiving": Status.RECEIVING,
            "shards": list(pieces),
            "recipients": ["\n".join(piece) for piece in pieces.values()],
        }
        with connection.cursor() as cursor:
            cursor.execute(INSERT_PIECE, values)
            if cursor.rowcount < len(pieces):
                raise _given_up()
        self.named += len(self._held)
        self._held = []
        failpoints.reach("bulk.received")

    def queue(self, running: Running, rejected: int) -> Queued:
        """Sort the list out and let the job begin, with the transaction that this is called in."""
        if not BulkJob.objects.select_for_update().filter(pk=self.job_id, status=Status.RECEIVING).exists():
            raise _given_up()
        shares = self._sort_out()
        total = sum(shares)
        values: dict[str, Any] = {
            "job": self.job_id,
            "queued": Status.QUEUED,
            "total": total,
            "duplicates": self.named - total,
            "rejected": rejected,
            "shares": Jsonb(shares),
            "positions": Jsonb([0] * len(shares)),
            "at": None if running.at_ms is None else running.at_ms / 1000,
            "delay": timedelta(milliseconds=running.delay_ms),
        }
        with connection.cursor() as cursor:
            cursor.execute(QUEUE, values)
            return Queued(total, self.named - total, cursor.fetchone()[0])

    def _sort_out(self) -> list[int]:
        """Make parts of all pieces; how many recipients each shard has."""
        shares = [0] * settings.NOTIFY.shards
        with connection.cursor() as cursor:
            cursor.execute(WORK_MEMORY)
            cursor.execute(SORT_OUT, {"job": self.job_id, "size": PART_SIZE})
            for shard, share in cursor.fetchall():
                shares[shard] = share
        Received.objects.filter(job_id=self.job_id).delete()
        return shares


def now_ms() -> int:
    """PostgreSQL's clock, by which jobs begin: Unix ms."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        return int(cursor.fetchone()[0])


def begin(content: Content, by: str) -> Upload:
    """Make a job that is receiving; `by` says who asks for it."""
    job_id = events.new_id("")
    BulkJob.objects.create(
        pk=job_id,
        type=content.draft.type,
        title=content.draft.title,
        payload=events.encode(events.template(content.draft, job_id, tracing.carried())),
        rate_limit=content.running.rate_limit,
        created_by=by[:MAX_NAME],
        created_at=Now(),
        received_at=Now(),
        start_at=Now(),
    )
    return Upload(UUID(job_id))


def remove(job_id: UUID) -> None:
    """Remove a job that is receiving; one that was queued stays. Where PostgreSQL is away, `forget_abandoned` will."""
    with suppress(DatabaseError, InterfaceError):
        if not connection.in_atomic_block:
            # What went wrong may have been this connection, and nothing else.
            connection.close_if_unusable_or_obsolete()
        _remove(BulkJob.objects.filter(pk=job_id))


def forget_abandoned() -> int:
    """Remove jobs whose list broke off with nobody left to remove them; returns how many."""
    return _remove(BulkJob.objects.filter(received_at__lt=Now() - ABANDONED))


def _remove(jobs: QuerySet[BulkJob]) -> int:
    with transaction.atomic():
        receiving = jobs.filter(status=Status.RECEIVING).select_for_update(skip_locked=True)
        ids = list(receiving.values_list("pk", flat=True))
        Received.objects.filter(job_id__in=ids).delete()
        BulkJob.objects.filter(pk__in=ids).delete()
    return len(ids)


def _by_shard(recipients: list[str]) -> dict[int, list[str]]:
    """Recipients in order, by the shards that hold what is theirs."""
    shards = settings.NOTIFY.shards
    if shards == 1:
        return {0: recipients} if recipients else {}
    pieces: dict[int, list[str]] = {}
    for recipient in recipients:
        pieces.setdefault(keys.shard_of(recipient, shards), []).append(recipient)
    return pieces


def _given_up() -> Unavailable:
    return Unavailable("The list came too slowly, and was given up.", retry_after=RETRY_SECONDS)
