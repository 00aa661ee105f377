"""One notification's life as the dashboard is told it, and how it is found."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client

from conftest import Caller
from dlq import replay
from dlq.tests import letters
from notifications import events, retries, store
from notifications.events import Event
from notifications.models import Notification
from notifications.representation import timestamp_ms
from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.tests.test_retries import send, work
from notifications.tests.test_worker import make_worker
from notify_project.dashboard import search, timeline
from notify_project.dashboard.deadline import TooSlow, limited
from scheduler.models import Schedule
from scheduler.tests import helpers as schedules

pytestmark = pytest.mark.django_db

Make = Callable[..., Event]

SLOW_TABLE = """
    CREATE VIEW notifications_notification AS SELECT hidden.* FROM hidden, LATERAL (SELECT pg_sleep(%s)) AS asleep
"""
FAILS_ONCE = msgspec.Raw(b'{"fault":{"fail":1}}')
# What is no id, and one of a year that no calendar has.
NO_ID, NO_YEAR = "order-4711", "ffffffff-ffff-7fff-bfff-ffffffffffff"


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set the delays between attempts; faults are on."""

    def set_delays(listed: str) -> None:
        changed = msgspec.structs.replace(settings.NOTIFY, fault_injection=True, retry_delays=listed)
        monkeypatch.setattr(settings, "NOTIFY", changed)

    set_delays("0.02,0.02")
    return set_delays


@pytest.fixture
def staff() -> Client:
    browser = Client()
    browser.force_login(User.objects.create_user("ada", is_staff=True, is_superuser=True))
    return browser


def life(staff: Client, event_id: str) -> dict[str, Any]:
    answer = staff.get(f"/dashboard/lives/{event_id}")
    assert answer.status_code == 200, answer.content
    told: dict[str, Any] = answer.json()
    return told


def kinds(told: dict[str, Any]) -> list[str]:
    return [step["kind"] for step in told["timeline"]]


def find(staff: Client, q: str, **parameters: str) -> dict[str, Any]:
    answer = staff.get("/dashboard/search", {"q": q, **parameters})
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [one["id"] for one in found["results"]]


def made_at(unix_ms: int) -> str:
    """An id of somebody's, alice's, that was made at a time."""
    return events.derived_id("alice", unix_ms)


def sleep_for_each_row(seconds: float) -> None:
    """From now on the rows of notifications come as slowly as that."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE notifications_notification RENAME TO hidden")
        cursor.execute(SLOW_TABLE, [seconds])


def hrefs(told: dict[str, Any]) -> list[str]:
    return [link["href"] for link in told["links"]]


def test_a_notification_waits_for_a_worker_and_is_then_in_its_hands(staff: Client, shards: Shards) -> None:
    event_id = send({})
    told = life(staff, event_id)
    assert (kinds(told), told["open"]) == (["accepted", "waiting"], True)
    assert told["timeline"][1]["detail"] == "It is in the lane live."
    assert told["timeline"][1]["since"] >= told["notification"]["accepted_at"][:19]
    duty = make_worker(shards, "worker-7")
    duty._ready()
    duty._reader.read(block_ms=None)
    told = life(staff, event_id)
    assert (kinds(told), told["open"]) == (["accepted", "handling"], True)
    assert "worker-7" in told["timeline"][1]["detail"]


@pytest.mark.usefixtures("delays")
def test_from_accepted_to_read_with_every_failure(staff: Client, shards: Shards) -> None:
    event_id = send({"fail": 2})
    work(shards)
    told = life(staff, event_id)
    assert kinds(told) == ["accepted", "attempt_failed", "attempt_failed", "stored", "unread"]
    assert told["notification"] == staff.get(f"/api/notifications/{event_id}").json()
    first, second = told["timeline"][1:3]
    assert (first["title"], second["title"]) == ("Attempt 1 failed", "Attempt 2 failed")
    assert "attempt 1 fails, as the event asks for" in first["error"]
    assert 18 <= first["delay_ms"] <= 22
    assert told["timeline"][0]["at"] <= first["at"] < second["at"] <= told["timeline"][3]["at"]
    assert told["timeline"][3]["detail"] == "By attempt 3. It is number 1 in the inbox."
    assert not told["open"]
    assert hrefs(told) == ["/inbox/?recipient=alice", f"/admin/notifications/notification/{event_id}/change/"]
    store.mark_read("alice", None)
    assert kinds(life(staff, event_id))[-2:] == ["stored", "read"]


def test_between_attempts_it_says_until_when_it_waits(
    staff: Client, shards: Shards, delays: Callable[[str], None]
) -> None:
    delays("50")
    event_id = send({"fail": 1})
    make_worker(shards).step()
    told = life(staff, event_id)
    assert (kinds(told), told["open"]) == (["accepted", "attempt_failed", "waiting"], True)
    assert told["timeline"][-1]["title"] == "Waits for attempt 2"
    assert told["timeline"][-1]["until"] == told["notification"]["next_attempt_at"]


@pytest.mark.usefixtures("delays")
def test_a_dead_letter_that_is_edited_and_replayed_keeps_every_life(staff: Client, shards: Shards) -> None:
    event_id = send({"fail": -1})
    work(shards)
    told = life(staff, event_id)
    assert kinds(told) == ["accepted", *["attempt_failed"] * 3, "died", "waiting"]
    assert told["timeline"][-1]["title"] == "Waits to be recorded"
    assert told["open"]

    letters.recorder(shards).step()
    told = life(staff, event_id)
    assert kinds(told) == ["accepted", *["attempt_failed"] * 3, "died", "waiting"]
    assert told["timeline"][-2]["detail"] == "That was the last attempt."
    # The attempt that failed last says the same.
    assert told["timeline"][-2]["error"] is None
    assert not told["open"]
    assert f"/admin/dlq/deadletter/{event_id}/change/" in hrefs(told)

    fails_once = json.dumps({"recipient": "alice", "type": "t", "title": "T", "data": {"fault": {"fail": 1}}})
    replay.begin(replay.order_corrected(uuid.UUID(event_id), fails_once.encode(), "ada"))
    told = life(staff, event_id)
    assert kinds(told)[4:] == ["died", "edited", "replay_ordered", "replayed", "waiting"]
    assert [step["by"] for step in told["timeline"][4:8]] == [None, "ada", "ada", None]
    assert told["open"]

    work(shards)
    told = life(staff, event_id)
    assert kinds(told)[4:] == ["died", "edited", "replay_ordered", "replayed", "attempt_failed", "stored", "unread"]
    assert Notification.objects.get().attempts == told["notification"]["attempts"] == 2


@pytest.mark.usefixtures("delays")
def test_a_replay_without_a_correction_carries_the_failures_of_its_earlier_life(staff: Client, shards: Shards) -> None:
    event_id = send({"fail": -1})
    work(shards)
    letters.recorder(shards).step()
    replay.begin(replay.order_one(uuid.UUID(event_id), "ada"))
    work(shards)
    letters.recorder(shards).step()
    told = life(staff, event_id)
    a_life = [*["attempt_failed"] * 3, "died"]
    assert kinds(told) == ["accepted", *a_life, "replay_ordered", "replayed", *a_life, "waiting"]
    replay.discard_one(uuid.UUID(event_id), "bob")
    told = life(staff, event_id)
    assert (kinds(told)[-1], told["timeline"][-1]["by"], told["open"]) == ("discarded", "bob", False)


def test_a_letter_that_was_corrected_for_somebody_is_followed_to_what_it_became(staff: Client, shards: Shards) -> None:
    letter = letters.record(b'{"broken": 1}')
    document = json.dumps({"recipient": "carol", "type": "t", "title": "Mended"}).encode()
    replay.begin(replay.order_corrected(letter.pk, document, "ada"))
    work(shards)
    told = life(staff, str(letter.pk))
    assert told["notification"]["id"] == events.with_route(str(letter.pk), "carol")
    assert kinds(told) == ["accepted", "died", "edited", "replay_ordered", "replayed", "stored", "unread"]


def test_a_scheduled_one_begins_when_its_schedule_was_made(staff: Client, shards: Shards) -> None:
    made = schedules.once(schedules.now_ms() + schedules.HOUR)
    schedules.plan(made)
    told = life(staff, made.id)
    assert (kinds(told), told["open"]) == (["scheduled", "waiting"], True)
    assert told["timeline"][0]["by"] == "tests"
    assert told["timeline"][0]["until"] == told["timeline"][1]["until"] == told["notification"]["next_attempt_at"]
    assert f"/admin/scheduler/schedule/{made.id}/change/" in hrefs(told)
    schedules.cancel(made)
    assert kinds(life(staff, made.id)) == ["scheduled", "cancelled"]


@pytest.mark.parametrize("recurs", [False, True])
def test_what_a_schedule_fired_says_when_that_was(staff: Client, shards: Shards, *, recurs: bool) -> None:
    due_ms = schedules.now_ms() - 50
    made = schedules.recurring(due_ms) if recurs else schedules.once(due_ms)
    schedules.plan(made)
    schedules.fire()
    work(shards)
    row = Notification.objects.get()
    told = life(staff, str(row.pk))
    assert kinds(told) == ["scheduled", "fired", "stored", "unread"]
    assert told["timeline"][1]["at"] == timestamp_ms(due_ms)


def test_one_of_a_bulk_job_leads_to_the_job(staff: Client, make_event: Make) -> None:
    job = str(uuid.uuid4())
    event = make_event(source="bulk", source_id=job)
    store.store([event])
    told = life(staff, event.id)
    assert told["timeline"][0]["detail"] == "Its bulk job was accepted."
    assert f"/admin/bulk/bulkjob/{job}/change/" in hrefs(told)


def test_what_was_never_accepted_is_not_found(staff: Client) -> None:
    assert staff.get(f"/dashboard/lives/{uuid.uuid4()}").status_code == 404


def test_nobody_looks_but_staff_in_a_session(producer: Caller) -> None:
    assert Client().get("/dashboard/search", {"q": "alice"}).status_code == 401
    assert producer.get("/dashboard/search", {"q": "alice"}).status_code == 403
    assert producer.get(f"/dashboard/lives/{uuid.uuid4()}").status_code == 403


def test_a_recipient_is_found_wherever_its_notifications_are(
    staff: Client, shards: Shards, delays: Callable[[str], None], make_event: Make
) -> None:
    delays("50")
    dead = letters.event("alice")
    letters.record_all([dead])
    retrying = send({"fail": 1})
    make_worker(shards).step()
    stored, other = make_event("alice"), make_event("bob")
    store.store([stored, other])
    queued, waits = send({}), schedules.once(schedules.now_ms() + schedules.HOUR)
    schedules.plan(waits)
    schedules.record_all()
    found = find(staff, "alice")
    statuses = {one["id"]: one["status"] for one in found["results"]}
    expected = {dead.id: "dead", retrying: "retrying", stored.id: "stored", queued: "queued", waits.id: "scheduled"}
    assert statuses == expected
    assert other.id not in statuses
    assert (found["kind"], found["tried"], found["looked_at"]) == ("recipient", ["recipient"], None)
    assert ids(found) == sorted(statuses, reverse=True)


def test_a_text_that_nobody_is_called_is_looked_for_as_a_type(staff: Client, shards: Shards, make_event: Make) -> None:
    rows = [make_event(who, type="order.shipped") for who in ("alice", "bob")]
    store.store([*rows, make_event()])
    letters.record_all([letters.event("carol", type="order.shipped")])
    found = find(staff, "order.shipped")
    assert (found["kind"], found["tried"]) == ("type", ["recipient", "type"])
    assert {one["recipient"] for one in found["results"]} == {"alice", "bob", "carol"}
    assert find(staff, "order.shipped", kind="recipient")["results"] == []


def test_an_id_is_found_and_a_schedules_id_leads_to_it(staff: Client, make_event: Make) -> None:
    event = make_event()
    store.store([event])
    found = find(staff, event.id)
    assert (found["kind"], ids(found), found["links"]) == ("id", [event.id], [])
    nothing = find(staff, str(uuid.uuid4()))
    assert (nothing["tried"], nothing["results"]) == (["id", "recipient", "type"], [])


def test_who_is_called_by_a_uuid_is_found_too(staff: Client, make_event: Make) -> None:
    person = str(uuid.uuid4())
    event = make_event(person)
    store.store([event])
    assert ids(find(staff, person)) == [event.id]


def test_of_many_the_newest_fifty_are_shown(staff: Client, make_event: Make) -> None:
    batch = [make_event(id=made_at(number), type="many") for number in range(60)]
    store.store(batch)
    for q in ("alice", "many"):
        assert ids(find(staff, q)) == [event.id for event in reversed(batch[10:])]


def test_a_letter_that_became_a_row_is_found_once(staff: Client, shards: Shards) -> None:
    letter = letters.record(letters.event("alice"))
    replay.begin(replay.order_one(letter.pk, "ada"))
    work(shards)
    (one,) = find(staff, "alice")["results"]
    assert one["status"] == "stored"


def test_a_rare_type_says_how_far_was_looked(staff: Client, make_event: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_LOOKED_AT", 20)
    old, newer = make_event(id=made_at(0), type="rare"), [make_event() for _ in range(20)]
    # A letter whose event became a row after all is as old as that.
    letters.record(old)
    store.store([old])
    found = find(staff, "rare")
    assert (ids(found), found["looked_at"]) == ([old.id], None)
    store.store(newer)
    found = find(staff, "rare")
    assert (ids(found), found["looked_at"]) == ([], 20)


def test_a_search_that_takes_too_long_ends_and_says_what_to_do(
    staff: Client, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.store([make_event()])
    monkeypatch.setattr(search, "TIMEOUT_MS", 100)
    sleep_for_each_row(10)
    answer = staff.get("/dashboard/search", {"q": "alice"})
    assert answer.status_code == 503
    assert "Search by id or by recipient" in answer.json()["detail"]


def test_a_search_whose_statements_take_too_long_together_ends_as_well(
    staff: Client, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.store([make_event("bob", type="rare")])
    monkeypatch.setattr(search, "TIMEOUT_MS", 800)
    # Three of them read the row.
    sleep_for_each_row(0.4)
    assert staff.get("/dashboard/search", {"q": "rare"}).status_code == 503


def test_an_id_and_a_life_are_not_waited_for_longer_than_a_search(
    staff: Client, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = make_event()
    store.store([event])
    monkeypatch.setattr(timeline, "TIMEOUT_MS", 100)
    monkeypatch.setattr(search, "TIMEOUT_MS", 100)
    sleep_for_each_row(10)
    for path, query in ((f"lives/{event.id}", {}), ("search", {"q": event.id})):
        with transaction.atomic():
            answer = staff.get(f"/dashboard/{path}", query)
            assert answer.status_code == 503, answer.content
            assert "did not answer within" in answer.json()["detail"]
            transaction.set_rollback(True)


def test_what_is_in_flight_is_told_without_a_postgresql_that_takes_too_long(
    staff: Client, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = send({})
    # Stored, and not settled yet.
    duty = make_worker(shards)
    duty._ready()
    duty._reader.read(block_ms=None)
    store.store([msgspec.structs.replace(letters.event("alice"), id=event_id)])
    monkeypatch.setattr(timeline, "TIMEOUT_MS", 100)
    sleep_for_each_row(10)
    told = life(staff, event_id)
    assert (kinds(told), told["note"]) == (["accepted", "handling"], timeline.WITHOUT_POSTGRESQL)


@pytest.mark.django_db(transaction=True)
def test_what_a_deadline_leaves_is_for_the_next_statement_and_nothing_of_it_for_the_next_user() -> None:
    with connection.cursor() as cursor:
        with limited(900):
            cursor.execute("SELECT pg_sleep(0.5)")
            with pytest.raises(TooSlow):
                cursor.execute("SELECT pg_sleep(0.5)")
        with pytest.raises(TooSlow), limited(0):
            cursor.execute("SELECT 1")
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


@pytest.mark.parametrize("broken", [NO_ID, NO_YEAR])
def test_one_letter_that_is_malformed_hides_no_other(staff: Client, shards: Shards, broken: str) -> None:
    good = letters.event("alice", type="rare")
    letters.bury(shards, good)
    client: Any = shards.client
    payload = events.encode(msgspec.structs.replace(good, id=broken))
    client.xadd(keys.dead_letters(shards.of("alice")), {"event": payload, "reason": "invalid", "error": "e"})
    for q in ("alice", "rare"):
        assert set(ids(find(staff, q))) - {NO_YEAR} == {good.id}


def test_a_schedule_that_cannot_be_read_hides_nothing_and_is_still_led_to(staff: Client, shards: Shards) -> None:
    broken, good = (schedules.once(schedules.now_ms() + schedules.HOUR) for _ in range(2))
    schedules.plan(broken, good)
    schedules.record_all()
    Schedule.objects.filter(pk=broken.id).update(payload=b'{"v": 99}')
    client: Any = shards.client
    client.hdel(keys.schedules(shards.of("alice")), broken.id)
    assert ids(find(staff, "alice")) == [good.id]
    found = find(staff, broken.id)
    assert (found["results"], len(found["links"])) == ([], 1)
    assert staff.get(f"/dashboard/lives/{broken.id}").status_code == 404


def test_an_event_whose_schedule_has_no_id_has_a_life_as_well(staff: Client, shards: Shards) -> None:
    event = letters.event("alice", source="schedule", source_id="order-4711")
    letters.bury(shards, event)
    assert kinds(life(staff, event.id)) == ["accepted", "died", "waiting"]


@pytest.mark.usefixtures("delays")
def test_an_attempt_of_an_earlier_life_is_told_once_and_with_its_whole_error(staff: Client, shards: Shards) -> None:
    event = retries.after_failure(letters.event("alice", data=FAILS_ONCE), "x" * 900)
    letters.record(event)
    replay.begin(replay.order_one(uuid.UUID(event.id), "ada"))
    make_worker(shards).step()
    told = life(staff, event.id)
    attempts = [step["error"] for step in told["timeline"] if step["kind"] == "attempt_failed"]
    assert (len(attempts), len(attempts[0])) == (2, 900)


@pytest.mark.parametrize(
    ("query", "pointer", "words"),
    [
        ({}, "/q", "is required"),
        ({"q": "two words"}, "/q", "an id, a recipient or a type"),
        ({"q": "x" * 129}, "/q", "1 to 128"),
        ({"q": "a\x00b"}, "/q", "1 to 128"),
        ({"q": "alice", "kind": "id"}, "/q", "a UUID"),
        ({"q": "Alice", "kind": "type"}, "/q", "a-z 0-9"),
        ({"q": "alice", "kind": "colour"}, "/kind", "id, recipient, type"),
        ({"q": "alice", "page": "2"}, "/page", "kind, q"),
    ],
)
def test_a_bad_question_is_told_which_field_and_what_it_takes(
    staff: Client, query: dict[str, str], pointer: str, words: str
) -> None:
    answer = staff.get("/dashboard/search", query)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert words in error["detail"]
