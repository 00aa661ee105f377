"""The recorder: every dead letter becomes one row, whatever happens in between."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, connection
from redis.exceptions import ConnectionError as RedisConnectionError

from dlq import deaths, records, replay
from dlq.models import DeadLetter, Passage
from dlq.recorder import Recorder
from dlq.tests.letters import FAILED_MS, bury, event, failed_at, history, letter, record, record_all, recorder, waiting
from notifications import events, store
from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.keys import RECORDERS
from notifications.stream.letters import LetterReader

pytestmark = pytest.mark.django_db

Status = DeadLetter.Status


def in_flight(shards: Shards) -> int:
    client: Any = shards.client
    return sum(client.hlen(keys.inflight(shard)) for shard in shards.each())


def pending(shards: Shards) -> int:
    client: Any = shards.client
    return sum(client.xpending(keys.dead_letters(shard), RECORDERS)["pending"] for shard in shards.each())


def drain(duty: Recorder, shards: Shards) -> None:
    while waiting(shards):
        duty.step()


def test_what_was_given_up_becomes_letters_and_leaves_nothing_behind(shards: Shards) -> None:
    dead = [event(who) for who in ("alice", "bob", "carol", "dave")]
    for one in dead:
        bury(shards, one, reason="retries_exhausted", error="the sun was too hot", attempts=6)
    bury(shards, b"nonsense")
    drain(recorder(shards), shards)
    assert DeadLetter.objects.count() == 5
    for one in dead:
        found = DeadLetter.objects.get(pk=one.id)
        assert events.decode(bytes(found.payload)) == one
        assert (found.recipient, found.type, found.status) == (one.recipient, one.type, Status.DEAD)
        assert (found.reason, found.error, found.attempts) == ("retries_exhausted", "the sun was too hot", 6)
        assert found.first_failed_at == found.last_failed_at == failed_at()
        assert history(one.id) == ["DIED"]
    unreadable = DeadLetter.objects.get(readable=False)
    assert bytes(unreadable.payload) == b"nonsense"
    assert (in_flight(shards), waiting(shards), pending(shards)) == (0, 0, 0)


def test_a_letter_recorded_twice_is_one(shards: Shards) -> None:
    for _ in range(2):
        for dead in (event("alice", id="019aab5e-0000-7000-8000-000000006f31"), b"nonsense"):
            record(dead, entry_id=b"1800000000000-3")
    assert DeadLetter.objects.count() == 2
    assert [history(pk) for pk in DeadLetter.objects.values_list("pk", flat=True)] == [["DIED"], ["DIED"]]


def test_a_letter_twice_in_one_batch_is_one() -> None:
    dead = event()
    record_all([dead, event("bob"), dead])
    assert DeadLetter.objects.count() == Passage.objects.count() == 2


def test_a_later_life_is_the_same_letter_dead_again_and_an_earlier_one_changes_nothing() -> None:
    first = event()
    record(first, reason="crash", error="first", failed_ms=FAILED_MS)
    replay.order_one(DeadLetter.objects.get().pk, "tests")
    again = event(id=first.id, life=1, title="Another")
    record(again, reason="retries_exhausted", error="second", attempts=6, failed_ms=FAILED_MS + 60_000)
    for _ in range(2):
        found = DeadLetter.objects.get()
        assert (found.status, found.life, found.reason, found.error) == (0, 1, "retries_exhausted", "second")
        assert (found.attempts, events.decode(bytes(found.payload)).title) == (6, "Another")
        assert (found.first_failed_at, found.last_failed_at) == (failed_at(), failed_at(FAILED_MS + 60_000))
        record(first, reason="crash", error="first", failed_ms=FAILED_MS)
    # It died again before its replay was said to be carried out: it had been.
    assert history(first.id) == ["DIED", "ORDERED", "REPLAYED", "DIED"]


def test_lives_out_of_order_in_one_batch_end_as_the_last() -> None:
    first = event()
    record_all([event(id=first.id, life=2), first, event(id=first.id, life=1)])
    assert DeadLetter.objects.get().life == 2
    assert list(Passage.objects.values_list("life", flat=True)) == [0, 1, 2]


def test_a_redelivered_entry_takes_no_letter_back_that_was_replayed_or_discarded(shards: Shards) -> None:
    dead = [event("alice"), event("bob")]
    record_all(dead)
    replay.begin(replay.order_one(DeadLetter.objects.get(recipient="alice").pk, "tests"))
    replay.discard(replay.Criteria(recipient="bob"), "tests")
    record_all(dead)
    found = dict(DeadLetter.objects.values_list("recipient", "status"))
    assert found == {"alice": Status.REPLAYED, "bob": Status.DISCARDED}


def test_an_event_that_came_in_twice_and_died_after_its_replay_is_dead_again(shards: Shards) -> None:
    """As when a request was finished by another with its idempotency key, hours later: the same life, a later death."""
    dead = event("alice")
    record(dead)
    replay.begin(replay.order_one(DeadLetter.objects.get().pk, "tests"))
    record(dead, failed_ms=FAILED_MS + 60_000, error="later")
    found = DeadLetter.objects.get()
    assert (found.status, found.life, found.error) == (Status.DEAD, 0, "later")
    assert history(dead.id) == ["DIED", "ORDERED", "REPLAYED", "DIED"]


def test_a_letter_whose_event_is_stored_long_after_is_closed() -> None:
    dead = event("alice")
    hours_ago = int((time.time() - 5 * 3600) * 1000)
    record(dead, failed_ms=hours_ago)
    store.store([dead])
    assert records.close_stored() == 0, "this looks at the last hour only"
    assert records.close_stored_long_after() == 1
    assert DeadLetter.objects.get().status == Status.REPLAYED


def test_an_event_that_is_a_row_is_no_letter(shards: Shards) -> None:
    """Its worker died between the commit and the settling, three times, say."""
    stored, dead = event("alice"), event("bob")
    store.store([stored])
    for one in (stored, dead):
        bury(shards, one, reason="crash")
    drain(recorder(shards), shards)
    assert DeadLetter.objects.get().recipient == "bob"
    assert in_flight(shards) == 0


def test_a_letter_whose_event_is_stored_after_all_is_closed() -> None:
    """A worker stood still with it in hand, and went on."""
    late, dead = event("alice"), event("bob")
    record_all([late, dead], failed_ms=time.time_ns() // 1_000_000)
    store.store([late])
    assert (records.close_stored(), records.close_stored()) == (1, 0)
    assert dict(DeadLetter.objects.values_list("recipient", "status")) == {"alice": Status.REPLAYED, "bob": Status.DEAD}


@pytest.mark.parametrize("text", ["NUL \x00 and \ud800 alone", "x" * 100_000])
def test_text_that_postgresql_refuses_is_made_fit(text: str) -> None:
    found = record(event(), reason=text, error=text)
    assert "\x00" not in found.error
    assert found.error[:3] == text[:3]


def test_what_cannot_be_read_is_looked_at_again_when_a_recorder_starts(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade, say."""
    with monkeypatch.context() as older:
        older.setattr(deaths, "read", lambda _: None)
        record(event())
    record(b"nonsense", entry_id=b"1-1")
    bury(shards, event("bob"))
    recorder(shards).step()
    assert dict(DeadLetter.objects.values_list("recipient", "readable")) == {"alice": True, "": False, "bob": True}


class Killed(BaseException):
    """The process ended here: nothing is caught, nothing is finished."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("owner", "name"), [(records, "record"), (LetterReader, "settle")], ids=["recording", "settling"]
)
def test_a_recorder_that_dies_at_any_step_has_one_effect_in_the_end(
    owner: Any, name: str, when: str, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    for who in ("alice", "bob", "carol", "alice"):
        bury(shards, event(who))
    original = getattr(owner, name)

    def die(*args: Any, **kwargs: Any) -> None:
        if when == "after":
            original(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(owner, name, die)
    with pytest.raises(Killed):
        drain(recorder(shards, "killed"), shards)
    monkeypatch.undo()
    drain(recorder(shards, "successor", idle_ms=0), shards)
    assert DeadLetter.objects.count() == Passage.objects.count() == 4
    assert (in_flight(shards), pending(shards)) == (0, 0)


@pytest.mark.parametrize("error", [OperationalError("gone"), RedisConnectionError("gone")])
@pytest.mark.parametrize(("owner", "name"), [(records, "_save"), (LetterReader, "settle")])
def test_an_outage_keeps_the_batch(
    owner: Any, name: str, error: Exception, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(shards, event())
    duty = recorder(shards)

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as outage:
        outage.setattr(owner, name, fail)
        for _ in range(3):
            with pytest.raises(type(error)):
                duty.step()
        assert waiting(shards) == 1
    duty.step()
    assert DeadLetter.objects.count() == Passage.objects.count() == 1
    assert (waiting(shards), pending(shards)) == (0, 0)


def test_a_flushed_redis_is_work_as_usual_from_then_on(shards: Shards) -> None:
    duty = recorder(shards)
    duty.step()
    shards.client.flushall()
    bury(shards, event())
    for _ in range(2):
        duty.step()
    assert DeadLetter.objects.count() == 1


def test_what_a_recorder_that_stopped_still_held_is_recorded_by_another_at_once(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(shards, event())
    stopped = recorder(shards, "stopped")
    with monkeypatch.context() as outage:
        outage.setattr(records, "record", lambda _: (_ for _ in ()).throw(DatabaseError("gone")))
        with pytest.raises(DatabaseError):
            stopped.step()
    stopped.stop()
    recorder(shards, "other").step()
    assert DeadLetter.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_recorders_at_one_letter_make_one(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stood still between its look and its write, and the one that claimed from it."""
    dead = deaths.death_of(letter(event()))
    original: Callable[..., Any] = records._lock

    def lock_then_lose(ids: Any) -> Any:
        found = original(ids)
        monkeypatch.undo()
        records_elsewhere(dead)
        return found

    monkeypatch.setattr(records, "_lock", lock_then_lose)
    assert records.record([dead]) == 0
    assert DeadLetter.objects.count() == Passage.objects.count() == 1


def records_elsewhere(dead: deaths.Death) -> None:
    """Another process records it: over a connection of its own, and commits."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute(
            "INSERT INTO dlq_deadletter (id, status, recipient, type, payload, readable, reason, error, fingerprint,"
            " attempts, life, first_failed_at, last_failed_at)"
            " VALUES (%s, 0, 'alice', 't', '', true, 'invalid', '', '', 1, 0, %s, %s)",
            [dead.event_id, dead.first_failed_at, dead.failed_at],
        )
        cursor.execute(
            'INSERT INTO dlq_passage (letter_id, kind, at, "by", life, reason, error, attempts)'
            " VALUES (%s, 0, now(), '', 0, 'invalid', '', 1)",
            [dead.event_id],
        )
    other.close()


def test_an_integrity_error_of_another_kind_is_not_repeated_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise IntegrityError

    monkeypatch.setattr(records, "_save", refuse)
    with pytest.raises(IntegrityError):
        record(event())
