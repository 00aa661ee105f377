"""PostgreSQL and Redis as a client finds them: how soon they answer, what they are, how much they hold."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, NamedTuple

import redis
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from notify_project.dashboard.facts import Server

SLOW_POSTGRESQL_MS: Final = 250.0
SLOW_REDIS_MS: Final = 100.0

# The planner's estimate is renewed by ANALYZE only, the collector's lost in a crash: the larger one is nearer.
ASK_POSTGRESQL: Final = """
    SELECT pg_database_size(current_database()),
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
        current_setting('max_connections')::int,
        sum(greatest(0, pg_stat_get_live_tuples(c.oid), c.reltuples))::bigint
    FROM pg_partition_tree('notifications_notification') AS tree JOIN pg_class AS c ON c.oid = tree.relid
    WHERE tree.isleaf
"""


# PostgreSQL's 53300. Who is refused while it connects is told no SQLSTATE by libpq, only these words.
NO_CONNECTION_LEFT: Final = (
    *("too many clients", "remaining connection slots", "too many connections"),
    # A pooler's words.
    *("no more connections allowed", "query_wait_timeout"),
)


class PostgreSQL(NamedTuple):
    """How soon the server answers the simplest question; None where it has no connection to give."""

    version: str
    latency_ms: float | None

    @property
    def is_full(self) -> bool:
        """Whether whoever comes now gets no connection."""
        return self.latency_ms is None


class Holdings(NamedTuple):
    """What the server holds: bytes, connections and the most that it allows, about how many notifications."""

    size_bytes: int
    used: int
    most: int
    rows: int


class Redis(NamedTuple):
    """The server, and the share of its memory's limit that is used; None where nothing is refused for it."""

    server: Server
    memory: float | None


def look_at_postgresql() -> PostgreSQL:
    """Connect and ask the simplest question. Raises what keeps it from an answer."""
    try:
        with _own_connection() as probe, probe.cursor() as cursor:
            began = time.perf_counter()
            cursor.execute("SELECT 1")
            latency_ms = (time.perf_counter() - began) * 1000
            version = probe.connection.info.parameter_status("server_version")
    except OperationalError as error:
        if _is_full(error):
            return PostgreSQL("", None)
        raise
    return PostgreSQL(version.split()[0], latency_ms)


def look_at_holdings() -> Holdings:
    """Ask for what may take long, and says nothing of whether the server answers. Raises what keeps it from that."""
    with _own_connection() as probe, probe.cursor() as cursor:
        cursor.execute(ASK_POSTGRESQL)
        return Holdings(*cursor.fetchone())


def postgresql(seen: PostgreSQL, holdings: Holdings | None) -> Server:
    """The server as both looks found it."""
    size = holdings.size_bytes if holdings else None
    if seen.latency_ms is None:
        return Server("PostgreSQL", seen.version, "slow", None, size, "no free connection")
    detail = f"{holdings.used} of {holdings.most} connections" if holdings else ""
    return _server("PostgreSQL", seen.version, seen.latency_ms, SLOW_POSTGRESQL_MS, size, detail)


def look_at_redis(client: redis.Redis) -> Redis:
    """Ask for an answer, and for what INFO tells. Raises RedisError."""
    # The first may have to connect.
    client.ping()
    began = time.perf_counter()
    client.ping()
    latency_ms = (time.perf_counter() - began) * 1000
    info: dict[str, Any] = client.info()
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info["redis_version"])
    kept = "append-only file" if info.get("aof_enabled") else "no append-only file"
    detail = f"{info['connected_clients']} clients, {kept}"
    return Redis(_server(name, version, latency_ms, SLOW_REDIS_MS, int(info["used_memory"]), detail), _memory(info))


def without_answer(name: str, version: str = "") -> Server:
    """A server that does not answer; the version is what it was."""
    return Server(name, version, "down", None, None, "does not answer")


def late(name: str, version: str) -> Server:
    """A server that does not answer in time, and works."""
    return Server(name, version, "slow", None, None, "answers late")


@contextmanager
def _own_connection() -> Iterator[BaseDatabaseWrapper]:
    """A connection past the pool, whose state says nothing about the server."""
    probe = connection.copy()
    probe.settings_dict["OPTIONS"].pop("pool", None)
    with closing(probe):
        yield probe


def _is_full(error: OperationalError) -> bool:
    return any(words in str(error) for words in NO_CONNECTION_LEFT)


def _memory(info: dict[str, Any]) -> float | None:
    limit = int(info.get("maxmemory", 0))
    # One that may throw away anything refuses nothing.
    if not limit or str(info.get("maxmemory_policy")).startswith("allkeys"):
        return None
    return (int(info["used_memory"]) - int(info.get("mem_not_counted_for_evict", 0))) / limit


def _server(name: str, version: str, latency_ms: float, slow_ms: float, size: int | None, detail: str) -> Server:
    state = "slow" if latency_ms >= slow_ms else "ok"
    return Server(name, version, state, round(latency_ms, 2), size, detail)  # type: ignore[arg-type]  # one of both
