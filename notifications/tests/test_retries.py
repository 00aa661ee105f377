"""What becomes of an event that fails: the next attempt, and the end of attempts."""

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.conf import settings

from notifications import events, faults, intake, lookup, retries, store, wiring
from notifications.events import Event
from notifications.exceptions import Invalid
from notifications.models import Inbox, Notification
from notifications.stream import delayed, keys
from notifications.stream.client import Shards
from notifications.tests.test_worker import dead_letters, drain, make_worker, total, waiting

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Set fields of the configuration for one test."""

    def set_fields(**fields: object) -> None:
        monkeypatch.setattr(settings, "NOTIFY", msgspec.structs.replace(settings.NOTIFY, **fields))

    return set_fields


@pytest.fixture(autouse=True)
def _faults_are_on(configure: Configure) -> None:
    configure(fault_injection=True, retry_delays="0.02,0.02,0.02,0.02,0.02")


def send(fault: object, recipient: str = "alice") -> str:
    document = {"recipient": recipient, "type": "t", "title": "t", "data": {"fault": fault}}
    event_id: str = json.loads(intake.accept_one(json.dumps(document).encode()).body)["id"]
    return event_id


def life(event_id: str) -> dict[str, Any]:
    found = lookup.life(event_id)  # type: ignore[arg-type]
    assert found is not None
    return found


def work(shards: Shards) -> None:
    """Work and move what is due until nothing waits, neither in a lane nor for its time."""
    worker = make_worker(shards)
    deadline = time.monotonic() + 30
    while any(waiting(shards).values()) or any(shards.client.zcard(keys.delayed(s)) for s in shards.each()):
        assert time.monotonic() < deadline, "it never came to rest"
        drain(worker, shards)
        delayed.move_due(shards)


def test_an_event_that_fails_twice_is_stored_by_the_third_attempt(shards: Shards) -> None:
    event_id = send({"fail": 2})
    work(shards)
    assert [(str(row.id), row.attempts) for row in Notification.objects.all()] == [(event_id, 3)]
    assert Inbox.objects.get().unread == 1
    assert total(shards, "retried") == 2
    assert not dead_letters(shards)


def test_between_attempts_its_status_says_when_and_why(shards: Shards, configure: Configure) -> None:
    configure(retry_delays="50")
    event_id = send({"fail": 1})
    make_worker(shards).step()
    seen = life(event_id)
    assert (seen["status"], seen["attempts"]) == ("retrying", 1)
    assert "attempt 1 fails" in seen["last_error"]
    accepted, following = seen["accepted_at"], seen["next_attempt_at"]
    assert accepted < following
    client: Any = shards.client
    (due,) = (score for s in shards.each() for _, score in client.zrange(keys.delayed(s), 0, 0, withscores=True))
    assert 44_000 < due - time.time() * 1000 < 56_000


def test_an_event_that_always_fails_is_dead_after_the_last_delay(shards: Shards) -> None:
    event_id = send({"fail": -1})
    work(shards)
    (letter,) = dead_letters(shards)
    assert (letter[b"reason"], letter[b"attempts"]) == (b"retries_exhausted", b"6")
    assert events.decode(letter[b"event"]).first_failed_ms
    seen = life(event_id)
    assert (seen["status"], seen["attempts"], seen["next_attempt_at"]) == ("dead", 6, None)
    assert "attempt 6 fails" in seen["last_error"]
    assert not Notification.objects.exists()


def test_an_invalid_event_is_dead_at_once(shards: Shards) -> None:
    event_id = send({"invalid": True})
    work(shards)
    (letter,) = dead_letters(shards)
    assert (letter[b"reason"], letter[b"attempts"]) == (b"invalid", b"1")
    assert life(event_id)["status"] == "dead"


def test_neighbours_of_failing_events_are_stored_in_the_same_step(shards: Shards) -> None:
    for fault in ({"fail": -1}, {}, {"invalid": True}, {}, {"fail": 3}, {}):
        send(fault)
    make_worker(shards).step()
    assert Notification.objects.count() == 3


def test_nothing_is_moved_before_its_time_and_everything_is_once(shards: Shards, configure: Configure) -> None:
    configure(retry_delays="0.5")
    ids = {send({"fail": 1}, f"r{number}") for number in range(20)}
    worker = make_worker(shards)
    drain(worker, shards)
    before = delayed.move_due(shards)
    assert before.events == 0
    assert 0 < (before.next_in_ms or 0) <= 550
    deadline, moved = time.monotonic() + 10, 0
    while moved < len(ids) and time.monotonic() < deadline:
        moved += delayed.move_due(shards).events
    assert moved == len(ids)
    assert delayed.move_due(shards) == (0, None)
    assert not any(shards.client.hlen(keys.payloads(s)) for s in shards.each())
    drain(worker, shards)
    assert {str(row.id) for row in Notification.objects.all()} == ids


def test_a_retry_goes_back_into_the_lane_it_came_from(
    shards: Shards, make_event: Callable[..., Event], make_writer: Callable[..., Any]
) -> None:
    make_writer(lane="bulk").add([make_event(data=msgspec.Raw(b'{"fault":{"fail":1}}'))])
    make_worker(shards).step()
    deadline = time.monotonic() + 10
    while not delayed.move_due(shards).events:
        assert time.monotonic() < deadline
    assert sum(int(shards.client.xlen(keys.lane(s, "bulk"))) for s in shards.each()) == 1


def test_a_failed_entry_that_another_worker_settled_already_waits_once(shards: Shards) -> None:
    """A worker that stood still, and the one that claimed from it, both saw the attempt fail."""
    event_id = send({"fail": -1})
    slow, quick = make_worker(shards, "slow"), make_worker(shards, "quick", idle_ms=0)
    for worker in (slow, quick):
        worker._ready()
    entries = slow._reader.read(block_ms=100)
    outcomes = slow._handle(entries)
    quick.step()
    slow._settle(outcomes)
    assert sum(int(shards.client.zcard(keys.delayed(s))) for s in shards.each()) == 1
    assert total(shards, "retried") == 1
    assert life(event_id)["attempts"] == 1


def test_a_fault_that_nobody_foresaw_is_retried_and_harms_no_neighbour(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = send({}, "bad")
    good = {send({}, f"r{number}") for number in range(8)}
    real = store.store

    def store_but(batch: list[Event]) -> store.Stored:
        if any(event.id == bad for event in batch):
            raise OverflowError("no such number")
        return real(batch)

    monkeypatch.setattr(store, "store", store_but)
    drain(make_worker(shards), shards)
    assert {str(row.id) for row in Notification.objects.all()} == good
    seen = life(bad)
    assert (seen["status"], seen["last_error"]) == ("retrying", "no such number")
    monkeypatch.undo()
    work(shards)
    assert {str(row.id) for row in Notification.objects.all()} == good | {bad}


@pytest.mark.parametrize("failed", range(1, 6))
def test_delays_are_as_configured_give_or_take_a_tenth(failed: int, configure: Configure) -> None:
    configure(retry_delays="1,5,15,30,60")
    expected = [1000, 5000, 15_000, 30_000, 60_000][failed - 1]
    seen = [retries.delay_ms(failed) or 0 for _ in range(200)]
    assert 0.9 * expected <= min(seen) < 0.95 * expected
    assert 1.05 * expected < max(seen) <= 1.1 * expected


def test_after_the_last_delay_there_is_no_other_attempt(configure: Configure) -> None:
    configure(retry_delays="1,2")
    assert retries.delay_ms(2) is not None
    assert retries.delay_ms(3) is None


@pytest.mark.parametrize(
    "fault",
    [7, [], {"fial": 1}, {"fail": "two"}, {"fail": -2}, {"crash": "yes"}, {"sleep_ms": -1}, {"sleep_ms": 10**9}],
)
def test_the_door_names_the_rule_of_a_fault_that_there_is_not(fault: object) -> None:
    with pytest.raises(Invalid) as refused:
        send(fault)
    (error,) = refused.value.errors
    assert (error.pointer, error.detail) == ("/data/fault", faults.RULE)


def test_without_fault_injection_data_is_only_data(shards: Shards, configure: Configure) -> None:
    configure(fault_injection=False)
    for fault in ({"fail": -1}, {"invalid": True}, {"crash": True}, "a fault in the roof"):
        send(fault)
    work(shards)
    assert Notification.objects.count() == 4


def test_readmitting_is_once_however_often_it_is_repeated(shards: Shards) -> None:
    event_id = send({"invalid": True})
    work(shards)
    (letter,) = dead_letters(shards)
    event = msgspec.structs.replace(
        events.decode(letter[b"event"]), data=msgspec.Raw(b"{}"), life=1, attempts=0, last_error=None
    )
    for _ in range(3):
        intake.readmit([event])
    assert life(event_id)["status"] == "queued"
    assert sum(waiting(shards).values()) == 1
    work(shards)
    assert Notification.objects.count() == Inbox.objects.get().unread == 1
    assert wiring.writer("bulk") is not wiring.writer()


def test_an_event_that_died_in_a_life_does_not_live_it_again(shards: Shards) -> None:
    """As when a process put it into the stream, and died before it could say so."""
    event_id = send({"invalid": True})
    work(shards)
    (letter,) = dead_letters(shards)
    again = msgspec.structs.replace(events.decode(letter[b"event"]), life=1)
    for _ in range(3):
        intake.readmit([again])
        work(shards)
    assert len(dead_letters(shards)) == 2
    assert life(event_id)["status"] == "dead"
