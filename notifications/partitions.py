"""The table of notifications is many: one for each stretch of time, by the time in the id.

An id decides alone where its row is, so the primary key holds for all of them together. The index on (recipient, seq)
is each partition's own, and unique only there: that no `seq` is given out twice is the doing of the inbox row's lock.

What fits into no partition, an id of a time whose partition has left or is not made yet, goes into the default one: no
row fails for want of a place. Partitions are made ahead. To attach one, PostgreSQL looks through the default one, and
to detach one it wants all of the table for a moment: whatever is in the way of either is waited for a tenth of
a second, and left alone until later.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import structlog
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg import sql

log = structlog.get_logger("notify.partitions")

TABLE: Final = "notifications_notification"
DEFAULT: Final = f"{TABLE}_default"
DAY: Final = timedelta(days=1)
WIDEST: Final = timedelta(days=30)
# So much is made ahead, or twice a partition's width where that is more.
AHEAD: Final = timedelta(days=7)
LOCK_TIMEOUT_MS: Final = 100
# What looks through the default partition keeps readers of all inboxes waiting.
STATEMENT_TIMEOUT_MS: Final = 2_000
LOCK: Final = 0x4E6F7479
# The locks by shard are from 0 up (scheduler/records.py).
MAKING: Final = -3

# Hand-written, all of these: the ORM knows no partitions.
ALL: Final = """
    SELECT c.relname, substring(of.bound FROM 'FROM \\(''(.*?)''\\)'), substring(of.bound FROM 'TO \\(''(.*?)''\\)')
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid,
        LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) AS of
    WHERE i.inhparent = %s::regclass AND of.bound <> 'DEFAULT'
"""
# BRIN costs an insert next to nothing, and tells what was stored late at once.
MAKE: Final = sql.SQL("""
    CREATE TABLE {name} (LIKE {table} INCLUDING ALL) WITH (fillfactor = 90);
    CREATE UNIQUE INDEX {inbox_order} ON {name} (recipient, seq);
    CREATE INDEX {stored} ON {name} USING brin (stored_at) WITH (autosummarize = on)
""")
MOVE: Final = sql.SQL("""
    LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE;
    WITH moved AS (DELETE FROM {default} WHERE id >= {first} AND id < {end} RETURNING *)
    INSERT INTO {name} SELECT * FROM moved
""")
ATTACH: Final = sql.SQL("ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({end})")
ATTACH_DEFAULT: Final = sql.SQL("ALTER TABLE {table} ATTACH PARTITION {name} DEFAULT")
DETACH: Final = sql.SQL("ALTER TABLE {table} DETACH PARTITION {name}")
DROP: Final = sql.SQL("DROP TABLE {name}")
STORED_SINCE: Final = sql.SQL("SELECT EXISTS (SELECT FROM {name} WHERE stored_at >= {bound})")
ANY_BETWEEN: Final = sql.SQL("SELECT EXISTS (SELECT FROM {name} WHERE id >= {first} AND id < {end})")
# A lock or a statement that took too long, a deadlock.
IN_THE_WAY: Final = frozenset({"55P03", "57014", "40P01"})


class NotNow(Exception):
    """Somebody else uses the table, or does the same; nothing was done, and another try may do it."""


class Partition(NamedTuple):
    """A table by its name, with the ids from `first` on and below `end`."""

    name: str
    first: UUID
    end: UUID

    @property
    def span(self) -> timedelta:
        """How much time it has room for."""
        return time_of(self.end) - time_of(self.first)


def width() -> timedelta:
    """How much time a new partition has room for: as set, or else a tenth of what is kept, up to WIDEST."""
    if settings.NOTIFY.partition_days:
        return timedelta(days=settings.NOTIFY.partition_days)
    kept = settings.NOTIFY.retention_days
    return max(DAY, min(WIDEST, timedelta(days=kept // 10))) if kept else WIDEST


def id_at(moment: datetime) -> UUID:
    """The least id of a time."""
    return UUID(int=round(moment.timestamp() * 1000) << 80)


def time_of(bound: UUID) -> datetime:
    """The time in an id."""
    return datetime.fromtimestamp((bound.int >> 80) / 1000, UTC)


def every() -> list[Partition]:
    """All partitions but the default one, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(ALL, [TABLE])
        found = [Partition(name, UUID(first or UUID(int=0).hex), UUID(end)) for name, first, end in cursor.fetchall()]
    return sorted(found, key=lambda partition: partition.first)


def make_ahead(now: datetime) -> int:
    """Make the partitions of the present and of the time to come that are not there yet; returns how many.

    Safe to repeat, and for several at a time. Raises NotNow.
    """
    made = 0
    while _make_next(now):
        made += 1
    return made


def make(first: datetime, end: datetime) -> None:
    """Make the partition of a time; what the default one has of it moves there. Raises NotNow."""
    with _briefly() as cursor:
        _make(cursor, first, end)


def make_default() -> None:
    """The partition of all that fits into no other."""
    with connection.cursor() as cursor:
        _run(cursor, MAKE, DEFAULT)
        _run(cursor, ATTACH_DEFAULT, DEFAULT)


def drop(partition: Partition, bound: datetime) -> bool:
    """Take a partition away with all that is in it, none of it unread. Raises NotNow.

    False, and it stays, where some was stored since `bound`; or where another process was first.
    """
    with _briefly() as cursor:
        if partition not in every():
            return False
        _run(cursor, DETACH, partition.name)
        # The index, or nothing: everybody waits meanwhile.
        cursor.execute("SET LOCAL enable_seqscan = off")
        _run(cursor, STORED_SINCE, partition.name, bound=bound)
        if cursor.fetchone()[0]:
            transaction.set_rollback(True)
            return False
        _run(cursor, DROP, partition.name)
    return True


def _make_next(now: datetime) -> bool:
    """Make the first that is missing; False where none is."""
    with _briefly() as cursor:
        first = _first_missing(cursor, now)
        if first is None:
            return False
        _make(cursor, first, first + width())
    return True


def _make(cursor: CursorWrapper, first: datetime, end: datetime) -> None:
    name = f"{TABLE}_p{first:%Y%m%d}"
    ids = {"first": id_at(first), "end": id_at(end)}
    _run(cursor, MAKE, name)
    _run(cursor, MOVE, name, **ids)
    _run(cursor, ATTACH, name, **ids)
    log.info("partitions.made", name=name, until=f"{end:%Y-%m-%d}")


def _first_missing(cursor: CursorWrapper, now: datetime) -> datetime | None:
    """When the next partition begins; None where enough are there.

    Where the present has none, it is not begun in the midst of rows that the default one has by now: they would have
    to be moved.
    """
    ends = [time_of(partition.end) for partition in every()]
    if ends and ends[-1] > now:
        return ends[-1] if ends[-1] < now + max(AHEAD, 2 * width()) else None
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    # A host whose clock is behind has yesterday.
    first, tomorrow = max([today - DAY, *ends]), today + DAY
    _run(cursor, ANY_BETWEEN, DEFAULT, first=id_at(first), end=id_at(tomorrow))
    return tomorrow if cursor.fetchone()[0] else first


@contextmanager
def _briefly() -> Iterator[CursorWrapper]:
    """A transaction that only one process has at a time, and that keeps nobody waiting. Raises NotNow."""
    try:
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
            cursor.execute(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}")
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK, MAKING])
            if not cursor.fetchone()[0]:
                raise NotNow("another process is at it")
            yield cursor
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) in IN_THE_WAY:
            raise NotNow(str(error).partition("\n")[0]) from error
        raise


def _run(cursor: CursorWrapper, statement: sql.SQL, name: str, **values: object) -> None:
    names = {"table": sql.Identifier(TABLE), "default": sql.Identifier(DEFAULT), "name": sql.Identifier(name)}
    names |= {of: sql.Identifier(f"{name}_{of}") for of in ("inbox_order", "stored")}
    cursor.execute(statement.format(**names, **{each: sql.Literal(value) for each, value in values.items()}))
