"""What Redis and PostgreSQL know of the whole deployment, as metrics: every web process tells the same.

What is not known, because a server is away, is missing; `notify_up` says which.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate
from platform import python_version
from typing import Final, NamedTuple

import django
from django.conf import settings
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from notifications import drift, wiring
from notifications.drift import Totals as DriftTotals
from notifications.stream import register
from notifications.stream.client import Shards, connect
from notifications.stream.gauges import Gauges, Timed
from notifications.stream.register import Process
from notify_project import VERSION
from notify_project.dashboard import looks
from notify_project.dashboard.facts import Facts, Kept, Server
from notify_project.dashboard.looks import Look
from notify_project.dashboard.snapshot import LIMIT_SECONDS, POINTS_SECONDS, REDIS_SECONDS, Snapshot, snapshot

# A server that stands still is known to by then.
WAIT_SECONDS: Final = LIMIT_SECONDS + 0.1
SHARED: Final = "Of the deployment: every web process tells the same, so take max(), not sum()."
KINDS: Final = ("web", "worker", "bulk_worker", "scheduler", "dlq_worker")
STATES: Final = ("alive", "silent", "dead", "stopped")
# Of the 24 buckets for each power of ten, every fourth is a border, up to a quarter of an hour.
BORDER_EVERY: Final = 4
LAST_BORDER: Final = 143


class _Counted(NamedTuple):
    """What only metrics show: latencies since the first start, by bucket, and what comparing counts found."""

    latencies: Mapping[int, int]
    drift: DriftTotals


class Deployment(Collector):
    """Looks at what there is, each time that it is asked; answers within two seconds, whatever is away."""

    def collect(self) -> Iterator[Metric]:
        seen, counted = snapshot(), _counted()
        looks.wait([*seen.all, counted], WAIT_SECONDS)
        facts = seen.facts()
        yield _build()
        yield from _servers(facts, seen)
        if facts.gauges:
            yield from _totals(facts.gauges)
            yield from _lanes(facts, facts.gauges)
            yield from _waiting(facts, facts.gauges)
        if facts.kept:
            yield from _kept(facts.kept)
        if facts.processes is not None:
            yield from _processes(facts.processes)
        if counted.value:
            yield _latency(counted.value.latencies)
            yield from _drift(counted.value.drift)


@cache
def _counted() -> Look[_Counted]:
    shards = Shards(connect(settings.NOTIFY.redis_url, timeout_seconds=REDIS_SECONDS), wiring.shards().count)
    return Look(
        "counted",
        lambda: _Counted(register.latencies_ever(shards.client), drift.totals(shards)),
        every=POINTS_SECONDS,
        limit=LIMIT_SECONDS,
    )


def _gauge(name: str, words: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield GaugeMetricFamily(f"notify_{name}", f"{words} {SHARED}", value)


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(f"notify_{name}", f"{words} {SHARED}", value)


def _by(name: str, words: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"notify_{name}", f"{words} {SHARED}", labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _build() -> Metric:
    names = ["version", "python", "django"]
    family = GaugeMetricFamily("notify_build_info", "What runs in this process; always 1.", labels=names)
    family.add_metric([VERSION, python_version(), django.__version__], 1)
    return family


def _servers(facts: Facts, seen: Snapshot) -> Iterator[Metric]:
    up = {"redis": float(not facts.redis_down), "postgresql": float(not facts.postgresql_down)}
    yield _by("up", "Whether the server answers (1) or not (0).", "server", up)
    told = {server: one.latency_ms / 1000 for server, one in _told(seen).items() if one.latency_ms is not None}
    yield _by("server_latency_seconds", "How soon the server answers the simplest question.", "server", told)
    sizes = {server: one.size_bytes for server, one in _told(seen).items() if one.size_bytes is not None}
    yield _by("server_bytes", "What it holds: Redis' memory, the database's size.", "server", sizes)
    yield from _gauge("redis_memory_ratio", "The share of maxmemory that is used, 0 to 1.", facts.redis_memory)
    holdings = None if facts.postgresql_down else seen.holdings.value
    if holdings:
        yield from _gauge("postgresql_connections", "Connections to the server, by whomever.", holdings.used)
        yield from _gauge("postgresql_max_connections", "As many as it allows.", holdings.most)
    yield from _gauge("notifications", "Rows of notifications, about.", facts.rows)


def _told(seen: Snapshot) -> dict[str, Server]:
    redis_server, postgresql = seen.servers()
    return {"redis": redis_server, "postgresql": postgresql}


def _totals(gauges: Gauges) -> Iterator[Metric]:
    totals = gauges.totals
    yield _counter("events_accepted", "Events accepted since the first start.", totals.accepted)
    yield _counter("events_stored", "Events that became notifications.", totals.stored)
    yield _counter("events_retried", "Attempts that failed and are tried again.", totals.retried)
    yield _counter("events_dead", "Events that were given up.", totals.dead)
    yield _counter("schedules_fired", "Schedules that fired, each time that they did.", totals.fired)


def _lanes(facts: Facts, gauges: Gauges) -> Iterator[Metric]:
    lanes = {"live": gauges.live, "bulk": gauges.bulk}
    entries = {name: float(queue.entries) for name, queue in lanes.items()}
    yield _by("lane_entries", "Entries of the lane; one of bulk may be many events.", "lane", entries)
    in_hand = {name: float(queue.in_hand) for name, queue in lanes.items()}
    yield _by("lane_in_hand", "Entries of these that a worker has read and not settled.", "lane", in_hand)
    lags = {name: (facts.age_ms(queue.oldest_ms) or 0) / 1000 for name, queue in lanes.items()}
    yield _by("lane_lag_seconds", "For how long the lane's oldest entry has been there; 0: it is empty.", "lane", lags)
    share = gauges.fullest / facts.shard_backlog
    yield from _gauge("backlog_ratio", "The share of NOTIFY_MAX_BACKLOG that the fullest shard has used.", share)


def _waiting(facts: Facts, gauges: Gauges) -> Iterator[Metric]:
    delayed, scheduled = gauges.delayed, gauges.scheduled
    yield from _gauge("retries_waiting", "Events that wait for another attempt.", delayed.waiting)
    yield from _gauge("retries_late_seconds", "By how much the first is overdue.", _late(facts, delayed))
    yield from _gauge("schedules_waiting", "Schedules that wait for their time.", scheduled.waiting)
    yield from _gauge("schedules_late_seconds", "By how much the first is overdue.", _late(facts, scheduled))
    letters = gauges.dead_letters
    yield from _gauge("dead_letters_unrecorded", "Dead events that are no rows yet.", letters.entries)


def _late(facts: Facts, timed: Timed) -> float:
    return (facts.age_ms(timed.first_ms) or 0) / 1000


def _kept(kept: Kept) -> Iterator[Metric]:
    letters = {"dead": float(kept.dead), "replaying": float(kept.replaying)}
    yield _by("dead_letters", "Dead letters that are open, and those on their way back.", "status", letters)
    jobs = kept.jobs
    states = {"queued": float(jobs.queued), "running": float(jobs.running), "paused": float(jobs.paused)}
    yield _by("bulk_jobs", "Bulk jobs that are not over.", "status", states)
    yield from _gauge("bulk_remaining_recipients", "Recipients of these not fanned out yet.", jobs.remaining)


def _processes(processes: Sequence[Process]) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "notify_processes", f"Processes that told of themselves lately. {SHARED}", labels=["kind", "state"]
    )
    counts = Counter((process.kind, process.state) for process in processes)
    kinds = dict.fromkeys((*KINDS, *(process.kind for process in processes)))
    for kind in kinds:
        for state in STATES:
            family.add_metric([kind, state], counts[kind, state])
    yield family
    alive = [process for process in processes if process.state == "alive"]
    memory = {kind: float(sum(process.rss_bytes for process in alive if process.kind == kind)) for kind in kinds}
    yield _by("process_memory_bytes", "Resident memory of the processes that are alive.", "kind", memory)
    yield from _gauge("sockets", "Open WebSockets of recipients.", sum(one.sockets or 0 for one in alive))
    yield from _gauge("socket_recipients", "Recipients with a socket.", sum(one.recipients or 0 for one in alive))


def _latency(latencies: Mapping[int, int]) -> Metric:
    """The sum is that of the buckets' middles, off by 5 % at most."""
    running = list(accumulate(latencies.get(number, 0) for number in range(register.LAST_BUCKET + 1)))
    borders = range(BORDER_EVERY - 1, LAST_BORDER + 1, BORDER_EVERY)
    buckets = [(f"{register.upper_seconds(number):.4g}", running[number]) for number in borders]
    total = sum(count * register.middle_ms(number) for number, count in latencies.items()) / 1000
    words = "From accepted to stored, of events that were sent singly, since the first start."
    name = "notify_event_latency_seconds"
    return HistogramMetricFamily(name, f"{words} {SHARED}", buckets=[*buckets, ("+Inf", running[-1])], sum_value=total)


def _drift(totals: DriftTotals) -> Iterator[Metric]:
    yield from _gauge("unread_drift", "Inboxes found lately whose counts differ: 0, or it is a bug.", totals.lately)
    yield _counter("unread_drift_checked", "Inboxes whose counts were compared.", totals.checked)
    yield _counter("unread_drift_found", "Inboxes of these whose counts differed.", totals.found)
