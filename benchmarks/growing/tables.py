"""Databases beside the empty one, in the same PostgreSQL, whose tables are full already.

Rows are those of the load (load.py) in size and kind: UUIDv7 in the order of time, from some days before the load until
it begins, in partitions as Notify makes them; one recipient has every hundredth row, all others the same number each.
Names are those that the load draws from.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psycopg
from psycopg import sql

from benchmarks.load import FIRST_MS, TEXT, TYPES
from benchmarks.servers import Servers
from notifications import partitions
from notify_project.local.children import PROJECT, manage

Database = psycopg.Connection[tuple[object, ...]]

MILLION: Final = 1_000_000
LARGE: Final = "the-large-one"
# Of a million rows the large one has 10,000; the others are one for each of these.
RECIPIENTS: Final = 990_000

DAY_MS: Final = 86_400_000
# The load comes when half of a partition's time is over: the first one that a new database has begins yesterday.
PRESENT_MS: Final = (FIRST_MS // DAY_MS + 14) * DAY_MS
# The rows are of so many days before: a year is thirteen partitions, and fifteen days are all in that of the load.
DAYS: Final = 365

PARTITIONS: Final = """
    SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'notifications_notification'::regclass
"""
# Into tables without indexes, which are made anew after: the fill takes a third of the time. The index of inboxes is
# left as full as inserts in no order leave it, two thirds or so.
BARE: Final = "ALTER TABLE notifications_notification DROP CONSTRAINT notifications_notification_pkey"
BARE_PARTITION: Final = sql.SQL("DROP INDEX {inbox_order}")
FILL: Final = """
    INSERT INTO notifications_notification
        (id, recipient, seq, type, title, body, data, stored_at, attempts, source)
    SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid,
        recipient, seq, (%(types)s::text[])[1 + n %% 5], substr(%(text)s, 1 + (n %% 89)::int, 20 + (n %% 31)::int),
        substr(%(text)s, 1 + (n %% 43)::int, 60 + (n %% 101)::int),
        jsonb_build_object('order', n, 'amount', (n %% 99999) / 100.0, 'url', '/orders/' || n),
        to_timestamp(ms / 1000.0), 1, 0
    FROM (
        SELECT n, md5(n::text) AS hash, %(present_ms)s - (%(rows)s - n) * %(span_ms)s / %(rows)s - 1 AS ms,
            CASE WHEN n %% 100 = 99 THEN %(large)s
                ELSE 'user-' || lpad(((n - n / 100) * 7919 %% %(recipients)s)::text, 7, '0') END AS recipient,
            CASE WHEN n %% 100 = 99 THEN n / 100 ELSE (n - n / 100) / %(recipients)s END + 1 AS seq
        FROM generate_series(0::bigint, %(rows)s::bigint - 1) AS n
    ) AS drawn
"""
INDEX: Final = "ALTER TABLE notifications_notification ADD PRIMARY KEY (id)"
INDEX_PARTITION: Final = sql.SQL(
    "CREATE UNIQUE INDEX {inbox_order} ON {partition} (recipient, seq) WITH (fillfactor = 67)"
)
# Where the first of a new database begins.
BEGINS: Final = """
    SELECT min(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \\(''(.*?)''\\)'))
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'notifications_notification'::regclass
"""
FILL_INBOXES: Final = """
    INSERT INTO notifications_inbox (recipient, seq, unread, version)
    SELECT recipient, max(seq), count(*), max(seq) FROM notifications_notification GROUP BY recipient
"""


class Table(NamedTuple):
    """A database by what it held when it was new, and the servers as a process of it sees them."""

    rows: int
    servers: Servers

    @property
    def name(self) -> str:
        """As the result calls it."""
        return f"{self.rows // MILLION} million rows" if self.rows else "an empty table"


@contextmanager
def filled(servers: Servers, millions: int, days: int = DAYS) -> Iterator[Table]:
    """A database of so many million rows of so many days. It goes with the servers' folder."""
    name = f"filled_{millions}"
    url = urlunsplit(urlsplit(servers.environment["DATABASE_URL"])._replace(path=f"/{name}"))
    environment = {**servers.environment, "DATABASE_URL": url}
    servers.database.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    subprocess.run(manage("migrate", "--verbosity=0"), env=environment, cwd=PROJECT, check=True)
    with psycopg.connect(url, autocommit=True) as database:
        _divide(database, days)
        _fill(database, millions * MILLION, days)
        yield Table(millions * MILLION, replace(servers, database=database, environment=environment))


def _divide(database: Database, days: int) -> None:
    """Make the partitions of the past, as a database has them that was used for so long."""
    row = database.execute(BEGINS).fetchone()
    assert row is not None
    begins = partitions.time_of(UUID(str(row[0])))
    oldest = datetime.fromtimestamp(PRESENT_MS / 1000, UTC) - timedelta(days=days)
    while begins > oldest:
        begins, end = begins - partitions.WIDEST, begins
        name = f"{partitions.TABLE}_p{begins:%Y%m%d}"
        bounds = {"first": partitions.id_at(begins), "end": partitions.id_at(end)}
        for statement in (partitions.MAKE, partitions.ATTACH):
            database.execute(_of(statement, name, **bounds))


def _fill(database: Database, rows: int, days: int) -> None:
    values = {
        "types": list(TYPES),
        "text": TEXT,
        "present_ms": PRESENT_MS,
        "span_ms": days * DAY_MS,
        "rows": rows,
        "large": LARGE,
        "recipients": RECIPIENTS,
    }
    names = [str(name) for (name,) in database.execute(PARTITIONS)]
    # To sort them in memory, here only.
    database.execute("SET maintenance_work_mem = '1GB'")
    database.execute(BARE)
    for name in names:
        database.execute(_of(BARE_PARTITION, name))
    database.execute(FILL, values)
    database.execute(INDEX)
    for name in names:
        database.execute(_of(INDEX_PARTITION, name))
    database.execute(FILL_INBOXES)
    database.execute("VACUUM (ANALYZE)")
    database.execute("CHECKPOINT")


def _of(statement: sql.SQL, partition: str, **values: object) -> sql.Composed:
    """A statement about a partition, which takes no parameters."""
    names = {"table": partitions.TABLE, "name": partition, "partition": partition}
    names |= {of: f"{partition}_{of}" for of in ("inbox_order", "stored")}
    literals = {each: sql.Literal(value) for each, value in values.items()}
    return statement.format(**{each: sql.Identifier(name) for each, name in names.items()}, **literals)
