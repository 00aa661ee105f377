"""Idempotency keys on schedules: what is asked twice is done once, wherever the first request ended."""

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import msgspec
import pytest

from conftest import Caller
from notifications import events, wiring
from notifications.access import keys as access_keys
from notifications.intake import idempotency
from notifications.stream import scripts
from notifications.stream.once import Once
from notifications.tests.test_api import problem
from scheduler import door, schedule, shapes
from scheduler.exceptions import TooLate
from scheduler.models import Schedule as Row
from scheduler.schedule import Schedule
from scheduler.tests.helpers import (
    DAY,
    EVENT,
    HOUR,
    SECOND,
    call,
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

PATH = "/api/schedule"
KEYS = [f"key-{number}" for number in range(8)]


def post(caller: Caller, fields: dict[str, Any], key: str, path: str = PATH) -> Any:
    return call(caller, "POST", path, fields, **{"Idempotency-Key": key})


def scheduled() -> int:
    record_all()
    return Row.objects.count()


def record_of(document: bytes, key: str, path: str = PATH, caller: str = "key:1") -> Once:
    return idempotency(caller, key, path, document)


def reserve(record: Once, answer: bytes) -> None:
    """What a request leaves that dies after its reservation."""
    home = wiring.schedules()._records.home(record)
    scripts.run(wiring.shards().client, "reserve", [record.key(home)], [record.fingerprint, answer, 60])


def in_other_shards(document: bytes, path: str = PATH, recipient: str = "alice") -> Iterator[Once]:
    """Records of a request that do not lie in its recipient's shard; none where there is one shard only."""
    home, records = wiring.shards().of(recipient), wiring.schedules()._records
    for number in range(100):
        if records.home(record := record_of(document, f"key-{number}", path)) != home:
            yield record


# With four shards, some of the keys lie in the schedule's shard, and some do not.
@pytest.mark.parametrize("key", KEYS)
def test_the_same_key_and_body_make_one_schedule_and_one_answer(producer: Caller, key: str) -> None:
    first, again = (post(producer, EVENT | {"delay": 60}, key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert (first.content, first.headers["Location"]) == (again.content, again.headers["Location"])
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    problem(post(producer, EVENT | {"delay": 61}, key), 422)
    problem(post(producer, EVENT | {"delay": 60, "recipient": "bob"}, key), 422)
    assert scheduled() == 1


def test_a_key_is_its_callers_own_and_without_a_key_each_request_counts(producer: Caller) -> None:
    other = Caller(access_keys.create("another")[1])
    answers = [post(caller, EVENT | {"delay": 60}, "k").json()["id"] for caller in (producer, other)]
    answers += [make(producer, delay=60)["id"] for _ in range(2)]
    assert len(set(answers)) == scheduled() == 4


@pytest.mark.parametrize("key", KEYS[:4])
def test_a_refused_request_does_not_use_its_key_up(producer: Caller, key: str) -> None:
    problem(post(producer, EVENT | {"delay": -1}, key), 400)
    assert post(producer, EVENT | {"delay": 60}, key).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "é"])
@pytest.mark.one_shard_is_enough
def test_a_key_out_of_bounds_is_refused(producer: Caller, key: str) -> None:
    made = make(producer, delay=60)
    for path in (PATH, f"{PATH}/{made['id']}/run"):
        fields = problem(post(producer, EVENT | {"delay": 60}, key, path), 400)
        assert fields["errors"][0]["pointer"] == "/Idempotency-Key"
    assert scheduled() == 1


@pytest.mark.parametrize("key", KEYS[:4])
def test_the_first_answer_is_given_again_when_the_schedule_is_another_or_over(producer: Caller, key: str) -> None:
    first = post(producer, EVENT | {"delay": 60}, key)
    one = f"{PATH}/{first.json()['id']}"
    call(producer, "PATCH", one, {"title": "Another"})
    assert post(producer, EVENT | {"delay": 60}, key).content == first.content
    call(producer, "DELETE", one)
    record_all()
    assert post(producer, EVENT | {"delay": 60}, key).content == first.content
    assert producer.get(one).json()["status"] == "cancelled"


@pytest.mark.parametrize("key", KEYS[:4])
def test_an_appointment_that_passed_meanwhile_is_answered_as_it_was(
    producer: Caller, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """For 24 h the same request has the same answer, though a new one for the same time would be refused."""
    at = schedule.moment(now_ms() + 10 * SECOND).isoformat()
    first = post(producer, EVENT | {"at": at}, key)
    offsets = wiring.clock()._offsets
    for server, offset in offsets.items():
        monkeypatch.setitem(offsets, server, offset._replace(ms=offset.ms + HOUR))
    again = post(producer, EVENT | {"at": at}, key)
    assert again.status_code == 201, again.content
    assert again.content == first.content
    assert again.headers["Idempotency-Replayed"] == "true"


def test_fifty_requests_at_once_with_one_key_are_one_schedule() -> None:
    body = json.dumps(EVENT | {"delay": 60}).encode()
    for key in KEYS:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: door.make(body, "tests", record_of(body, key)).body, range(50)))  # noqa: B023 - the pool ends first
        assert len(set(answers)) == 1
    assert scheduled() == len(KEYS)


@pytest.mark.parametrize("fields", [{"delay": 60}, {"daily": "10:00"}, {"at": "2100-01-01T00:00:00Z"}])
@pytest.mark.parametrize("planned", [False, True])
def test_a_request_that_was_begun_and_not_ended_is_finished_under_its_id(
    fields: dict[str, Any], *, planned: bool
) -> None:
    """What a process leaves that dies after the reservation, or after the schedule was made."""
    body = json.dumps(EVENT | fields).encode()
    for record in in_other_shards(body):
        known = door.preview(body, "tests")
        answer = msgspec.json.encode(shapes.shown(known))
        reserve(record, answer)
        if planned:
            plan(known)
        replayed = door.make(body, "tests", record)
        assert (replayed.body, replayed.replayed) == (answer, True)
        assert seen(known).due_ms == known.due_ms
        assert door.look(uuid.UUID(known.id)).about.recurrence == known.about.recurrence
        assert door.make(body, "tests", record).body == answer
        assert seen(known).revision == 1


def test_a_schedule_that_was_cancelled_is_not_made_again_by_who_asked_for_it_first() -> None:
    """The first request died before it could complete its record; somebody else saw the schedule, and cancelled it."""
    body = json.dumps(EVENT | {"delay": 60}).encode()
    for record in in_other_shards(body):
        known = door.preview(body, "tests")
        answer = msgspec.json.encode(shapes.shown(known))
        reserve(record, answer)
        plan(known)
        door.cancel(uuid.UUID(known.id))
        record_all()
        assert door.make(body, "tests", record).body == answer
        assert not waits(known)


@pytest.mark.parametrize("key", KEYS)
def test_a_run_with_a_key_happens_once(producer: Caller, key: str) -> None:
    for fields in ({"daily": "10:00"}, {"delay": 3600}):
        path = f"{PATH}/{make(producer, **fields)['id']}/run"
        first, again = (post(producer, {}, f"{key}-{fields}", path) for _ in range(2))
        assert (first.status_code, again.status_code) == (202, 202), again.content
        assert (first.content, first.headers["Location"]) == (again.content, again.headers["Location"])
        assert "Idempotency-Replayed" not in first.headers
        assert again.headers["Idempotency-Replayed"] == "true"
        problem(post(producer, {"another": "body"}, f"{key}-{fields}", path), 422)
    assert len(queued()) == 2


@pytest.mark.parametrize("key", KEYS[:4])
def test_a_run_of_what_is_over_is_too_late_with_a_key_too(producer: Caller, key: str) -> None:
    known = once(now_ms() - SECOND)
    plan(known)
    fire()
    for _ in range(2):
        problem(post(producer, {}, key, f"{PATH}/{known.id}/run"), 409)
        record_all()
    problem(post(producer, {}, key, f"{PATH}/{uuid.uuid4()}/run"), 404)


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("kind", [once, recurring])
def test_a_run_that_was_begun_and_not_ended_is_finished_under_its_id(
    kind: Callable[[int], Schedule], *, ran: bool
) -> None:
    """What a process leaves that dies after the reservation, or after the schedule fired."""
    known = kind(now_ms() + DAY)
    plan(known)
    for record in islice(in_other_shards(b"", f"{PATH}/{known.id}/run"), 1):
        event_id = events.new_id("alice") if known.recurs else known.id
        answer = msgspec.json.encode({"id": event_id, "status": "queued"})
        reserve(record, answer)
        if ran:
            wiring.schedules()._run(door._step(known, event_id))
        finished, again = (door.run_now(uuid.UUID(known.id), record) for _ in range(2))
        assert finished.body == again.body == answer
        assert (finished.replayed, again.replayed) == (True, True)
        assert [event.id for event in queued()] == [event_id]


def test_a_run_with_a_key_that_came_too_late_does_not_use_the_key_up() -> None:
    known, other = once(now_ms() - SECOND), once(now_ms() + DAY)
    plan(known, other)
    fire()
    for number in range(8):
        with pytest.raises(TooLate):
            door.run_now(uuid.UUID(known.id), record_of(b"", f"key-{number}", f"{PATH}/{known.id}/run"))
    body = json.dumps(EVENT | {"delay": 60}).encode()
    for number in range(8):
        assert not door.make(body, "tests", record_of(body, f"key-{number}")).replayed
