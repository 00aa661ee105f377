"""What a process counts of itself, for Prometheus (docs/operations/metrics.md names each).

With NOTIFY_METRICS_DIR the numbers are in files of that folder, and whoever is scraped tells those of all processes
that share it; without, each process tells its own. What all processes share in any case, the pipeline's totals, is in
Redis and not counted here. Labels take few values: never a recipient, an id or a path.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

disable_created_metrics()

REGISTRY: Final = CollectorRegistry()

# From half a millisecond to a minute.
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# A request that takes longer has failed by then.
REQUEST_SECONDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# The promise is 250 ms; what was due while nobody was there is hours late.
LATE_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0)
BATCH_EVENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

STAGES: Final = ("read", "check", "store", "announce", "settle")
FAILED: Final = ("retried", "invalid", "retries_exhausted", "crash")
REFUSED: Final = (
    "rate",
    "recipient_rate",
    "backlog",
    "outage",
    "invalid",
    "too_large",
    "unauthenticated",
    "forbidden",
)
GATEWAY_REFUSES: Final = ("400", "408", "413", "414", "431")
CLOSED: Final = ("slow", "too_many", "unauthenticated", "expired", "foreign_origin", "outage")

http_requests: Final = Counter(
    "notify_http_requests",
    "Requests answered, by the name of their route.",
    ["route", "method", "status"],
    registry=REGISTRY,
)
http_seconds: Final = Histogram(
    "notify_http_request_seconds",
    "How long answers took, from the request's head to the answer's.",
    ["route"],
    buckets=REQUEST_SECONDS,
    registry=REGISTRY,
)
refused: Final = Counter(
    "notify_refused",
    "Requests that were refused, and events of a batch that were alone; by reason.",
    ["reason"],
    registry=REGISTRY,
)
gateway_refused: Final = Counter(
    "notify_gateway_refused",
    "Requests that the gateway refused before they were one: too slow, too large, no HTTP.",
    ["status"],
    registry=REGISTRY,
)
frames: Final = Counter(
    "notify_frames",
    "Frames handed to sockets (delivered), or lost on the way to a gateway (dropped; resume makes them up).",
    ["result"],
    registry=REGISTRY,
)
sockets_closed: Final = Counter(
    "notify_sockets_closed", "Sockets that we closed or refused, by why.", ["reason"], registry=REGISTRY
)
worker_seconds: Final = Histogram(
    "notify_worker_stage_seconds",
    "How long a batch took in each stage of a worker; read: with the wait for work.",
    ["stage"],
    buckets=SECONDS,
    registry=REGISTRY,
)
worker_events: Final = Histogram(
    "notify_worker_batch_events", "How many events a worker's batch had.", buckets=BATCH_EVENTS, registry=REGISTRY
)
worker_failed: Final = Counter(
    "notify_worker_failed",
    "Attempts that failed, by what became of the event: retried, or dead for this reason.",
    ["outcome"],
    registry=REGISTRY,
)
outages: Final = Counter(
    "notify_outages", "Outages of a server that a duty met, when they begin.", ["kind", "duty"], registry=REGISTRY
)
outage_seconds: Final = Counter(
    "notify_outage_seconds", "For how long duties waited outages out.", ["kind", "duty"], registry=REGISTRY
)
late_seconds: Final = Histogram(
    "notify_schedule_late_seconds",
    "By how much later than due schedules fired.",
    buckets=LATE_SECONDS,
    registry=REGISTRY,
)
bulk_chunks: Final = Counter("notify_bulk_chunks", "Chunks of bulk jobs put into the lane.", registry=REGISTRY)
bulk_fanned: Final = Counter(
    "notify_bulk_fanned_recipients", "Recipients of bulk jobs whose events were put into the lane.", registry=REGISTRY
)


def _begin_at_nothing() -> None:
    """Series are there from the start: one that begins with its first event hides that from `rate`."""
    for counter, name, values in (
        (refused, "reason", REFUSED),
        (frames, "result", ("delivered", "dropped")),
        (sockets_closed, "reason", CLOSED),
        (worker_failed, "outcome", FAILED),
        (gateway_refused, "status", GATEWAY_REFUSES),
    ):
        for value in values:
            counter.labels(**{name: value})


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Count how long a stage of the worker takes; not where it fails, as it is tried anew."""
    began = time.perf_counter()
    yield
    _stages[stage].observe(time.perf_counter() - began)


frames_delivered: Final = frames.labels("delivered")
_stages: Final = {stage: worker_seconds.labels(stage) for stage in STAGES}
_begin_at_nothing()
