"""What a dashboard is told, as JSON-ready objects: the stages, the processes, a point of the curves."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from notifications.stream import register
from notifications.stream.gauges import Queue, Timed
from notifications.stream.register import Slice
from notify_project.dashboard.facts import Facts
from notify_project.dashboard.judge import Verdict
from notify_project.dashboard.snapshot import Snapshot
from notify_project.dashboard.trend import Trend

Object = dict[str, Any]

# What only tells that time goes by is no news.
CLOCKS: Final = frozenset({"lag_ms", "next_ms", "latency_ms", "reason"})


def stages(facts: Facts, trend: Trend, verdicts: Mapping[str, Verdict]) -> dict[str, Object]:
    """Every stage with its verdict and its numbers; what is not known is None."""
    numbers = {**_lanes(facts), **_ends(facts, trend), **_arms(facts, trend)}
    return {name: {**verdict._asdict(), **numbers[name]} for name, verdict in verdicts.items()}


def news(shown: Mapping[str, Object]) -> Object:
    """Of the stages, what is worth another frame when it changes."""
    return {
        name: {key: value for key, value in stage.items() if key not in CLOCKS or value is None}
        for name, stage in shown.items()
    }


def latency(snapshot: Snapshot) -> Object:
    """How long an event takes from accepted to stored."""
    return {"p50_ms": snapshot.percentile(0.5), "p99_ms": snapshot.percentile(0.99)}


def processes(snapshot: Snapshot) -> list[Object]:
    """Every process that told of itself lately; none while Redis is away."""
    known = snapshot.processes.value or ()
    hidden = ("recipients", "frame_rate")
    return [
        {name: value for name, value in msgspec.structs.asdict(process).items() if name not in hidden}
        for process in known
    ]


def servers(snapshot: Snapshot) -> list[Object]:
    """Both servers."""
    redis_server, postgresql = snapshot.servers()
    return [postgresql._asdict(), redis_server._asdict()]


def point(one: Slice) -> Object:
    """A slice as a point of the curves; its numbers are those of all of it."""
    return {
        "at": one.at,
        "accepted": one.accepted,
        "stored": one.stored,
        "failed": one.failed,
        "dead": one.dead,
        "p50_ms": _rounded(register.percentile(one.latencies, 0.5)),
        "p99_ms": _rounded(register.percentile(one.latencies, 0.99)),
    }


def _lanes(facts: Facts) -> dict[str, Object]:
    live, bulk = (facts.gauges.live, facts.gauges.bulk) if facts.gauges else (None, None)
    events = facts.kept.jobs.in_lane if facts.kept and bulk else None
    return {"live": _lane(facts, live), "bulk": {**_lane(facts, bulk), "events": events}}


def _lane(facts: Facts, queue: Queue | None) -> Object:
    if queue is None:
        return {"count": None, "rate": None, "lag_ms": None}
    # What a worker has in hand waits no more, unless there is no worker.
    waiting = queue.entries if facts.running("worker") == 0 else queue.waiting
    return {"count": waiting, "rate": None, "lag_ms": facts.age_ms(queue.oldest_ms) if waiting else None}


def _ends(facts: Facts, trend: Trend) -> dict[str, Object]:
    """Where events come in, are handled, are kept, go out."""
    gateways = [process for process in facts.processes or () if process.kind == "web" and process.state == "alive"]
    known = facts.processes is not None
    told = [process.frame_rate for process in gateways if process.frame_rate is not None]
    return {
        "api": {
            "count": facts.gauges.totals.accepted if facts.gauges else None,
            "rate": _rounded(trend.accepted),
            "lag_ms": None,
            "webs": len(gateways) if known else None,
        },
        "workers": {
            "count": facts.running("worker"),
            "rate": _rounded(trend.stored),
            "lag_ms": None,
            "in_hand": facts.in_hand if facts.gauges else None,
        },
        "postgresql": {
            "count": facts.rows,
            "rate": _rounded(trend.stored),
            "lag_ms": None,
            "latency_ms": facts.postgresql_ms,
        },
        "sockets": {
            "count": sum(process.sockets or 0 for process in gateways) if known else None,
            "rate": _rounded(sum(told)) if told else None,
            "lag_ms": None,
            "recipients": sum(process.recipients or 0 for process in gateways) if known else None,
        },
    }


def _arms(facts: Facts, trend: Trend) -> dict[str, Object]:
    """What waits for its time, or for somebody."""
    delayed, scheduled = (facts.gauges.delayed, facts.gauges.scheduled) if facts.gauges else (None, None)
    new = facts.gauges.dead_letters if facts.gauges else None
    jobs = facts.kept.jobs if facts.kept else None
    return {
        "retry": {**_timed(facts, delayed), "rate": _rounded(trend.failed)},
        "schedule": {**_timed(facts, scheduled), "rate": _rounded(trend.fired)},
        "bulk_jobs": {
            "count": jobs.under_way if jobs else None,
            "rate": _rounded(trend.fanned),
            "lag_ms": None,
            "remaining": jobs.remaining if jobs else None,
        },
        "dlq": {
            "count": facts.kept.dead + facts.kept.replaying if facts.kept else None,
            "rate": _rounded(trend.dead),
            "lag_ms": facts.age_ms(new.oldest_ms) if new else None,
            "recording": new.entries if new else None,
        },
    }


def _timed(facts: Facts, timed: Timed | None) -> Object:
    if timed is None or facts.gauges is None or timed.first_ms is None:
        return {"count": timed.waiting if timed else None, "next_ms": None, "lag_ms": None}
    left_ms = timed.first_ms - facts.gauges.at_ms
    return {"count": timed.waiting, "next_ms": max(0, left_ms), "lag_ms": -left_ms if left_ms < 0 else None}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
