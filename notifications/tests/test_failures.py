"""What is kept of attempts that failed: in the event while it is on its way, in a table once it is stored."""

import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from notifications import events, lookup, retries, store
from notifications.events import Event, FailedAttempt
from notifications.models import Attempt, Notification
from notifications.retries import MAX_EARLIER_CHARACTERS, MAX_KEPT, MAX_KEPT_BYTES, MAX_KEPT_CHARACTERS
from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.tests.test_retries import send, work
from notifications.tests.test_worker import dead_letters, make_worker

Make = Callable[..., Event]

OLD_PAYLOAD = b'{"v":1,"id":"019aab5e-0000-7000-8000-000000006f31","recipient":"a","type":"t","title":"T","attempts":2}'


@pytest.fixture(autouse=True)
def _faults_are_on(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = msgspec.structs.replace(settings.NOTIFY, fault_injection=True, retry_delays="0.02,0.03")
    monkeypatch.setattr(settings, "NOTIFY", changed)


def failed(event: Event, times: int) -> Event:
    """An event after so many attempts that failed."""
    for number in range(times):
        event = retries.after_failure(event, f"error {number + 1}", delay_ms=1000)
    return event


def kept_of(event_id: str) -> list[tuple[int, int, str]]:
    return list(Attempt.objects.filter(notification_id=event_id).values_list("life", "number", "error"))


def statements_about_attempts(captured: CaptureQueriesContext) -> int:
    return sum("notifications_attempt" in query["sql"] for query in captured.captured_queries)


def test_an_event_that_never_failed_is_on_the_wire_as_it_always_was(make_event: Make) -> None:
    event = make_event()
    assert b"failures" not in events.encode(event)
    assert events.decode(events.encode(event)) == event


def test_what_an_older_release_queued_is_still_read() -> None:
    event = events.decode(OLD_PAYLOAD)
    assert (event.attempts, event.failures) == (2, ())
    assert [failure.attempt for failure in failed(event, 1).failures] == [3]


def test_every_failure_travels_with_the_event(make_event: Make) -> None:
    event = events.decode(events.encode(failed(make_event(life=2), 2)))
    assert [(one.attempt, one.error, one.delay_ms, one.life) for one in event.failures] == [
        (1, "error 1", 1000, 2),
        (2, "error 2", 1000, 2),
    ]
    assert event.first_failed_ms == event.failures[0].at_ms <= event.failures[1].at_ms


def test_of_very_many_failures_the_first_and_the_newest_are_kept(make_event: Make) -> None:
    event = failed(make_event(), MAX_KEPT + 30)
    assert [one.attempt for one in event.failures] == [1, *range(32, MAX_KEPT + 31)]
    assert event.attempts == MAX_KEPT + 30


def test_of_a_long_error_as_much_is_kept_as_is_bounded_and_nothing_that_postgresql_refuses(make_event: Make) -> None:
    event = retries.after_failure(make_event(), "\x00\ud800" + "x" * 5000)
    (failure,) = event.failures
    assert failure.error.startswith("\N{REPLACEMENT CHARACTER}?xxx")
    assert len(failure.error) == MAX_KEPT_CHARACTERS
    assert failure.error.endswith("…")


@pytest.mark.parametrize("character", ["x", "é", "\x01"])
def test_however_often_an_event_is_replayed_its_failures_take_no_more_bytes_than_that(
    make_event: Make, character: str
) -> None:
    event, failed_once = make_event(), None
    for life in range(30):
        event = msgspec.structs.replace(event, life=life, attempts=0)
        for _ in range(6):
            event = retries.after_failure(event, character * 5000)
            failed_once = failed_once or event.failures[0]
            assert len(msgspec.json.encode(event.failures)) <= MAX_KEPT_BYTES + 1
            assert event.failures[-1].error == retries._kept(character * 5000)
            assert event.failures[0].at_ms == failed_once.at_ms
    assert (event.failures[-1].life, event.failures[-1].attempt) == (29, 6)


def test_of_an_earlier_lifes_errors_the_beginnings_are_kept(make_event: Make) -> None:
    event = retries.after_failure(make_event(), "x" * 5000)
    event = retries.after_failure(msgspec.structs.replace(event, life=1, attempts=0), "y" * 5000)
    event = retries.after_failure(event, "z" * 5000)
    assert [len(one.error) for one in event.failures] == [
        MAX_EARLIER_CHARACTERS,
        MAX_KEPT_CHARACTERS,
        MAX_KEPT_CHARACTERS,
    ]


@pytest.mark.django_db
def test_an_event_that_failed_leaves_its_failures_with_its_row(shards: Shards) -> None:
    event_id = send({"fail": 2})
    work(shards)
    assert Notification.objects.get().attempts == 3
    found = lookup.failures(uuid.UUID(event_id))
    assert [(one.attempt, one.life) for one in found] == [(1, 0), (2, 0)]
    assert "attempt 1 fails" in found[0].error
    assert 18 <= (found[0].delay_ms or 0) <= 22
    assert found[0].at_ms + (found[0].delay_ms or 0) <= found[1].at_ms


@pytest.mark.django_db
def test_a_batch_without_failures_costs_no_statement_more(make_event: Make) -> None:
    with CaptureQueriesContext(connection) as captured:
        store.store([make_event() for _ in range(100)])
    assert statements_about_attempts(captured) == 0
    with CaptureQueriesContext(connection) as captured:
        store.store([make_event(), failed(make_event(), 3), failed(make_event("bob"), 2)])
    assert statements_about_attempts(captured) == 1
    assert Attempt.objects.count() == 5


@pytest.mark.django_db
def test_a_redelivery_adds_no_failure_twice(make_event: Make) -> None:
    event = failed(make_event(), 2)
    for batch in ([event], [event, make_event()], [event, event, failed(make_event("bob"), 1)]):
        store.store(batch)
    assert kept_of(event.id) == [(0, 1, "error 1"), (0, 2, "error 2")]
    assert Attempt.objects.count() == 3


@pytest.mark.django_db
def test_a_dead_letter_carries_its_failures_and_the_last_has_no_delay(shards: Shards) -> None:
    send({"fail": -1})
    work(shards)
    (letter,) = dead_letters(shards)
    failures = events.decode(letter[b"event"]).failures
    assert [one.attempt for one in failures] == [1, 2, 3]
    assert [one.delay_ms is None for one in failures] == [False, False, True]


@pytest.mark.django_db
def test_events_of_a_chunk_that_fail_keep_their_failures_each_its_own(shards: Shards, make_event: Make) -> None:
    """They leave the chunk without an attempt counted, and are then tried each by itself."""
    of = make_event(recipient="", source="bulk", data=msgspec.Raw(b'{"fault":{"fail":1}}'))
    of = msgspec.structs.replace(of, source_id=of.id)
    shard = shards.of("alice")
    together = [who for who in ("alice", *(f"r{number}" for number in range(100))) if shards.of(who) == shard][:2]
    client: Any = shards.client
    client.xadd(keys.lane(shard, "bulk"), {"event": events.encode(of), "to": "\n".join(together)})
    make_worker(shards).step()
    assert Notification.objects.count() == 0
    work(shards)
    rows = Notification.objects.values_list("id", "attempts")
    assert sorted(attempts for _, attempts in rows) == [2, 2]
    assert [kept_of(str(row_id))[0][:2] for row_id, _ in rows] == [(0, 1), (0, 1)]


@pytest.mark.parametrize("missing", ["delay_ms", "life"])
def test_a_failure_says_no_more_than_it_has_to(missing: str) -> None:
    failure = FailedAttempt(at_ms=1, attempt=1, error="e")
    assert missing.encode() not in msgspec.json.encode(failure)
