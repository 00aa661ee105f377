"""Everything that is looked at, shared by all who ask in this process: the dashboards' ticker and GET /api/stats."""

import time
from collections.abc import Sequence
from functools import cache
from typing import Final

from django.conf import settings

from notifications import wiring
from notifications.stream import gauges, register
from notifications.stream.client import Shards, connect
from notify_project.dashboard import kept, servers
from notify_project.dashboard.facts import Facts, Server
from notify_project.dashboard.looks import Look

FLOW_SECONDS: Final = 0.25
POINTS_SECONDS: Final = 1.0
SLOW_SECONDS: Final = 2.0
# So soon Redis answers, or is said not to; the other server gets a little longer.
REDIS_SECONDS: Final = 1.0
LIMIT_SECONDS: Final = 1.8
# Who could not tell of itself in an outage of Redis is not taken for dead before it had the time to.
COMING_BACK_SECONDS: Final = 5.0
# Of what the percentiles and the rates of a single look are.
LATENCY_SECONDS: Final = 10
RECENT_SECONDS: Final = 20


class Snapshot:
    """The looks, and what they saw last."""

    def __init__(self, shards: Shards) -> None:
        client = shards.client
        self.gauges = Look("gauges", lambda: gauges.read(shards), every=FLOW_SECONDS, limit=REDIS_SECONDS)
        self.processes = Look(
            "processes", lambda: register.processes(client), every=POINTS_SECONDS, limit=LIMIT_SECONDS
        )
        self.latencies = Look(
            "latencies",
            lambda: register.latencies(client, LATENCY_SECONDS),
            every=POINTS_SECONDS,
            limit=LIMIT_SECONDS,
        )
        self.slices = Look(
            "slices", lambda: register.history(client, RECENT_SECONDS), every=POINTS_SECONDS, limit=LIMIT_SECONDS
        )
        self.kept = Look("kept", kept.look, every=POINTS_SECONDS, limit=LIMIT_SECONDS)
        self.redis = Look("redis", lambda: servers.look_at_redis(client), every=SLOW_SECONDS, limit=LIMIT_SECONDS)
        self.postgresql = Look("postgresql", servers.look_at_postgresql, every=SLOW_SECONDS, limit=LIMIT_SECONDS)
        self.all: Sequence[Look[object]] = (
            self.gauges,
            self.processes,
            self.latencies,
            self.slices,
            self.kept,
            self.redis,
            self.postgresql,
        )
        self._names = {"Redis": ("Redis", ""), "PostgreSQL": ("PostgreSQL", "")}

    def facts(self) -> Facts:
        """What is known now."""
        redis_server, postgresql = self.servers()
        seen = self.postgresql.value
        return Facts(
            at=self.gauges.seen_at if self.gauges.value else time.monotonic(),
            redis_down=self.gauges.down,
            postgresql_down=self.postgresql.down,
            gauges=self.gauges.value,
            processes=self.processes.value if self.gauges.answers_for > COMING_BACK_SECONDS else None,
            kept=self.kept.value,
            rows=seen.rows if seen else None,
            postgresql_ms=postgresql.latency_ms,
            redis_name=redis_server.name,
            max_backlog=settings.NOTIFY.max_backlog,
        )

    def servers(self) -> tuple[Server, Server]:
        """Redis and PostgreSQL; one that was not asked yet is not said to be down by its numbers alone."""
        redis_server, seen = self.redis.value, self.postgresql.value
        return self._known("Redis", redis_server), self._known("PostgreSQL", seen.server if seen else None)

    def percentile(self, share: float) -> float | None:
        """How long events of the lane `live` took lately, in milliseconds, from accepted to stored."""
        took = register.percentile(self.latencies.value or {}, share)
        return None if took is None else round(took, 1)

    def _known(self, kind: str, server: Server | None) -> Server:
        if server is None:
            return servers.without_answer(*self._names[kind])
        self._names[kind] = (server.name, server.version)
        return server


@cache
def snapshot() -> Snapshot:
    """This process' own. Its connections are its own as well: who looks waits less long than others do."""
    client = connect(settings.NOTIFY.redis_url, timeout_seconds=REDIS_SECONDS)
    return Snapshot(Shards(client, wiring.shards().count))
