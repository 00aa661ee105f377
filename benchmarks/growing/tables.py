"""Databases beside the empty one, in the same PostgreSQL, whose tables are full already.

Rows are those of the load (load.py) in size and kind: UUIDv7 in the order of time, ending where the load's begin; one
recipient has every hundredth of them, all others the same number each. Names are those that the load draws from.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from benchmarks.load import EVENTS_PER_MS, FIRST_MS, TEXT, TYPES
from benchmarks.servers import Servers
from notify_project.local.children import PROJECT, manage

MILLION: Final = 1_000_000
LARGE: Final = "the-large-one"
# Of a million rows the large one has 10,000; the others are one for each of these.
RECIPIENTS: Final = 990_000

# Into a table without indexes, which are made anew after: the fill takes a third of the time. The index of inboxes is
# left as full as inserts in no order leave it, two thirds or so.
BARE: Final = """
    ALTER TABLE notifications_notification
        DROP CONSTRAINT notifications_notification_pkey, DROP CONSTRAINT notification_inbox_order
"""
FILL: Final = """
    INSERT INTO notifications_notification
        (id, recipient, seq, type, title, body, data, stored_at, attempts, source)
    SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid,
        recipient, seq, (%(types)s::text[])[1 + n %% 5], substr(%(text)s, 1 + (n %% 89)::int, 20 + (n %% 31)::int),
        substr(%(text)s, 1 + (n %% 43)::int, 60 + (n %% 101)::int),
        jsonb_build_object('order', n, 'amount', (n %% 99999) / 100.0, 'url', '/orders/' || n),
        to_timestamp(ms / 1000.0), 1, 0
    FROM (
        SELECT n, md5(n::text) AS hash, %(first_ms)s - (%(rows)s - n) / %(per_ms)s - 1 AS ms,
            CASE WHEN n %% 100 = 99 THEN %(large)s
                ELSE 'user-' || lpad(((n - n / 100) * 7919 %% %(recipients)s)::text, 7, '0') END AS recipient,
            CASE WHEN n %% 100 = 99 THEN n / 100 ELSE (n - n / 100) / %(recipients)s END + 1 AS seq
        FROM generate_series(0::bigint, %(rows)s::bigint - 1) AS n
    ) AS drawn
"""
INDEXES: Final = """
    ALTER TABLE notifications_notification
        ADD CONSTRAINT notifications_notification_pkey PRIMARY KEY (id),
        ADD CONSTRAINT notification_inbox_order UNIQUE (recipient, seq) WITH (fillfactor = 67)
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
def filled(servers: Servers, millions: int) -> Iterator[Table]:
    """A database of so many million rows. It goes with the servers' folder."""
    name = f"filled_{millions}"
    url = urlunsplit(urlsplit(servers.environment["DATABASE_URL"])._replace(path=f"/{name}"))
    environment = {**servers.environment, "DATABASE_URL": url}
    servers.database.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    subprocess.run(manage("migrate", "--verbosity=0"), env=environment, cwd=PROJECT, check=True)
    with psycopg.connect(url, autocommit=True) as database:
        _fill(database, millions * MILLION)
        yield Table(millions * MILLION, replace(servers, database=database, environment=environment))


def _fill(database: "psycopg.Connection[tuple[object, ...]]", rows: int) -> None:
    values = {
        "types": list(TYPES),
        "text": TEXT,
        "first_ms": FIRST_MS,
        "per_ms": EVENTS_PER_MS,
        "rows": rows,
        "large": LARGE,
        "recipients": RECIPIENTS,
    }
    # To sort them in memory, here only.
    database.execute("SET maintenance_work_mem = '1GB'")
    database.execute(BARE)
    database.execute(FILL, values)
    database.execute(INDEXES)
    database.execute(FILL_INBOXES)
    database.execute("VACUUM (ANALYZE)")
    database.execute("CHECKPOINT")
