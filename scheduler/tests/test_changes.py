"""Changing, cancelling and running schedules over HTTP, and what happens when it is too late for that."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from conftest import Caller
from notifications import wiring
from notifications.tests.test_api import problem
from scheduler import schedule
from scheduler.models import Schedule as Row
from scheduler.tests.helpers import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    call,
    compare,
    fire,
    make,
    now_ms,
    once,
    plan,
    queued,
    record_all,
    recurring,
    seen,
    waits,
)

pytestmark = pytest.mark.django_db

Recorded = pytest.mark.parametrize("recorded", [False, True], ids=["unrecorded", "recorded"])


def patch(caller: Caller, schedule_id: str, **fields: Any) -> Any:
    return call(caller, "PATCH", f"/api/schedule/{schedule_id}", fields)


def delete(caller: Caller, schedule_id: str) -> Any:
    return call(caller, "DELETE", f"/api/schedule/{schedule_id}")


def run(caller: Caller, schedule_id: str) -> Any:
    return call(caller, "POST", f"/api/schedule/{schedule_id}/run")


def look(caller: Caller, schedule_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = caller.get(f"/api/schedule/{schedule_id}").json()
    return shown


CHANGERS: list[Callable[[Caller, str], Any]] = [
    lambda caller, known: patch(caller, known, title="Another"),
    delete,
    run,
]
Changers = pytest.mark.parametrize("act", CHANGERS, ids=["patch", "delete", "run"])


@Recorded
@pytest.mark.parametrize(
    ("before", "change", "told"),
    [
        ({"delay": 60}, {}, {}),
        ({"delay": 60}, {"title": "Another", "body": "b", "type": "x.y", "data": {"n": 1}}, {"title": "Another"}),
        ({"delay": 60}, {"at": "2100-01-01T00:00:00Z"}, {"next_run_at": "2100-01-01T00:00:00.000Z"}),
        ({"at": "2100-01-01T00:00:00Z"}, {"at": "2099-01-01T00:00:00Z"}, {"at": "2099-01-01T00:00:00.000Z"}),
        ({"delay": 60}, {"daily": "10:00", "timezone": "Asia/Tokyo"}, {"at": None, "timezone": "Asia/Tokyo"}),
        ({"daily": "10:00", "timezone": "Asia/Tokyo"}, {"delay": 7200}, {"daily": None, "timezone": "UTC"}),
        ({"daily": "10:00", "timezone": "Asia/Tokyo"}, {"daily": "11:00"}, {"timezone": "Asia/Tokyo"}),
        ({"daily": "10:00", "catch_up": "all"}, {"cron": "5 4 * * *"}, {"daily": None, "catch_up": "all"}),
        ({"cron": "0 10 * * *"}, {"timezone": "Asia/Tokyo"}, {"cron": "0 10 * * *", "timezone": "Asia/Tokyo"}),
        ({"cron": "0 10 * * *"}, {"catch_up": "all"}, {"cron": "0 10 * * *", "catch_up": "all"}),
        ({"daily": "10:00"}, {"recipient": "alice", "title": "Another"}, {"recipient": "alice", "title": "Another"}),
    ],
)
def test_a_change_is_answered_with_the_schedule_as_it_is_then(
    producer: Caller, before: dict[str, Any], change: dict[str, Any], told: dict[str, Any], *, recorded: bool
) -> None:
    made = make(producer, **before)
    if recorded:
        record_all()
    answer = patch(producer, made["id"], **change)
    assert answer.status_code == 200
    shown = answer.json()
    assert shown.keys() == made.keys()
    assert {**told, "id": made["id"], "revision": 2, "status": "scheduled"}.items() <= shown.items()
    assert {name: value for name, value in change.items() if name not in {"at", "delay"}}.items() <= shown.items()
    assert shown["changed_at"] >= made["changed_at"]
    assert (shown["created_at"], shown["created_by"]) == (made["created_at"], made["created_by"])
    kept = {"title", "body", "data", "type", "recipient"} - change.keys()
    assert all(shown[name] == made[name] for name in kept)
    if not change.keys() & {"at", "delay", "daily", "cron", "timezone"}:
        assert shown["next_run_at"] == made["next_run_at"]
    for _ in range(2):
        assert look(producer, made["id"]) == shown
        record_all()
    assert schedule.unix_ms(datetime.fromisoformat(shown["next_run_at"])) == seen(made["id"]).due_ms


def test_another_zone_alone_moves_the_next_time_by_their_difference(producer: Caller) -> None:
    made = make(producer, daily="10:00")
    shown = patch(producer, made["id"], timezone="Asia/Tokyo").json()
    assert shown["next_run_at"].endswith("T01:00:00.000Z")
    assert shown["next_run_local"].endswith("T10:00:00.000+09:00")


def test_what_is_overdue_stays_so_where_only_its_content_or_its_catching_up_is_another(producer: Caller) -> None:
    known = recurring(now_ms() - HOUR, cron="0 * * * *")
    plan(known)
    for change in ({"title": "Another"}, {"catch_up": "all"}):
        patch(producer, known.id, **change)
        assert seen(known).due_ms == known.due_ms


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(
    ("change", "pointers"),
    [
        ({"recipient": "bob"}, {"/recipient"}),
        ({"title": None}, {"/title"}),
        ({"at": None}, {"/at"}),
        ({"timezone": "UTC"}, {"/timezone"}),
        ({"revision": "1"}, {"/revision"}),
        ({"status": "cancelled", "delay": -1, "revision": None}, {"/status", "/delay", "/revision"}),
    ],
)
def test_a_change_that_breaks_rules_changes_nothing(
    producer: Caller, change: dict[str, Any], pointers: set[str]
) -> None:
    made = make(producer, delay=60)
    fields = problem(patch(producer, made["id"], **change), 400)
    assert {error["pointer"] for error in fields["errors"]} == pointers
    assert look(producer, made["id"]) == made


def test_a_change_from_what_it_was_earlier_is_refused(producer: Caller) -> None:
    made = make(producer, delay=60)
    assert patch(producer, made["id"], revision=1, title="First").json()["revision"] == 2
    for stale in (1, 0, -1, 3, 10**18):
        assert "changed since" in problem(patch(producer, made["id"], revision=stale, title="Second"), 409)["detail"]
    assert look(producer, made["id"])["title"] == "First"
    assert patch(producer, made["id"], revision=2, title="Second").json()["title"] == "Second"
    assert patch(producer, made["id"], title="Third").json()["revision"] == 4


def test_a_run_is_a_change_that_an_edit_from_before_it_notices(producer: Caller) -> None:
    made = make(producer, daily="10:00")
    run(producer, made["id"])
    problem(patch(producer, made["id"], revision=1, title="Another"), 409)
    assert patch(producer, made["id"], revision=2, title="Another").status_code == 200


def test_what_was_changed_fires_as_it_is_then_and_not_before_its_new_time(producer: Caller) -> None:
    moved, edited = once(now_ms() + SECOND), once(now_ms() + DAY, title="First")
    plan(moved, edited)
    patch(producer, moved.id, delay=3600)
    patch(producer, edited.id, title="Another", data={"n": 1}, delay=0)
    fire(until=queued)
    assert [(event.id, event.title, bytes(event.data)) for event in queued()] == [(edited.id, "Another", b'{"n":1}')]
    assert waits(moved)


@Recorded
def test_to_cancel_is_done_however_often_it_is_said(producer: Caller, *, recorded: bool) -> None:
    for made in (make(producer, delay=0), make(producer, cron="* * * * *")):
        for _ in range(3):
            answer = delete(producer, made["id"])
            assert (answer.status_code, answer.content) == (204, b"")
            if recorded:
                record_all()
        shown = look(producer, made["id"])
        assert (shown["status"], shown["next_run_at"], shown["revision"]) == ("cancelled", None, 2)
        assert shown["title"] == "Report"
    fire()
    assert queued() == []


@Recorded
@Changers
def test_what_fired_is_too_late_to_be_touched(
    producer: Caller, act: Callable[[Caller, str], Any], *, recorded: bool
) -> None:
    known = once(now_ms() - SECOND)
    plan(known)
    fire()
    if recorded:
        record_all()
    assert "too late: this schedule is fired" in problem(act(producer, known.id), 409)["detail"]
    record_all()
    assert Row.objects.get().get_status_display() == "fired"
    assert [event.title for event in queued()] == ["Report"]


@Recorded
@pytest.mark.parametrize("act", [CHANGERS[0], CHANGERS[2]], ids=["patch", "run"])
@pytest.mark.parametrize("fields", [{"delay": 60}, {"daily": "10:00"}], ids=["once", "recurring"])
def test_what_was_cancelled_is_too_late_to_be_touched(
    producer: Caller, act: Callable[[Caller, str], Any], fields: dict[str, Any], *, recorded: bool
) -> None:
    made = make(producer, **fields)
    delete(producer, made["id"])
    if recorded:
        record_all()
    assert "too late: this schedule is cancelled" in problem(act(producer, made["id"]), 409)["detail"]
    assert (queued(), look(producer, made["id"])["title"]) == ([], "Report")


@Changers
def test_what_redis_lost_is_to_be_tried_again_until_it_is_restored(
    producer: Caller, act: Callable[[Caller, str], Any]
) -> None:
    made = make(producer, delay=60)
    record_all()
    wiring.shards().client.flushall()
    answer = act(producer, made["id"])
    assert "restored" in problem(answer, 503)["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    assert look(producer, made["id"]) == made
    assert compare() == 1
    assert act(producer, made["id"]).status_code in {200, 202, 204}


@Changers
def test_what_redis_lost_when_it_was_over_is_still_over(producer: Caller, act: Callable[[Caller, str], Any]) -> None:
    known = once(now_ms() - SECOND)
    plan(known)
    fire()
    record_all()
    wiring.shards().client.flushall()
    problem(act(producer, known.id), 409)


def test_what_fires_once_is_over_when_it_is_run(producer: Caller) -> None:
    made = make(producer, delay=3600)
    answer = run(producer, made["id"])
    assert (answer.status_code, answer.json()) == (202, {"id": made["id"], "status": "queued"})
    assert answer.headers["Location"] == f"/api/notifications/{made['id']}"
    assert [event.id for event in queued()] == [made["id"]]
    for _ in range(2):
        shown = look(producer, made["id"])
        assert (shown["status"], shown["next_run_at"], shown["runs"]) == ("fired", None, 1)
        problem(run(producer, made["id"]), 409)
        record_all()
    assert len(queued()) == 1


def test_what_recurs_waits_as_before_when_it_is_run(producer: Caller) -> None:
    made = make(producer, daily="10:00")
    answers = [run(producer, made["id"]).json()["id"] for _ in range(2)]
    assert len({*answers, made["id"]}) == 3
    assert [event.id for event in queued()] == answers
    assert {(event.source, event.source_id) for event in queued()} == {("schedule", made["id"])}
    assert {(event.recipient, event.title) for event in queued()} == {("alice", "Report")}
    for _ in range(2):
        shown = look(producer, made["id"])
        assert (shown["status"], shown["next_run_at"], shown["runs"]) == ("scheduled", made["next_run_at"], 2)
        record_all()


def test_what_is_run_while_it_is_overdue_still_has_its_occurrence(producer: Caller) -> None:
    known = recurring(now_ms() - MINUTE, cron="0 0 1 1 *")
    plan(known)
    by_hand = run(producer, known.id).json()["id"]
    fire()
    assert len(queued()) == 2
    assert by_hand in {event.id for event in queued()}


def test_what_came_again_and_is_to_fire_once_keeps_its_runs(producer: Caller) -> None:
    made = make(producer, daily="10:00")
    for _ in range(3):
        run(producer, made["id"])
    patch(producer, made["id"], delay=0)
    fire(until=lambda: not waits(made["id"]))
    record_all()
    assert look(producer, made["id"])["runs"] == 4
