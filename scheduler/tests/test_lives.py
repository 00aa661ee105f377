"""The life of a notification that a schedule fires, from `scheduled` to the row."""

import uuid

import pytest

from conftest import Caller
from notifications import lookup, wiring
from notifications.access import tokens
from notifications.models import Notification
from notifications.tests.test_api import problem, work
from scheduler.tests.helpers import (
    DAY,
    MINUTE,
    SECOND,
    call,
    compare,
    fire,
    make,
    now_ms,
    once,
    plan,
    postgresql_is_away,
    queued,
    record_all,
    recurring,
)

pytestmark = pytest.mark.django_db


def life(schedule_id: str) -> dict[str, object]:
    found = lookup.life(uuid.UUID(schedule_id))
    assert found is not None
    return found


def test_a_one_shot_schedule_is_its_notification_from_the_beginning_to_the_row(producer: Caller) -> None:
    made = make(producer, delay=0.2, body="b", data={"n": 1})
    path = f"/api/notifications/{made['id']}"
    for _ in range(2):
        waiting = producer.get(path).json()
        assert (waiting["status"], waiting["next_attempt_at"]) == ("scheduled", made["next_run_at"])
        assert (waiting["seq"], waiting["stored_at"], waiting["attempts"]) == (None, None, 0)
        assert (waiting["body"], waiting["data"], waiting["accepted_at"]) == ("b", {"n": 1}, made["created_at"])
        record_all()
    fire(until=queued)
    for _ in range(2):
        fired = producer.get(path).json()
        assert (fired["status"], fired["next_attempt_at"]) == ("queued", None)
        record_all()
    work()
    stored = producer.get(path).json()
    assert (stored["status"], stored["attempts"], stored["next_attempt_at"]) == ("stored", 1, None)
    for seen in (waiting, fired, stored):
        assert seen.keys() == stored.keys()
        assert (seen["source"], seen["source_id"]) == ("schedule", made["id"])
    assert producer.get("/api/recipients/alice/unread").json() == {"unread": 1}


def test_an_edit_shows_in_the_life_at_once(producer: Caller) -> None:
    made = make(producer, delay=60)
    shown = call(producer, "PATCH", f"/api/schedule/{made['id']}", {"title": "Another", "delay": 7200}).json()
    seen = producer.get(f"/api/notifications/{made['id']}").json()
    assert (seen["title"], seen["next_attempt_at"]) == ("Another", shown["next_run_at"])


def test_a_cancelled_one_says_so_for_as_long_as_it_is_known(producer: Caller) -> None:
    made = make(producer, delay=60)
    producer.delete(f"/api/schedule/{made['id']}")
    for _ in range(2):
        seen = producer.get(f"/api/notifications/{made['id']}").json()
        assert (seen["status"], seen["next_attempt_at"], seen["source"]) == ("cancelled", None, "schedule")
        record_all()
        wiring.shards().client.flushall()


def test_what_redis_lost_is_scheduled_as_before(producer: Caller) -> None:
    made = make(producer, delay=60)
    record_all()
    before = life(made["id"])
    wiring.shards().client.flushall()
    assert life(made["id"]) == before
    assert compare() == 1
    assert life(made["id"]) == before


def test_what_was_run_now_is_queued_and_then_stored(producer: Caller) -> None:
    for fields in ({"delay": 3600}, {"daily": "10:00"}):
        made = make(producer, **fields)
        location = call(producer, "POST", f"/api/schedule/{made['id']}/run").headers["Location"]
        assert producer.get(location).json()["status"] == "queued"
        work()
        stored = producer.get(location).json()
        assert (stored["status"], stored["source"], stored["source_id"]) == ("stored", "schedule", made["id"])


def test_a_recurring_schedule_is_no_notification_but_its_occurrences_are(producer: Caller) -> None:
    known = recurring(now_ms() - SECOND)
    plan(known)
    for _ in range(2):
        problem(producer.get(f"/api/notifications/{known.id}"), 404)
        record_all()
    fire()
    (occurrence,) = queued()
    assert occurrence.id != known.id
    for status in ("queued", "stored"):
        seen = life(occurrence.id)
        assert (seen["status"], seen["source"], seen["source_id"]) == (status, "schedule", known.id)
        work()
    assert Notification.objects.get().source == Notification.Source.SCHEDULE
    problem(producer.get(f"/api/notifications/{known.id}"), 404)


def test_what_comes_to_recur_is_a_notification_no_more_and_one_again_after(producer: Caller) -> None:
    made = make(producer, delay=60)
    for fields, status in (({"daily": "10:00"}, 404), ({"delay": 60}, 200)):
        call(producer, "PATCH", f"/api/schedule/{made['id']}", fields)
        for _ in range(2):
            assert producer.get(f"/api/notifications/{made['id']}").status_code == status
            record_all()


def test_only_its_recipient_sees_what_is_scheduled() -> None:
    known = once(now_ms() + DAY)
    plan(known)
    for _ in range(2):
        for who, status in (("alice", 200), ("bob", 404)):
            reader = Caller(tokens.issue(who, 60)[0])
            assert reader.get(f"/api/notifications/{known.id}").status_code == status
        record_all()


def test_what_waits_is_told_without_postgresql() -> None:
    waiting, cancelled = once(now_ms() + MINUTE), once(now_ms() + MINUTE)
    plan(waiting, cancelled)
    wiring.schedules().look(cancelled.id)
    with postgresql_is_away():
        assert life(waiting.id)["status"] == "scheduled"
