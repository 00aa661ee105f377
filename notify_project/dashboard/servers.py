"""PostgreSQL and Redis as a client finds them: how soon they answer, what they are, how much they hold."""

import time
from contextlib import closing
from typing import Any, Final, NamedTuple

import redis
from django.db import connection

from notify_project.dashboard.facts import Server

SLOW_POSTGRESQL_MS: Final = 250.0
SLOW_REDIS_MS: Final = 100.0

# The planner's estimate is renewed by ANALYZE only, the collector's lost in a crash: the larger one is nearer.
ASK_POSTGRESQL: Final = """
    WITH of_table AS (SELECT 'notifications_notification'::regclass AS oid)
    SELECT current_setting('server_version'), pg_database_size(current_database()),
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
        current_setting('max_connections')::int,
        greatest(0, pg_stat_get_live_tuples(oid), (SELECT reltuples FROM pg_class c WHERE c.oid = of_table.oid))::bigint
    FROM of_table
"""


class PostgreSQL(NamedTuple):
    """The server, and about how many notifications it holds."""

    server: Server
    rows: int


def look_at_postgresql() -> PostgreSQL:
    """Ask over a connection of its own, which the pool's state says nothing about. Raises what keeps it from that."""
    probe = connection.copy()
    probe.settings_dict["OPTIONS"].pop("pool", None)
    with closing(probe), probe.cursor() as cursor:
        began = time.perf_counter()
        cursor.execute("SELECT 1")
        latency_ms = (time.perf_counter() - began) * 1000
        cursor.execute(ASK_POSTGRESQL)
        version, size, used, most, rows = cursor.fetchone()
    detail = f"{used} of {most} connections"
    return PostgreSQL(_server("PostgreSQL", version.split()[0], latency_ms, SLOW_POSTGRESQL_MS, size, detail), rows)


def look_at_redis(client: redis.Redis) -> Server:
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
    return _server(name, version, latency_ms, SLOW_REDIS_MS, int(info["used_memory"]), detail)


def without_answer(name: str, version: str = "") -> Server:
    """A server that does not answer; the version is what it was."""
    return Server(name, version, "down", None, None, "does not answer")


def _server(name: str, version: str, latency_ms: float, slow_ms: float, size: int, detail: str) -> Server:
    state = "slow" if latency_ms >= slow_ms else "ok"
    return Server(name, version, state, round(latency_ms, 2), size, detail)  # type: ignore[arg-type]  # one of both
