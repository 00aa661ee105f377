"""What `GET /api/stats` says of itself (notifications/api/schema)."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from notifications.api.schema.operation import Answer, Operation, Operations
from notifications.api.schema.parts import EXAMPLE_TIME, Count, Time
from notify_project.dashboard.judge import State

TAG: Final = "Standing"

Milliseconds = Annotated[int, Meta(ge=0)]
Rate = Annotated[float, Meta(ge=0, description="events a second")]


class Stage(msgspec.Struct, kw_only=True):
    """A stage of the pipeline: its state, why and what to do; how much is there, how fast it goes, how old it is."""

    state: State
    reason: str
    advice: str
    count: Count | None
    rate: Rate | None
    lag_ms: Milliseconds | None


class ApiStage(Stage, kw_only=True):
    """Where events come in; `webs`: how many processes take them."""

    webs: Count | None


class BulkLaneStage(Stage, kw_only=True):
    """The lane of bulk jobs; `count` are its chunks, `events` what is in them."""

    events: Count | None


class WorkersStage(Stage, kw_only=True):
    """Who handles events; `in_hand`: how many events just now."""

    in_hand: Count | None


class PostgreSQLStage(Stage, kw_only=True):
    """Where notifications are kept; `count` is about how many."""

    latency_ms: Annotated[float, Meta(ge=0)] | None


class SocketsStage(Stage, kw_only=True):
    """Who is told at once; `rate` is frames a second."""

    recipients: Count | None


class TimedStage(Stage, kw_only=True):
    """What waits for its time; `next_ms`: in how long the first of it is due."""

    next_ms: Milliseconds | None


class BulkJobsStage(Stage, kw_only=True):
    """Bulk jobs under way; `remaining`: how many recipients they have left."""

    remaining: int | None


class DeadLettersStage(Stage, kw_only=True):
    """Dead letters; `recording`: how many are no rows yet."""

    recording: Count | None


class Stages(msgspec.Struct):
    """Every stage, by name."""

    api: ApiStage
    live: Stage
    bulk: BulkLaneStage
    workers: WorkersStage
    postgresql: PostgreSQLStage
    sockets: SocketsStage
    retry: TimedStage
    schedule: TimedStage
    bulk_jobs: BulkJobsStage
    dlq: DeadLettersStage


class Latency(msgspec.Struct):
    """How long events took lately, from accepted to stored, in milliseconds; bulk jobs' not counted."""

    p50_ms: Annotated[float, Meta(ge=0)] | None
    p99_ms: Annotated[float, Meta(ge=0)] | None


class Process(msgspec.Struct):
    """A process as it last told of itself. `started_at` is Unix milliseconds; `sockets` is a gateway's."""

    name: str
    kind: str
    host: str
    pid: int
    started_at: int
    beat_age_ms: int
    state: Literal["alive", "silent", "dead", "stopped"]
    handled: Count
    rate: Rate
    rss_bytes: Count
    sockets: Count | None


class Server(msgspec.Struct):
    """A server that all of it stands on. `detail` is a few words for people."""

    name: str
    version: str
    state: Literal["ok", "slow", "down"]
    latency_ms: Annotated[float, Meta(ge=0)] | None
    size_bytes: Count | None
    detail: str


class Stats(msgspec.Struct):
    """All that the dashboard shows. What is not known just now is null."""

    at: Time
    stages: Stages
    latency: Latency
    processes: list[Process]
    servers: list[Server]


def _stage(**numbers: Any) -> dict[str, Any]:  # noqa: ANN401 - numbers, or none
    return {"state": "ok", "reason": "", "advice": "", "count": 0, "rate": 0.0, "lag_ms": None, **numbers}


STAGES: Final[dict[str, Any]] = {
    "api": _stage(count=12_000, rate=120.0, webs=1),
    "live": _stage(count=3, rate=None, lag_ms=4),
    "bulk": _stage(rate=None, events=0),
    "workers": _stage(count=1, rate=120.0, in_hand=2),
    "postgresql": _stage(count=11_997, rate=120.0, latency_ms=0.4),
    "sockets": _stage(count=20, rate=12.5, recipients=18),
    "retry": _stage(next_ms=None),
    "schedule": _stage(count=2, next_ms=45_000),
    "bulk_jobs": _stage(rate=None, remaining=0),
    "dlq": _stage(recording=0),
}
PROCESS: Final = {
    "name": "host:4711:1769847000",
    "kind": "worker",
    "host": "host",
    "pid": 4711,
    "started_at": 1_769_847_000_000,
    "beat_age_ms": 820,
    "state": "alive",
    "handled": 12_000,
    "rate": 120.0,
    "rss_bytes": 90_000_000,
    "sockets": None,
}
SERVERS: Final = [
    {
        "name": "PostgreSQL",
        "version": "18.0",
        "state": "ok",
        "latency_ms": 0.4,
        "size_bytes": 40_000_000,
        "detail": "9 of 100 connections",
    },
    {
        "name": "Valkey",
        "version": "9.0.0",
        "state": "ok",
        "latency_ms": 0.2,
        "size_bytes": 3_000_000,
        "detail": "appendonly",
    },
]

OPERATIONS: Final[Operations] = {
    "GET /api/stats": Operation(
        "getStats",
        TAG,
        "Where everything stands",
        "Stages with their states, counts, lags and rates; latencies; processes and servers. 200 whatever is away: "
        "what is not known is null, and the stage says why.",
        scope="read",
        answers={
            200: Answer(
                "Where it stands.",
                Stats,
                {
                    "all_well": {
                        "at": EXAMPLE_TIME,
                        "stages": STAGES,
                        "latency": {"p50_ms": 5.2, "p99_ms": 18.9},
                        "processes": [PROCESS],
                        "servers": SERVERS,
                    }
                },
            )
        },
    ),
}
