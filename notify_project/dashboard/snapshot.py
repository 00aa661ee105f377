"""Everything that is looked at, shared by all who ask in this process: the dashboards' ticker and GET /api/stats."""

import time
from collections.abc import Sequence
from functools import cache
from typing import Final

from django.conf import settings

from notifications import process, wiring
from notifications.stream import gauges, register
from notifications.stream.client import Shards, connect
from notifications.stream.gauges import Gauges
from notifications.stream.register import Process
from notify_project.dashboard import kept, servers
from notify_project.dashboard.facts import Facts, Server
from notify_project.dashboard.looks import Look
from notify_project.dashboard.memory import COMING_BACK_SECONDS, Roll, Storing

FLOW_SECONDS: Final = 0.25
POINTS_SECONDS: Final = 1.0
SLOW_SECONDS: Final = 2.0
# So soon Redis answers, or is said not to; the other server gets a little longer.
REDIS_SECONDS: Final = 1.0
LIMIT_SECONDS: Final = 1.8
# What tables tell is good enough for so long where looking at them takes long.
KEPT_SECONDS: Final = 10.0
HELD_SECONDS: Final = 60.0
# Of what the percentiles and the rates of a single look are.
LATENCY_SECONDS: Final = 10
RECENT_SECONDS: Final = 20


class Snapshot:
    """The looks, and what they saw last."""

    def __init__(self, shards: Shards) -> None:
        client = shards.client
        self._shards = shards
        self._storing, self._roll = Storing(), Roll(process.consumer_name())
        self.gauges = Look("gauges", self._read_gauges, every=FLOW_SECONDS, limit=REDIS_SECONDS)
        self.processes = Look("processes", self._call_the_roll, every=POINTS_SECONDS, limit=LIMIT_SECONDS)
        self.latencies = Look(
            "latencies",
            lambda: register.latencies(client, LATENCY_SECONDS),
            every=POINTS_SECONDS,
            limit=LIMIT_SECONDS,
        )
        self.slices = Look(
            "slices", lambda: register.history(client, RECENT_SECONDS), every=POINTS_SECONDS, limit=LIMIT_SECONDS
        )
        self.kept = Look("kept", kept.look, every=POINTS_SECONDS, limit=LIMIT_SECONDS, lasting=KEPT_SECONDS)
        self.redis = Look("redis", lambda: servers.look_at_redis(client), every=SLOW_SECONDS, limit=LIMIT_SECONDS)
        self.postgresql = Look("postgresql", servers.look_at_postgresql, every=SLOW_SECONDS, limit=LIMIT_SECONDS)
        self.holdings = Look(
            "holdings", servers.look_at_holdings, every=SLOW_SECONDS, limit=LIMIT_SECONDS, lasting=HELD_SECONDS
        )
        self.all: Sequence[Look[object]] = (
            self.gauges,
            self.processes,
            self.latencies,
            self.slices,
            self.kept,
            self.redis,
            self.postgresql,
            self.holdings,
        )
        self._names = {"Redis": ("Redis", ""), "PostgreSQL": ("PostgreSQL", "")}

    def facts(self) -> Facts:
        """What is known now."""
        seen, away = self.gauges.value, self.postgresql_down
        redis_seen, postgresql, holdings = self.redis.value, self.postgresql.value, self.holdings.value
        return Facts(
            at=self.gauges.seen_at if seen else time.monotonic(),
            redis_down=self.gauges.down,
            postgresql_down=away,
            postgresql_full=postgresql is not None and postgresql.is_full,
            gauges=seen,
            processes=self._running(),
            kept=None if away else self.kept.value,
            kept_at=self.kept.seen_at,
            rows=holdings.rows if holdings and not away else None,
            postgresql_ms=self.servers()[1].latency_ms,
            redis_name=self._names["Redis"][0],
            redis_memory=redis_seen.memory if redis_seen else None,
            max_backlog=settings.NOTIFY.max_backlog,
            shards=self._shards.count,
        )

    @property
    def postgresql_down(self) -> bool:
        """Whether it does not answer, and nothing was stored lately either."""
        return self.postgresql.down and not self._storing.lately(time.monotonic())

    def servers(self) -> tuple[Server, Server]:
        """Redis and PostgreSQL; one that was not asked yet is not said to be down by its numbers alone."""
        redis_seen, postgresql = self.redis.value, self.postgresql.value
        found = servers.postgresql(postgresql, self.holdings.value) if postgresql else self._late()
        return self._known("Redis", redis_seen.server if redis_seen else None), self._known("PostgreSQL", found)

    def percentile(self, share: float) -> float | None:
        """How long events of the lane `live` took lately, in milliseconds, from accepted to stored."""
        took = register.percentile(self.latencies.value or {}, share)
        return None if took is None else round(took, 1)

    def _read_gauges(self) -> Gauges:
        found = gauges.read(self._shards)
        self._storing.saw(found.totals.stored, time.monotonic())
        return found

    def _call_the_roll(self) -> Sequence[Process]:
        found = register.processes(self._shards.client)
        self._roll.call(found, time.monotonic())
        return found

    def _running(self) -> Sequence[Process] | None:
        """Every process; None while one that runs may not have told of itself: after an outage of Redis, say."""
        told = self._roll.is_known(time.monotonic()) and self.gauges.answers_for > COMING_BACK_SECONDS
        return self.processes.value if told else None

    def _late(self) -> Server | None:
        """PostgreSQL where it gives the dashboard no answer, but stores."""
        late = self.postgresql.down and not self.postgresql_down
        return servers.late(*self._names["PostgreSQL"]) if late else None

    def _known(self, kind: str, server: Server | None) -> Server:
        if server is None:
            return servers.without_answer(*self._names[kind])
        # Who refuses a connection tells no version.
        self._names[kind] = (server.name, server.version or self._names[kind][1])
        return server._replace(version=self._names[kind][1])


@cache
def snapshot() -> Snapshot:
    """This process' own. Its connections are its own as well: who looks waits less long than others do."""
    client = connect(settings.NOTIFY.redis_url, timeout_seconds=REDIS_SECONDS)
    return Snapshot(Shards(client, wiring.shards().count))
