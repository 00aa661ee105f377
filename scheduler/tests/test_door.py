"""The one door for schedules: who else comes through it at the same time, and what it needs of the servers."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from conftest import Caller
from notifications import wiring
from notifications.tests.test_api import problem
from scheduler import door, schedule
from scheduler.exceptions import Changed, Conflict, Restoring, TooLate, Unknown
from scheduler.models import Schedule as Row
from scheduler.schedule import Schedule
from scheduler.tests.helpers import (
    DAY,
    EVENT,
    SECOND,
    call,
    fire,
    make,
    now_ms,
    once,
    plan,
    postgresql_is_away,
    queued,
    record_all,
    recurring,
    seen,
    waits,
)

pytestmark = pytest.mark.django_db

NOBODYS = UUID("019aab5e-0000-7000-8000-000000006f31")


def of(known: Schedule) -> UUID:
    return UUID(known.id)


def edit(known: Schedule, **fields: Any) -> Schedule:
    return door.change(of(known), json.dumps(fields).encode())


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], times: int = 1) -> None:
    """Something happens after each of the next looks at a schedule, before what was looked at is used."""
    left = [act] * times
    look = type(wiring.schedules()).look

    def look_first(*arguments: Any) -> Any:
        found = look(*arguments)
        if left:
            left.pop()()
        return found

    monkeypatch.setattr(type(wiring.schedules()), "look", look_first)


def replan(known: Schedule) -> None:
    """What another's change does, past the door."""
    kept = seen_now(known)
    wiring.schedules().change(kept, kept._replace(revision=kept.revision + 1))


def seen_now(known: Schedule) -> Any:
    return wiring.schedules().look_many([known.id])[known.id]


def test_what_waits_is_made_seen_changed_and_cancelled_without_postgresql(producer: Caller) -> None:
    with postgresql_is_away():
        made = make(producer, delay=3600)
        one = f"/api/schedule/{made['id']}"
        assert producer.get(one).json() == made
        assert producer.get(f"{one}?preview=1").status_code == 200
        assert producer.get(f"/api/notifications/{made['id']}").json()["status"] == "scheduled"
        assert call(producer, "PATCH", one, {"title": "Another"}).json()["title"] == "Another"
        again = make(producer, daily="10:00")
        assert call(producer, "POST", f"/api/schedule/{again['id']}/run").status_code == 202
        assert producer.delete(one).status_code == 204
        assert producer.delete(one).status_code == 204
        assert producer.get(one).json()["status"] == "cancelled"
        problem(call(producer, "PATCH", one, {}), 409)


def test_what_fired_fires_and_is_seen_without_postgresql(producer: Caller) -> None:
    once_due, again_due = once(now_ms() - SECOND), recurring(now_ms() - SECOND)
    plan(once_due, again_due)
    with postgresql_is_away():
        fire()
        assert len(queued()) == 2
        assert producer.get(f"/api/schedule/{once_due.id}").json()["status"] == "fired"


def test_what_only_postgresql_knows_waits_for_it(producer: Caller) -> None:
    made = make(producer, delay=60)
    producer.delete(f"/api/schedule/{made['id']}")
    record_all()
    with postgresql_is_away():
        for method, path in (("GET", ""), ("GET", f"/{made['id']}"), ("PATCH", f"/{made['id']}")):
            answer = call(producer, method, f"/api/schedule{path}", None if method == "GET" else {})
            problem(answer, 503)
            assert int(answer.headers["Retry-After"]) > 0


def test_without_redis_nothing_is_made_and_the_caller_is_told_to_come_back(
    producer: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(producer, delay=60)

    def gone(*_: object) -> None:
        raise RedisConnectionError("gone")

    monkeypatch.setattr("notifications.stream.scripts.run", gone)
    for method, path in (("POST", ""), ("PATCH", f"/{made['id']}"), ("DELETE", f"/{made['id']}")):
        answer = call(producer, method, f"/api/schedule{path}", EVENT | {"delay": 1} if method == "POST" else {})
        problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
    monkeypatch.undo()
    assert producer.get(f"/api/schedule/{made['id']}").json() == made


def test_an_edit_that_meets_another_edit_is_made_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = once(now_ms() + DAY)
    plan(known)
    meanwhile(monkeypatch, lambda: replan(known))
    assert edit(known, title="Another").revision == 3


def test_an_edit_of_what_was_looked_at_gives_way_to_one_that_came_between(monkeypatch: pytest.MonkeyPatch) -> None:
    known = once(now_ms() + DAY)
    plan(known)
    meanwhile(monkeypatch, lambda: replan(known))
    with pytest.raises(Changed):
        edit(known, title="Another", revision=1)
    assert seen(known).revision == 2


def test_an_edit_of_what_never_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    known = recurring(now_ms() + DAY)
    plan(known)
    meanwhile(monkeypatch, lambda: replan(known), times=100)
    for act in (lambda: edit(known, title="Another"), lambda: door.cancel(of(known)), lambda: door.run_now(of(known))):
        with pytest.raises(Changed):
            act()
    assert (queued(), waits(known)) == ([], True)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    "act",
    [
        lambda known: edit(known, title="Another"),
        lambda known: door.cancel(of(known)),
        lambda known: door.run_now(of(known)),
    ],
    ids=["edit", "cancel", "run"],
)
def test_what_fires_between_the_look_and_the_change_was_first(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[Schedule], object], *, recorded: bool
) -> None:
    known = once(now_ms() - SECOND)
    plan(known)

    def fire_now() -> None:
        fire()
        if recorded:
            record_all()

    meanwhile(monkeypatch, fire_now)
    with pytest.raises((TooLate, Restoring) if recorded else TooLate):
        act(known)
    record_all()
    assert (Row.objects.get().get_status_display(), len(queued())) == ("fired", 1)


def test_an_occurrence_that_fires_between_the_look_and_the_cancellation_is_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = recurring(now_ms() - SECOND)
    plan(known)
    meanwhile(monkeypatch, fire)
    cancelled = door.cancel(of(known))
    assert (cancelled.status, cancelled.revision, cancelled.about.runs, len(queued())) == ("cancelled", 3, 1, 1)


def test_a_cancellation_of_what_somebody_looked_at_is_refused_when_it_is_another_by_then() -> None:
    known = once(now_ms() + DAY)
    plan(known)
    edit(known, title="Another")
    with pytest.raises(Changed):
        door.cancel(of(known), revision=1)
    assert waits(known)
    assert door.cancel(of(known), revision=2).status == "cancelled"


def test_a_schedule_that_nobody_knows_is_unknown_whatever_is_asked() -> None:
    for act in (door.look, door.cancel, door.run_now, partial(door.change, document=b"{}")):
        with pytest.raises(Unknown):
            act(NOBODYS)


def test_of_a_firing_an_edit_a_cancellation_and_a_run_at_once_each_has_one_clear_outcome() -> None:
    """What is told to be done is done; and of what fires once, there is one event or none."""
    known = [once(now_ms() - SECOND, title="First") for _ in range(60)]

    def attempt(act: Callable[[Schedule], object], one: Schedule) -> bool:
        try:
            act(one)
        except Conflict:
            return False
        return True

    acts: list[Callable[[Schedule], object]] = [
        lambda one: edit(one, title="Another"),
        lambda one: door.cancel(of(one)),
        lambda one: door.run_now(of(one)),
        lambda _: wiring.schedules().fire(),
    ]
    with ThreadPoolExecutor(4) as pool:
        for one in known:
            plan(one)
            edited, cancelled, ran, _ = pool.map(attempt, acts, [one] * 4)
            status = schedule.from_kept(seen_now(one)).status
            events = [event for event in queued() if event.id == one.id]
            assert len(events) == (0 if cancelled else 1)
            assert status == ("cancelled" if cancelled else "fired")
            assert not (cancelled and ran)
            if events and edited:
                assert events[0].title == "Another"
            if events and not edited:
                assert events[0].title == "First"


def test_what_waits_many_are_looked_at_in_one_round_trip(django_assert_num_queries: Any) -> None:
    known = [once(now_ms() + DAY, recipient) for recipient in ("alice", "bob", "carol", "dave")]
    plan(*known)
    record_all()
    rows = list(Row.objects.order_by("pk"))
    with django_assert_num_queries(0):
        assert {one.id for one in door.now_of(rows)} == {one.id for one in known}
    assert door.now_of([]) == []
