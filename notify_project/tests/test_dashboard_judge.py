"""What the dashboard makes of what it sees: states, reasons, advice. No server is asked."""

from collections.abc import Sequence
from typing import Any

import pytest

from notifications.stream.gauges import Gauges, Queue, Timed, Totals
from notifications.stream.register import Process, Slice
from notify_project.dashboard import trend
from notify_project.dashboard.facts import Facts, Jobs, Kept
from notify_project.dashboard.judge import STAGES, Steady, Verdict, judge
from notify_project.dashboard.memory import Roll, Storing
from notify_project.dashboard.trend import Trend

pytestmark = pytest.mark.one_shard_is_enough

NOW_MS = 1_000_000_000
KINDS = ("web", "worker", "scheduler", "bulk_worker", "dlq_worker")
NO_JOBS = Jobs(queued=0, running=0, paused=0, hurried=0, remaining=0, fanned={}, in_lane=0)


def gauges(**fields: Any) -> Gauges:
    """What waits in Redis: nothing, but for `fields`."""
    nothing = Gauges(NOW_MS, Queue(), Queue(), Timed(), Timed(), Queue(), Totals())
    return nothing._replace(**fields)


def process(kind: str, state: Any = "alive") -> Process:
    """A process that told of itself."""
    return Process(
        name=f"host:1:{kind}",
        kind=kind,
        host="host",
        pid=1,
        started_at=0,
        beat_age_ms=0,
        state=state,
        handled=0,
        rate=0.0,
        rss_bytes=0,
        sockets=1 if kind == "web" else None,
        recipients=None,
        frame_rate=None,
    )


def facts(*, without: Sequence[str] = (), at: float = 0.0, seen: Gauges | None = None, **fields: Any) -> Facts:
    """A system at rest in which everything runs, but for what is said."""
    running = [process(kind) for kind in KINDS if kind not in without]
    told = {"processes": running, "kept": Kept(0, 0, NO_JOBS), "rows": 0, "postgresql_ms": 1.0, "kept_at": at, **fields}
    return Facts(at=at, gauges=seen or gauges(), **told)


def waiting(entries: int, *, seconds: float = 0.0, in_hand: int = 0) -> Queue:
    """Entries, the oldest of which came so many seconds ago."""
    return Queue(entries, in_hand, NOW_MS - round(seconds * 1000))


def due(count: int, *, in_seconds: float) -> Timed:
    """What waits for its time."""
    return Timed(count, NOW_MS + round(in_seconds * 1000))


def troubles(found: Facts, lately: Trend = Trend()) -> dict[str, str]:  # noqa: B008 - it cannot be changed
    """The stages whose state is bad."""
    return {name: one.state for name, one in judge(found, lately).items() if one.state not in {"idle", "ok"}}


def test_a_system_at_rest_has_nothing_to_do_and_needs_nobody() -> None:
    assert set(judge(facts(), Trend()).values()) - {Verdict("ok")} == {Verdict("idle")}


def test_a_system_at_work_is_ok_where_something_moves() -> None:
    lately = Trend(accepted=100.0, stored=100.0, lately_live=True)
    found = judge(facts(seen=gauges(live=waiting(20, in_hand=20))), lately)
    assert [name for name, one in found.items() if one.state == "ok"] == [
        "api",
        "live",
        "workers",
        "postgresql",
        "sockets",
    ]


def test_without_a_worker_what_waits_is_named_and_so_is_the_command() -> None:
    found = judge(facts(without=["worker"], seen=gauges(live=waiting(1234, seconds=7))), Trend())
    assert found["workers"] == Verdict(
        "down", "No worker is running; 1\u00a0234 events wait.", "Start one: manage.py worker"
    )
    assert found["live"] == Verdict(
        "stalled", "1\u00a0234 events wait for a worker; the oldest for 7 s.", "See the workers."
    )
    assert judge(facts(without=["worker"]), Trend())["workers"].reason == "No worker is running."


def test_one_event_that_waits_is_spoken_of_as_one() -> None:
    found = judge(facts(without=["worker"], seen=gauges(live=waiting(1))), Trend())
    assert found["workers"].reason == "No worker is running; 1 event waits."


def test_a_worker_that_was_not_heard_of_lately_is_not_said_to_be_gone() -> None:
    silent = [process("worker", "silent"), *(process(kind) for kind in KINDS if kind != "worker")]
    assert troubles(facts(processes=silent)) == {"workers": "stalled"}
    dead = [process("worker", "dead"), process("worker", "stopped"), *silent[1:]]
    assert troubles(facts(processes=dead)) == {"workers": "down"}


def test_where_nobody_knows_who_runs_nobody_is_said_to_be_missing() -> None:
    assert troubles(facts(processes=None, seen=gauges(delayed=due(1, in_seconds=4)))) == {}


def test_an_outage_of_postgresql_is_the_cause_and_what_waits_for_it_says_so() -> None:
    away = facts(postgresql_down=True, kept=None, seen=gauges(live=waiting(50, seconds=2, in_hand=50)))
    found = judge(away, Trend(still=2.0))
    assert found["postgresql"].state == "down"
    assert troubles(away) == {"postgresql": "down", "live": "stalled", "workers": "stalled", "bulk_jobs": "stalled"}
    assert "wait for PostgreSQL" in found["workers"].reason
    assert found["workers"].advice == found["live"].advice == found["postgresql"].advice
    assert troubles(facts(postgresql_down=True)) == {"postgresql": "down", "bulk_jobs": "stalled"}


def test_an_outage_of_redis_is_the_cause_and_producers_are_told_of_first() -> None:
    away = Facts(at=0.0, redis_down=True, redis_name="Valkey")
    found = judge(away, Trend())
    assert found["api"].state == "down"
    assert "every producer gets 503" in found["api"].reason
    states = {name: one.state for name, one in found.items()}
    assert {name for name, state in states.items() if state == "down"} == {
        "api",
        "live",
        "bulk",
        "retry",
        "schedule",
        "dlq",
    }
    assert states["workers"] == states["sockets"] == states["bulk_jobs"] == "stalled"
    assert all("Start Valkey" in one.advice for one in found.values() if one.state in {"down", "stalled"})


def test_a_full_backlog_is_the_doors_trouble() -> None:
    full = facts(seen=gauges(live=waiting(600), bulk=waiting(390), fullest=990), max_backlog=1000)
    assert judge(full, Trend(stored=50.0))["api"] == Verdict(
        "stalled",
        "The backlog is full, at 990 entries: producers get 503.",
        "See why the workers do not keep up, start more of them, or raise NOTIFY_MAX_BACKLOG.",
    )
    nearly = facts(seen=gauges(live=waiting(980), fullest=980), max_backlog=1000)
    assert judge(nearly, Trend(accepted=50.0))["api"] == Verdict("ok")


def test_one_full_shard_shuts_the_door_of_its_recipients() -> None:
    full = facts(seen=gauges(live=waiting(600), fullest=248), max_backlog=1000, shards=4)
    found = judge(full, Trend(accepted=50.0))["api"]
    assert found.state == "stalled"
    assert found.reason.startswith("The backlog of a shard is full, at 248 entries: ")
    assert judge(full._replace(shards=1), Trend(accepted=50.0))["api"] == Verdict("ok")


def test_a_redis_without_memory_is_the_doors_trouble() -> None:
    found = judge(facts(redis_memory=1.0, redis_name="Valkey"), Trend())["api"]
    assert found.state == "stalled"
    assert found.reason == "Valkey's memory is full: producers get 503."
    assert judge(facts(redis_memory=0.95), Trend())["api"] == Verdict("idle")


def test_a_postgresql_without_a_free_connection_is_not_down() -> None:
    full = facts(postgresql_full=True, postgresql_ms=None, seen=gauges(live=waiting(9, in_hand=9)))
    assert troubles(full, Trend(stored=50.0)) == {"postgresql": "behind"}
    assert "no free connection" in judge(full, Trend())["postgresql"].reason


def test_what_is_not_known_is_not_said_to_be_at_rest() -> None:
    found = judge(Facts(at=0.0), Trend())
    assert {name for name, one in found.items() if "nown" not in one.reason} == set()
    assert found["bulk_jobs"] == found["live"] == found["postgresql"] == Verdict("idle", "Not known just now.")
    assert judge(facts(kept=None), Trend())["dlq"].reason == "Not known just now."
    nobody_told = judge(facts(processes=None), Trend())
    assert nobody_told["workers"].reason == nobody_told["sockets"].reason == "Which processes run is not known yet."


@pytest.mark.parametrize(
    ("live", "lately", "state"),
    [
        (waiting(100, seconds=0.2), Trend(stored=100.0), "ok"),
        (waiting(100, seconds=6), Trend(stored=100.0), "behind"),
        (waiting(5000, seconds=2), Trend(stored=100.0, growth=400.0), "behind"),
        (waiting(5000, seconds=0.3), Trend(stored=100.0, growth=400.0), "ok"),
        (waiting(100, seconds=2), Trend(stored=0.0, still=2.0), "ok"),
        (waiting(100, seconds=4), Trend(stored=0.0, still=3.5), "stalled"),
    ],
)
def test_a_lane_and_its_workers_fall_behind_and_stand_still_together(live: Queue, lately: Trend, state: str) -> None:
    found = judge(facts(seen=gauges(live=live)), lately._replace(lately_live=True))
    assert found["live"].state == found["workers"].state == state
    assert bool(found["live"].reason) is (state != "ok")


def test_bulk_may_wait_for_a_while_as_it_is_made_to() -> None:
    lately = Trend(stored=100.0, lately_bulk=True)
    assert judge(facts(seen=gauges(bulk=waiting(40, seconds=20))), lately)["bulk"].state == "ok"
    assert judge(facts(seen=gauges(bulk=waiting(40, seconds=90))), lately)["bulk"].state == "behind"


@pytest.mark.parametrize("stage", ["retry", "schedule"])
def test_what_is_overdue_is_told_and_who_fires_it_is_missed(stage: str) -> None:
    field = {"retry": "delayed", "schedule": "scheduled"}[stage]

    def found(in_seconds: float, without: Sequence[str] = ()) -> Verdict:
        return judge(facts(without=without, seen=gauges(**{field: due(3, in_seconds=in_seconds)})), Trend())[stage]

    assert found(9).state == "ok"
    assert found(-1).state == "ok"
    assert found(-3) == Verdict(
        "behind", f"The first {stage} is overdue by 3 s.", "Any number of schedulers may run: manage.py scheduler"
    )
    assert found(-30).state == "stalled"
    missed = found(9, ["scheduler"])
    assert missed.state == "down"
    assert missed.reason.startswith("No scheduler is running; 3 ")


def test_bulk_jobs_are_paused_only_when_all_of_them_are() -> None:
    def found(**fields: Any) -> Verdict:
        return judge(facts(kept=Kept(0, 0, NO_JOBS._replace(**fields))), Trend())["bulk_jobs"]

    assert found(paused=2).state == "paused"
    assert found(paused=2).reason == "2 jobs are paused."
    assert found(paused=1, running=1).state == "ok"
    assert found(queued=1).state == "ok"


def test_a_job_that_gets_no_further_is_told_and_whose_fault_it_is() -> None:
    running = Kept(0, 0, NO_JOBS._replace(running=1, hurried=1, remaining=10))
    lane = gauges(bulk=waiting(40, seconds=9))
    full = judge(facts(kept=running, seen=lane), Trend(fan_still=9.0, still=9.0))["bulk_jobs"]
    assert full == Verdict("stalled", "The lane is full, and the workers do not empty it.", "See the workers.")
    stuck = judge(facts(kept=running), Trend(fan_still=9.0))["bulk_jobs"]
    assert "bulk worker's log" in stuck.advice
    nobody = judge(facts(without=["bulk_worker"], kept=running), Trend())["bulk_jobs"]
    assert nobody.state == "down"
    assert nobody.reason == "No bulk worker is running; 1 job waits."


def test_who_is_not_needed_now_is_missed_without_alarm() -> None:
    found = judge(facts(without=["bulk_worker", "dlq_worker"]), Trend())
    for stage, kind in {"bulk_jobs": "bulk_worker", "dlq": "dlq_worker"}.items():
        assert found[stage].state == "idle"
        assert found[stage].advice.endswith(f"manage.py {kind}")


def test_dead_letters_wait_for_a_person_and_unrecorded_ones_for_a_process() -> None:
    kept = Kept(3, 0, NO_JOBS)
    assert judge(facts(kept=kept), Trend())["dlq"].reason == "3 dead letters wait for a decision."
    new = gauges(dead_letters=waiting(2, seconds=8))
    assert judge(facts(seen=new), Trend())["dlq"].state == "behind"
    assert judge(facts(seen=new, postgresql_down=True, kept=None), Trend())["dlq"].state == "stalled"
    nobody = judge(facts(seen=new, without=["dlq_worker"]), Trend())["dlq"]
    assert nobody.state == "down"
    assert nobody.advice == "Start one: manage.py dlq_worker"


def test_every_bad_state_says_why_and_what_to_do() -> None:
    seen = gauges(
        live=waiting(9, seconds=99),
        bulk=waiting(9, seconds=99),
        delayed=due(1, in_seconds=-99),
        scheduled=due(1, in_seconds=-99),
        dead_letters=waiting(1, seconds=99),
    )
    running = Kept(0, 0, NO_JOBS._replace(running=1, hurried=1))
    everything = [
        facts(seen=seen, kept=running),
        facts(seen=seen, kept=running, without=KINDS),
        facts(seen=seen, postgresql_down=True),
        facts(seen=seen, postgresql_ms=3000.0),
        Facts(at=0.0, redis_down=True),
        Facts(at=0.0),
    ]
    for found in everything:
        for verdict in judge(found, Trend(still=99.0, fan_still=99.0)).values():
            assert verdict.state in {"idle", "ok"} or (verdict.reason.endswith(".") and verdict.advice), verdict
    assert set(judge(Facts(at=0.0), Trend())) == set(STAGES)


def test_worse_is_shown_at_once_and_better_only_when_it_lasts() -> None:
    steady, behind, well = Steady(), Verdict("behind", "a", "b"), Verdict("ok")

    def shown(verdict: Verdict, at: float) -> Verdict:
        return steady.shown({"live": verdict}, at)["live"]

    assert shown(well, 0.0) == well
    assert shown(behind, 0.25) == behind
    assert shown(well, 0.5) == behind
    assert shown(behind, 0.75) == behind
    assert shown(well, 1.0) == behind
    assert shown(well, 1.75) == behind
    assert shown(well, 2.0) == well
    assert shown(Verdict("idle"), 2.25) == Verdict("idle")


def row(*totals: Totals, every: float = 0.25, **fields: Any) -> list[Facts]:
    """Facts at even intervals, one for each totals."""
    return [
        facts(at=number * every, seen=gauges(totals=one, **fields.get("seen", {})))
        for number, one in enumerate(totals, start=100)
    ]


def test_rates_are_those_of_the_last_two_seconds() -> None:
    known = row(*[Totals(accepted=1000 * number, stored=5000) for number in range(40)])
    lately = trend.of_facts(known)
    assert lately.accepted == pytest.approx(4000.0)
    assert lately.stored == 0.0
    assert trend.of_facts(known[:1]).accepted is None, "one look knows no rate"


def test_a_redis_that_lost_its_counters_makes_no_rate_negative() -> None:
    known = row(Totals(accepted=5000), Totals(accepted=5000), Totals(accepted=3), Totals(accepted=6))
    assert trend.of_facts(known).accepted == 0.0


def test_while_redis_is_away_no_rate_is_known() -> None:
    known = [*row(Totals(), Totals(), Totals(accepted=9)), Facts(at=30.0, redis_down=True)]
    assert trend.of_facts(known) == Trend()


def test_work_stands_still_only_while_there_is_work_and_none_is_settled() -> None:
    held = {"live": waiting(5, in_hand=5)}
    assert trend.of_facts(row(*[Totals(stored=7)] * 17, seen=held)).still == pytest.approx(4.0)
    assert trend.of_facts(row(*[Totals(stored=7)] * 17)).still == 0.0, "nothing waits"
    moving = [Totals(stored=number // 4) for number in range(17)]
    assert trend.of_facts(row(*moving, seen=held)).still < 1.0
    failing = [Totals(retried=number) for number in range(17)]
    assert trend.of_facts(row(*failing, seen=held)).still == 0.0, "an attempt that failed is one that was made"


def test_a_job_that_ends_does_not_make_the_fan_out_go_backwards() -> None:
    def at(seconds: float, fanned: dict[str, int]) -> Facts:
        jobs = NO_JOBS._replace(running=1, hurried=1, fanned=fanned)
        return facts(at=seconds, kept=Kept(0, 0, jobs))

    known = [at(0.0, {"a": 900, "b": 10}), at(1.0, {"b": 30}), at(2.0, {"b": 50, "c": 400})]
    lately = trend.of_facts(known)
    assert lately.fanned == pytest.approx(20.0)
    assert lately.fan_still == 0.0
    standing = [at(float(second), {"b": 50}) for second in range(6)]
    assert trend.of_facts(standing).fan_still == pytest.approx(5.0)
    unseen = [one._replace(kept_at=0.0) for one in standing]
    assert trend.of_facts(unseen).fan_still == 0.0, "nobody looked"
    assert trend.of_facts(unseen).fanned is None


def test_who_could_not_tell_yet_is_not_missed() -> None:
    roll, others = Roll("host:1:web"), [process(kind) for kind in KINDS]
    roll.call([], 10.0)
    assert not roll.is_known(10.0), "this process itself has not told"
    roll.call(others[:1], 11.0)
    assert not roll.is_known(12.0)
    roll.call(others, 13.0)
    assert roll.is_known(15.0)
    roll.call([process("web", "silent"), *others[1:]], 16.0)
    assert not roll.is_known(16.0)


def test_a_register_that_was_emptied_is_not_believed_before_all_had_the_time_to_tell() -> None:
    roll, others = Roll("host:1:web"), [process(kind) for kind in KINDS]
    roll.call(others, 10.0)
    assert roll.is_known(10.0)
    roll.call(others[:1], 11.0)
    assert not roll.is_known(15.0)
    assert roll.is_known(16.0)
    stopped = [*others[:1], *(process(kind, "stopped") for kind in KINDS[1:])]
    roll.call(stopped, 17.0)
    roll.call(others[:1], 18.0)
    assert roll.is_known(18.0), "who said goodbye is forgotten in order"
    roll.call(others, 19.0)
    roll.call(others[:1], 79.0)
    assert roll.is_known(79.0), "in a minute they may have gone in order"


def test_what_is_stored_is_evidence_for_two_seconds() -> None:
    storing = Storing()
    storing.saw(100, 10.0)
    assert not storing.lately(10.0), "nobody knows when"
    storing.saw(101, 10.25)
    assert storing.lately(12.0)
    storing.saw(101, 12.25)
    assert not storing.lately(12.25)
    storing.saw(500, 60.0)
    assert not storing.lately(60.0), "it may be long ago"
    storing.saw(3, 60.25)
    assert not storing.lately(60.25), "a Redis that was emptied"


def slices(*stored: int) -> list[Slice]:
    """Slices with so much stored, and as much accepted."""
    return [
        Slice(at=5000 * number, accepted=one, stored=one, failed=0, dead=0, fired=0, latencies={})
        for number, one in enumerate(stored)
    ]


def test_a_single_look_has_its_rates_from_the_history() -> None:
    assert trend.of_slices(facts(), slices(0, 500)).stored == 100.0
    held = facts(seen=gauges(live=waiting(5, seconds=60)))
    assert trend.of_slices(held, slices(50, 0, 0)).still == 10.0
    stuck = facts(seen=gauges(live=waiting(5, seconds=1), bulk=waiting(5, seconds=60)))
    assert trend.of_slices(stuck, slices(50, 0, 0)).still == 10.0
    assert trend.of_slices(facts(), slices(50, 0, 0)).still == 0.0, "nothing waits"
    assert trend.of_slices(held, []) == Trend()
