"""From what is known to what it means: of each stage a state, the reason in plain words, and what to do next.

Pure functions of facts and trend. A stage that only suffers from another says which one, so that the first advice
that a person reads is about the cause.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

from notify_project.dashboard.facts import Facts
from notify_project.dashboard.trend import Trend

State = Literal["idle", "ok", "paused", "behind", "stalled", "down"]

OLD_MS: Final = 5_000
OLD_BULK_MS: Final = 60_000
STILL_SECONDS: Final = 3.0
# Of what grows slower, or is handled sooner than after a second, nobody has to be told.
GROWTH: Final = 20.0
GROWING_MS: Final = 1_000
OVERDUE_MS: Final = 2_000
LONG_OVERDUE_MS: Final = 10_000
UNRECORDED_MS: Final = 5_000
LONG_UNRECORDED_MS: Final = 15_000
FAN_STILL_SECONDS: Final = 5.0
SLOW_POSTGRESQL_MS: Final = 1_000.0
# At this share a door that takes batches refuses some; memory goes up and down with every answer.
FULL: Final = 0.99
# Bad states are left this much later than the facts would have it, so that nothing flickers.
STEADY_SECONDS: Final = 1.0

NOT_KNOWN: Final = "Not known just now."
WHO_RUNS: Final = "Which processes run is not known yet."
START_POSTGRESQL: Final = "Start PostgreSQL, or look at its log. Nothing is lost: what was accepted waits in Redis."


class Verdict(NamedTuple):
    """A stage's state; a short sentence that says why; what to do next (empty: nothing)."""

    state: State
    reason: str = ""
    advice: str = ""


RANKS: Final[Mapping[State, int]] = {"idle": 0, "ok": 0, "paused": 0, "behind": 1, "stalled": 2, "down": 3}


def judge(facts: Facts, trend: Trend) -> dict[str, Verdict]:
    """The verdict on every stage."""
    return {name: one(facts, trend) for name, one in STAGES.items()}


class Steady:
    """Keeps verdicts from flickering: worse is shown at once, better only when it has lasted."""

    def __init__(self) -> None:
        self._shown: dict[str, Verdict] = {}
        self._better_since: dict[str, float] = {}

    def shown(self, verdicts: Mapping[str, Verdict], at: float) -> dict[str, Verdict]:
        """The verdicts to show at a time, in seconds of a clock that never jumps."""
        self._shown = {name: self._one(name, verdict, at) for name, verdict in verdicts.items()}
        return self._shown

    def _one(self, name: str, new: Verdict, at: float) -> Verdict:
        old = self._shown.get(name, new)
        if RANKS[new.state] >= RANKS[old.state]:
            self._better_since.pop(name, None)
            return new
        since = self._better_since.setdefault(name, at)
        if at - since < STEADY_SECONDS:
            return old
        del self._better_since[name]
        return new


def _api(facts: Facts, trend: Trend) -> Verdict:
    if facts.redis_down:
        advice = f"Start {facts.redis_name}, or look at its log. Producers send again what was answered 503."
        return Verdict("down", f"{facts.redis_name} does not answer: every producer gets 503.", advice)
    return _memory_full(facts) or _backlog_full(facts) or _unknown(facts.gauges) or _moves(trend.accepted)


def _memory_full(facts: Facts) -> Verdict | None:
    if facts.redis_memory is None or facts.redis_memory < FULL:
        return None
    reason = f"{facts.redis_name}'s memory is full: producers get 503."
    return Verdict("stalled", reason, "See why the workers do not empty it, or raise its maxmemory.")


def _backlog_full(facts: Facts) -> Verdict | None:
    fullest = facts.gauges.fullest if facts.gauges else 0
    if fullest < FULL * facts.shard_backlog:
        return None
    at = f"at {count(fullest, 'entry', 'entries')}"
    advice = "See why the workers do not keep up, start more of them, or raise NOTIFY_MAX_BACKLOG."
    if facts.shards == 1:
        return Verdict("stalled", f"The backlog is full, {at}: producers get 503.", advice)
    return Verdict("stalled", f"The backlog of a shard is full, {at}: who sends to its recipients gets 503.", advice)


def _live(facts: Facts, trend: Trend) -> Verdict:
    return (
        _redis_away(facts)
        or _unknown(facts.gauges)
        or _waits(facts, trend, "live")
        or _moves(trend.lately_live or _accepts_singles(trend))
    )


def _bulk(facts: Facts, trend: Trend) -> Verdict:
    return _redis_away(facts) or _unknown(facts.gauges) or _waits(facts, trend, "bulk") or _moves(trend.lately_bulk)


def _workers(facts: Facts, trend: Trend) -> Verdict:
    if facts.redis_down:
        return Verdict("stalled", f"Workers wait for {facts.redis_name}.", _start_redis(facts))
    wait = _waiting(facts.work, bulk=_has_bulk(facts)) if facts.work else ""
    return (
        _nobody(facts, "worker", wait)
        or _workers_stand(facts, trend)
        or _too_slow(facts, trend)
        or _unknown(facts.gauges)
        or _moves(facts.work or trend.stored, "" if facts.processes is not None else WHO_RUNS)
    )


def _postgresql(facts: Facts, trend: Trend) -> Verdict:
    if facts.postgresql_down:
        return Verdict("down", "PostgreSQL does not answer.", START_POSTGRESQL)
    if facts.postgresql_full:
        advice = "See who holds its connections, stop what is not needed, or raise its max_connections."
        return Verdict("behind", "PostgreSQL has no free connection: a process that needs a new one waits.", advice)
    if facts.postgresql_ms is not None and facts.postgresql_ms >= SLOW_POSTGRESQL_MS:
        reason = f"PostgreSQL takes {seconds(facts.postgresql_ms)} to answer the simplest question."
        return Verdict("behind", reason, "Look at its processors, its disk, and who else uses them.")
    return _moves(trend.stored, NOT_KNOWN if facts.postgresql_ms is None and not trend.stored else "")


def _sockets(facts: Facts, trend: Trend) -> Verdict:  # noqa: ARG001 - as all of them
    if facts.redis_down:
        reason = "Sockets stay open, but nothing new is announced."
        return Verdict("stalled", reason, f"{_start_redis(facts)} Readers get what they missed by themselves.")
    open_now = any(process.sockets for process in facts.processes or () if process.state == "alive")
    return _moves(open_now, "" if facts.processes is not None else WHO_RUNS)


def _retry(facts: Facts, trend: Trend) -> Verdict:
    waiting = facts.gauges.delayed if facts.gauges else None
    said = count(waiting.waiting, "retry waits", "retries wait") if waiting and waiting.waiting else ""
    overdue = facts.age_ms(waiting.first_ms) if waiting else None
    return (
        _redis_away(facts)
        or _unknown(waiting)
        or _nobody(facts, "scheduler", said)
        or _overdue(overdue or 0, "retry")
        or _moves(said or trend.failed)
    )


def _schedule(facts: Facts, trend: Trend) -> Verdict:
    waiting = facts.gauges.scheduled if facts.gauges else None
    said = count(waiting.waiting, "schedule waits", "schedules wait") if waiting and waiting.waiting else ""
    overdue = facts.age_ms(waiting.first_ms) if waiting else None
    return (
        _redis_away(facts)
        or _unknown(waiting)
        or _nobody(facts, "scheduler", said)
        or _overdue(overdue or 0, "schedule")
        or _moves(said or trend.fired)
    )


def _bulk_jobs(facts: Facts, trend: Trend) -> Verdict:
    if facts.postgresql_down:
        return Verdict("stalled", "Bulk jobs wait for PostgreSQL.", START_POSTGRESQL)
    if facts.redis_down:
        return Verdict("stalled", f"Bulk jobs wait for {facts.redis_name}.", _start_redis(facts))
    if facts.kept is None:
        return Verdict("idle", NOT_KNOWN)
    jobs = facts.kept.jobs
    if not jobs.under_way:
        return _nobody_needed(facts, "bulk_worker", "Start one before the next bulk") or Verdict("idle")
    if not jobs.queued + jobs.running:
        advice = "Resume it, or cancel it." if jobs.paused == 1 else "Resume them, or cancel them."
        return Verdict("paused", f"{count(jobs.paused, 'job is', 'jobs are')} paused.", advice)
    said = count(jobs.queued + jobs.running, "job waits", "jobs wait")
    return _nobody(facts, "bulk_worker", said) or _fan_stands(facts, trend) or Verdict("ok")


def _dlq(facts: Facts, trend: Trend) -> Verdict:
    new = facts.gauges.dead_letters if facts.gauges else None
    if facts.redis_down or new is None or not new.entries:
        return _redis_away(facts) or _nobody_needed(facts, "dlq_worker", "Start one") or _open_letters(facts, trend)
    said = f"{count(new.entries, 'dead letter is', 'dead letters are')} not recorded yet"
    return _nobody(facts, "dlq_worker", said) or _unrecorded(facts, said) or Verdict("ok")


STAGES: Final[Mapping[str, Callable[[Facts, Trend], Verdict]]] = {
    "api": _api,
    "live": _live,
    "bulk": _bulk,
    "workers": _workers,
    "postgresql": _postgresql,
    "sockets": _sockets,
    "retry": _retry,
    "schedule": _schedule,
    "bulk_jobs": _bulk_jobs,
    "dlq": _dlq,
}


def _redis_away(facts: Facts) -> Verdict | None:
    if not facts.redis_down:
        return None
    return Verdict("down", f"{facts.redis_name} does not answer.", _start_redis(facts))


def _start_redis(facts: Facts) -> str:
    return f"Start {facts.redis_name}, or look at its log."


def _nobody(facts: Facts, kind: str, waits: str) -> Verdict | None:
    """The verdict where no process of a kind is there; `waits`: what waits for one, if anything does."""
    if facts.running(kind) != 0:
        return None
    name, what = NAMES[kind], f"; {waits}" if waits else ""
    if facts.silent(kind):
        reason = f"No {name} was heard of for some seconds{what}."
        return Verdict("stalled", reason, "If it does not come back by itself, look at its host and its log.")
    return Verdict("down", f"No {name} is running{what}.", f"Start one: manage.py {kind}")


def _nobody_needed(facts: Facts, kind: str, advice: str) -> Verdict | None:
    """The same where nothing waits for one: no trouble yet."""
    if facts.running(kind) != 0 or facts.silent(kind):
        return None
    return Verdict("idle", f"No {NAMES[kind]} is running; nothing waits for one.", f"{advice}: manage.py {kind}")


NAMES: Final = {
    "worker": "worker",
    "scheduler": "scheduler",
    "bulk_worker": "bulk worker",
    "dlq_worker": "DLQ worker",
}


def _waits(facts: Facts, trend: Trend, lane: Literal["live", "bulk"]) -> Verdict | None:
    """The verdict on a lane in which entries wait for longer than they should."""
    queue = getattr(facts.gauges, lane, None)
    if queue is None or not queue.entries:
        return None
    waits = _waiting(queue.entries, bulk=lane == "bulk")
    age = facts.age_ms(queue.oldest_ms) or 0
    old = age >= (OLD_MS if lane == "live" else OLD_BULK_MS)
    if facts.running("worker") == 0 and (age >= GROWING_MS or not facts.silent("worker")):
        return Verdict("stalled", f"{waits} for a worker; the oldest for {seconds(age)}.", "See the workers.")
    if facts.postgresql_down:
        return Verdict("stalled", f"{waits} for PostgreSQL; the oldest for {seconds(age)}.", START_POSTGRESQL)
    if trend.still >= STILL_SECONDS:
        return Verdict("stalled", f"{waits}; none was handled for {seconds(trend.still * 1000)}.", "See the workers.")
    if old or _grows(trend, age):
        return Verdict("behind", f"{waits}; the oldest for {seconds(age)}.", "See the workers.")
    return None


def _grows(trend: Trend, age_ms: int) -> bool:
    return trend.growth >= GROWTH and age_ms >= GROWING_MS


def _workers_stand(facts: Facts, trend: Trend) -> Verdict | None:
    if not facts.work:
        return None
    if facts.postgresql_down:
        return Verdict("stalled", "Workers wait for PostgreSQL; what they hold is safe.", START_POSTGRESQL)
    if trend.still < STILL_SECONDS:
        return None
    if facts.in_hand:
        reason = f"Workers hold {_unit(facts.in_hand, bulk=_has_bulk(facts))}, and settled none for "
        advice = "Look at the workers' log. What a dead worker held, another takes after ten seconds."
        return Verdict("stalled", f"{reason}{seconds(trend.still * 1000)}.", advice)
    reason = f"{_waiting(facts.work, bulk=_has_bulk(facts))}, and nobody takes any."
    return Verdict("stalled", reason, "Look at the workers' log and at the processes page.")


def _too_slow(facts: Facts, trend: Trend) -> Verdict | None:
    live = facts.gauges.live if facts.gauges else None
    age = facts.age_ms(live.oldest_ms) or 0 if live else 0
    if age < OLD_MS and not _grows(trend, age):
        return None
    stored = f"{rate(trend.stored)} stored" if trend.stored is not None else "Less is stored"
    reason = f"{stored}, {rate(trend.accepted)} accepted; the oldest waits for {seconds(age)}."
    return Verdict("behind", reason, "Start another worker: manage.py worker. PostgreSQL may be what is slow.")


def _overdue(overdue_ms: int, what: str) -> Verdict | None:
    if overdue_ms < OVERDUE_MS:
        return None
    reason = f"The first {what} is overdue by {seconds(overdue_ms)}."
    if overdue_ms < LONG_OVERDUE_MS:
        return Verdict("behind", reason, "Any number of schedulers may run: manage.py scheduler")
    return Verdict("stalled", reason, "Look at the scheduler's log and at the processes page.")


def _fan_stands(facts: Facts, trend: Trend) -> Verdict | None:
    """The verdict on jobs that run and get no further, where they are not held up to be gentle."""
    if trend.fan_still < FAN_STILL_SECONDS:
        return None
    if facts.running("worker") == 0 or trend.still >= STILL_SECONDS:
        return Verdict("stalled", "The lane is full, and the workers do not empty it.", "See the workers.")
    reason = f"Nothing was fanned out for {seconds(trend.fan_still * 1000)}."
    return Verdict("stalled", reason, "Look at the bulk worker's log and at the processes page.")


def _unrecorded(facts: Facts, said: str) -> Verdict | None:
    age = facts.age_ms(facts.gauges.dead_letters.oldest_ms) or 0 if facts.gauges else 0
    if facts.postgresql_down:
        return Verdict("stalled", f"{said}: PostgreSQL does not answer.", START_POSTGRESQL)
    if age < UNRECORDED_MS:
        return None
    state: State = "behind" if age < LONG_UNRECORDED_MS else "stalled"
    return Verdict(state, f"{said}; the oldest for {seconds(age)}.", "Look at the DLQ worker's log.")


def _open_letters(facts: Facts, trend: Trend) -> Verdict:
    kept = facts.kept
    if kept is None:
        return _moves(trend.dead, NOT_KNOWN)
    if not kept.dead + kept.replaying:
        return _moves(trend.dead)
    if kept.replaying:
        return Verdict("ok", f"{count(kept.replaying, 'dead letter is', 'dead letters are')} being replayed.")
    waits = count(kept.dead, "dead letter waits", "dead letters wait")
    advice = "See why on the dead letters page, mend the cause, replay."
    return Verdict("ok" if trend.dead else "idle", f"{waits} for a decision.", advice)


def _unknown(seen: object) -> Verdict | None:
    """The verdict where nothing was seen that one could go by."""
    return Verdict("idle", NOT_KNOWN) if seen is None else None


def _moves(something: object, reason: str = "") -> Verdict:
    return Verdict("ok" if something else "idle", reason)


def _accepts_singles(trend: Trend) -> bool:
    """Whether events come that are no bulk's: they pass the lane `live` between two looks."""
    return (trend.accepted or 0.0) - (trend.fanned or 0.0) > 0.5


def number(value: int) -> str:
    """A whole number with its thousands apart: `1 234`."""
    return f"{value:,}".replace(",", "\u00a0")


def count(value: int, one: str, many: str) -> str:
    """So many of something: `1 entry`, `1 234 entries`."""
    return f"{number(value)} {one if value == 1 else many}"


def _has_bulk(facts: Facts) -> bool:
    return bool(facts.gauges and facts.gauges.bulk.entries)


def _unit(entries: int, *, bulk: bool) -> str:
    """An entry is an event, but in `bulk`, where it may be a hundred."""
    return count(entries, "entry", "entries") if bulk else count(entries, "event", "events")


def _waiting(entries: int, *, bulk: bool) -> str:
    return f"{_unit(entries, bulk=bulk)} {'waits' if entries == 1 else 'wait'}"


def rate(value: float | None) -> str:
    """Something a second, as short as it can be told."""
    return "an unknown number" if value is None else f"{number(round(value))}/s"


def seconds(duration_ms: float) -> str:
    """A duration in words: `4 s`, `3 min`, `2 h`."""
    whole = round(duration_ms / 1000)
    if whole < 120:
        return f"{max(1, whole)} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"
