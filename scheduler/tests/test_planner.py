"""The planner: what is due fires, once, never early, whoever else is at it; and what comes again moves on."""

import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from notifications import events, process, store, wiring
from notifications.models import Notification
from notifications.stream import keys
from notifications.stream.schedules import Due
from notifications.tests.test_api import work
from scheduler import planner as planning
from scheduler import schedule
from scheduler.schedule import Schedule
from scheduler.tests.helpers import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    fire,
    in_lanes,
    ms,
    now_ms,
    once,
    plan,
    planner,
    queued,
    record_all,
    recurring,
    seen,
    total,
    waits,
)

pytestmark = pytest.mark.django_db


def state(known: Schedule) -> Schedule:
    return schedule.from_kept(seen(known))


def found_due() -> Due:
    """What a scheduler sees that comes to a halt right after."""
    return wiring.patient_schedules().fire()


def test_nothing_fires_before_it_is_due_by_the_servers_clock() -> None:
    due = [now_ms() + wait for wait in (1500, 1550, 1600)]
    plan(*(once(due_ms, recipient) for due_ms, recipient in zip(due, ("alice", "bob", "carol"), strict=True)))
    plan(once(now_ms() + DAY))
    fire()
    assert queued() == []
    fire(until=lambda: len(queued()) == 3)
    times = {event.recipient: entered_ms for entered_ms, event in in_lanes()}
    for due_ms, recipient in zip(due, ("alice", "bob", "carol"), strict=True):
        # How late is a matter of the machine's load; ten seconds is a standstill.
        assert due_ms <= times[recipient] < due_ms + 10 * SECOND


def test_a_scheduler_whose_own_clock_is_wrong_fires_nothing_early(monkeypatch: pytest.MonkeyPatch) -> None:
    plan(once(now_ms() + HOUR), recurring(now_ms() + HOUR))
    monkeypatch.setattr(time, "time", lambda: 4_000_000_000.0)
    monkeypatch.setattr(time, "time_ns", lambda: 4_000_000_000 * 10**9)
    fire()
    assert queued() == []


def test_what_is_overdue_fires_oldest_first_five_hundred_in_a_step() -> None:
    now = now_ms()
    known = [once(now - DAY + number) for number in range(600)]
    plan(*reversed(known))
    duty = planner()
    duty.step()
    assert len(queued()) == 500
    duty.step()
    assert [event.id for event in queued()] == [one.id for one in known]
    assert (total("fired"), total("accepted")) == (600, 600)


def test_a_step_waits_for_the_next_one_but_not_longer_than_for_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = list[float]()
    monkeypatch.setattr(process, "pause", waited.append)
    duty = planner()
    plan(once(now_ms() + DAY), once(now_ms() + 300))
    while not queued():
        duty.step()
    assert max(waited) == planning.LONGEST_SLEEP_SECONDS
    assert any(0 < seconds < planning.LONGEST_SLEEP_SECONDS for seconds in waited)


def test_retries_that_are_due_are_moved_too() -> None:
    client: Any = wiring.shards().client
    event_id = events.new_id("alice")
    event = events.accept(events.Draft(recipient="alice", type="t", title="t"), event_id)
    shard = wiring.shards().of("alice")
    client.zadd(keys.delayed(shard), {event_id: now_ms() - SECOND})
    client.hset(keys.payloads(shard), event_id, b"live " + events.encode(event))
    fire()
    assert [one.id for one in queued()] == [event_id]


def test_an_occurrence_is_an_event_of_its_own_and_the_schedule_moves_on() -> None:
    known = recurring(now_ms() - SECOND, zone="Europe/Berlin")
    plan(known)
    before = now_ms()
    fire()
    (occurrence,) = queued()
    assert occurrence.id == events.derived_id("alice", known.due_ms or 0, known.id, str(known.due_ms))
    assert (occurrence.source, occurrence.source_id) == ("schedule", known.id)
    assert (occurrence.recipient, occurrence.type, occurrence.title) == ("alice", "report.due", "Report")
    after = state(known)
    assert (after.status, after.revision, after.about.runs) == ("scheduled", 2, 1)
    assert (after.event, after.about.recurrence) == (known.event, known.about.recurrence)
    assert after.about.last_run_ms is not None
    assert before - SECOND <= after.about.last_run_ms <= now_ms() + SECOND
    assert after.due_ms is not None
    assert after.due_ms > now_ms() - SECOND
    assert after.due_ms % MINUTE == 0
    assert (total("fired"), total("accepted")) == (1, 1)


def test_two_schedulers_that_saw_the_same_fire_one_occurrence() -> None:
    known = [recurring(now_ms() - SECOND, recipient) for recipient in ("alice", "bob", "carol", "dave")]
    plan(*known)
    first, second = found_due(), found_due()
    assert sorted(first.again) == sorted(second.again)
    assert planner()._step(first) == 4
    assert planner()._step(second) == 0
    assert len(queued()) == 4
    assert [state(one).about.runs for one in known] == [1] * 4


def test_what_was_changed_or_cancelled_since_it_was_seen_does_not_fire_as_it_was() -> None:
    edited, cancelled = recurring(now_ms() - SECOND), recurring(now_ms() - SECOND)
    plan(edited, cancelled)
    due = found_due()
    draft = events.Draft(recipient="alice", type="t", title="Another")
    for known, new in (
        (edited, schedule.changed(edited, draft, edited.about, edited.due_ms)),
        (cancelled, schedule.cancelled(cancelled, now_ms())),
    ):
        wiring.schedules().change(schedule.to_kept(known), schedule.to_kept(new))
    assert planner()._step(due) == 0
    assert queued() == []
    fire()
    assert [event.title for event in queued()] == ["Another"]


def test_a_recurrence_that_missed_several_of_its_times_fires_once_and_moves_on() -> None:
    known = recurring(now_ms() - HOUR)
    plan(known)
    fire()
    fire()
    assert len(queued()) == 1
    assert events.accepted_ms(queued()[0].id) == known.due_ms
    after = state(known)
    assert after.about.runs == 1
    assert after.due_ms is not None
    assert now_ms() - SECOND < after.due_ms <= now_ms() + MINUTE + SECOND


def test_one_that_catches_up_fires_each_of_the_times_that_it_missed_in_order() -> None:
    begin_ms = now_ms() // MINUTE * MINUTE - 10 * MINUTE
    known = recurring(begin_ms, catch_up="all")
    plan(known)
    fire(until=lambda: (seen(known).due_ms or 0) > now_ms())
    occurrences = [events.accepted_ms(event.id) for event in queued()]
    assert len(occurrences) >= 11
    assert occurrences == [begin_ms + number * MINUTE for number in range(len(occurrences))]
    assert state(known).about.runs == len(occurrences)


def test_a_schedule_that_cannot_be_read_is_put_off_and_harms_no_other() -> None:
    unreadable, zoneless, fine = (recurring(now_ms() - SECOND) for _ in range(3))
    single = once(now_ms() - SECOND)
    kept = schedule.to_kept(unreadable)._replace(about=b'{"recurrence": 7}')
    elsewhere = schedule.to_kept(zoneless)
    for broken in (kept, elsewhere._replace(about=elsewhere.about.replace(b'"UTC"', b'"Mars/Olympus"'))):
        wiring.schedules().plan(broken)
    plan(fine, single)
    with capture_logs() as lines:
        fire()
    assert sorted(event.source_id or "" for event in queued()) == sorted([fine.id, single.id])
    put_off = [line for line in lines if line["event"] == "scheduler.put_off"]
    assert sorted(line["id"] for line in put_off) == sorted([unreadable.id, zoneless.id])
    for one in (unreadable, zoneless):
        after = seen(one)
        assert after.revision == 2
        assert after.due_ms is not None
        assert 50 * SECOND < after.due_ms - now_ms() <= 61 * SECOND
    assert (seen(unreadable).about, seen(unreadable).event) == (kept.about, kept.event)
    with capture_logs() as lines:
        fire()
    assert [line for line in lines if line["event"] == "scheduler.put_off"] == []


def test_a_schedule_whose_recurrence_ends_fires_its_last_occurrence_and_is_over() -> None:
    """After the year 9000 nothing comes any more."""
    last_ms = ms("9000-12-31 23:59")
    known = recurring(last_ms)
    plan(known)
    assert planner()._step(Due(0, [seen(known)], None, last_ms)) == 1
    assert len(queued()) == 1
    after = state(known)
    assert (after.status, after.due_ms, after.about.runs) == ("fired", None, 1)
    assert not waits(known)
    record_all()
    assert wiring.schedules().look(known.id) is None


def test_an_occurrence_that_fires_again_has_no_second_effect() -> None:
    """Redis lost the step, and the schedule came back as it was before it: in flight first, then stored."""
    known = recurring(now_ms() - SECOND)
    for _ in range(2):
        plan(known)
        planner()._step(found_due())
        wiring.shards().client.delete(keys.schedules(wiring.shards().of("alice")))
    assert len(queued()) == 1
    work()
    plan(known)
    planner()._step(found_due())
    work()
    assert Notification.objects.count() == 1


def test_a_one_shot_that_fires_again_has_no_second_effect() -> None:
    known = once(now_ms() - SECOND)
    for _ in range(2):
        plan(known)
        fire()
        work()
        wiring.shards().client.flushall()
    assert [str(row.pk) for row in Notification.objects.all()] == [known.id]


def test_what_fires_is_stored_like_any_other(make_event: Any) -> None:
    store.store([make_event()])
    plan(once(now_ms() - SECOND), recurring(now_ms() - SECOND))
    fire()
    work()
    assert sorted(Notification.objects.values_list("seq", flat=True)) == [1, 2, 3]


def test_a_scheduler_holds_nothing() -> None:
    duty = planner()
    plan(once(now_ms() + DAY))
    duty.beat()
    duty.stop()
    assert found_due().fired == 0
