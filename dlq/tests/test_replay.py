"""Replaying: taken once, carried out once, whoever asks and whatever happens in between."""

import json
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.db import connection
from redis.exceptions import ConnectionError as RedisConnectionError

from dlq import deaths, lookup, replay
from dlq.exceptions import NotDead, Unreadable
from dlq.models import DeadLetter, Passage, Replay
from dlq.replay import Criteria
from dlq.tests.letters import (
    FAILED_MS,
    bury,
    event,
    failed_at,
    history,
    in_lane,
    record,
    record_all,
    recorder,
)
from notifications import events, failpoints, intake, store
from notifications.exceptions import BacklogFull, Invalid
from notifications.stream import keys
from notifications.stream.client import Shards

pytestmark = pytest.mark.django_db

Status = DeadLetter.Status


def statuses() -> dict[str, int]:
    return dict(DeadLetter.objects.values_list("recipient", "status"))


def document(recipient: str = "alice", **fields: Any) -> bytes:
    return json.dumps({"recipient": recipient, "type": "mended", "title": "Mended", **fields}).encode()


def test_a_replayed_letter_is_in_the_stream_as_it_was_with_a_new_life(shards: Shards) -> None:
    dead = event(body="b", data=msgspec.Raw(b'{"n":1}'), source="bulk", source_id=str(uuid.uuid4()))
    worn = msgspec.structs.replace(dead, attempts=5, last_error="hot", first_failed_ms=1)
    letter = record(worn)
    order = replay.order_one(letter.pk, "ada")
    assert (order.letters, statuses()) == (1, {"alice": Status.REPLAYING})
    assert replay.begin(order) == 1
    assert in_lane(shards, "live") == [msgspec.structs.replace(dead, life=1)]
    assert statuses() == {"alice": Status.REPLAYED}
    assert history(letter.pk) == ["DIED", "ORDERED", "REPLAYED"]


def test_who_replayed_what_and_when_is_recorded() -> None:
    record_all([event("alice"), event("bob", type="other")])
    order = Replay.objects.get(pk=replay.order(Criteria(type="test.event", since=failed_at()), "ada").pk)
    assert (order.ordered_by, order.letters) == ("ada", 1)
    assert order.criteria == {"type": "test.event", "since": "2027-01-15T08:00:00Z"}
    (ordered,) = Passage.objects.filter(kind=Passage.Kind.ORDERED)
    assert (ordered.by, ordered.at, ordered.letter.recipient) == ("ada", order.ordered_at, "alice")
    assert ordered.letter.replay == order


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        (Criteria(), {"alice", "bob", "carol"}),
        (Criteria(reason="crash"), {"bob"}),
        (Criteria(type="other"), {"carol"}),
        (Criteria(recipient="alice"), {"alice"}),
        (Criteria(since=failed_at(FAILED_MS + 1000)), {"bob", "carol"}),
        (Criteria(until=failed_at(FAILED_MS + 1000)), {"alice", "bob"}),
        (Criteria(since=failed_at(FAILED_MS + 1000), type="test.event"), {"bob"}),
        (Criteria(ids=[]), set()),
        (Criteria(ids=[uuid.uuid4()]), set()),
        (Criteria(reason="invalid", recipient="bob"), set()),
    ],
)
def test_criteria_combine(criteria: Criteria, expected: set[str]) -> None:
    record(event("alice"))
    record(event("bob"), reason="crash", failed_ms=FAILED_MS + 1000)
    record(event("carol", type="other"), failed_ms=FAILED_MS + 2000)
    record(event("dave"), reason="crash")
    replay.discard(Criteria(recipient="dave"), "tests")
    assert {letter.recipient for letter in replay.matching(criteria)} == expected
    assert replay.order(criteria, "tests").letters == len(expected)
    assert {who for who, status in statuses().items() if status == Status.REPLAYING} == expected


def test_a_limit_takes_the_oldest() -> None:
    record_all(
        [event("alice", id=events.with_route(f"019aab5e-000{n}-7000-8000-000000000000", "alice")) for n in "132"]
    )
    order = replay.order(Criteria(), "tests", limit=2)
    assert order.letters == 2
    assert [str(pk)[9:13] for pk in order.taken.order_by("pk").values_list("pk", flat=True)] == ["0001", "0002"]


def test_who_comes_second_gets_nothing(shards: Shards) -> None:
    record_all([event("alice"), event("bob")])
    first, second = (replay.order(Criteria(), by) for by in ("ada", "grace"))
    assert (first.letters, second.letters) == (2, 0)
    assert set(DeadLetter.objects.values_list("replay", flat=True)) == {first.pk}
    for order in (second, first, first):
        replay.begin(order)
    assert len(in_lane(shards, "bulk")) == 2


@pytest.mark.django_db(transaction=True)
def test_two_at_once_replay_each_letter_once(shards: Shards) -> None:
    """Overlapping filters, at the same moment: nobody waits in a circle, and each letter is one's."""
    record_all([event(f"user-{n}", type=f"type.{n % 3}") for n in range(300)])
    orders: list[Replay] = []

    def order(criteria: Criteria) -> None:
        try:
            mine = replay.order(criteria, "tests")
            orders.append(mine)
            while replay.carry_out(50, replay=mine):
                pass
        finally:
            connection.close()

    wanted = [Criteria(), Criteria(type="type.1"), Criteria(reason="invalid"), Criteria(until=failed_at())]
    threads = [threading.Thread(target=order, args=[criteria]) for criteria in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(one.letters for one in orders) == 300
    assert len(orders) == 4
    assert set(statuses().values()) == {Status.REPLAYED}
    assert Passage.objects.count() == 3 * 300
    replayed = in_lane(shards, "bulk") + in_lane(shards, "live")
    assert len({one.id for one in replayed}) == len(replayed) == 300


@pytest.mark.django_db(transaction=True)
def test_what_another_process_is_at_is_not_waited_for(shards: Shards) -> None:
    record_all([event("alice"), event("bob")])
    replay.order(Criteria(), "tests")
    other = connection.copy()
    other.set_autocommit(False)
    with other.cursor() as theirs, connection.cursor() as ours:
        theirs.execute("SELECT FROM dlq_deadletter WHERE recipient = 'alice' FOR UPDATE")
        ours.execute("SET lock_timeout = '2s'")
        try:
            assert replay.carry_out() == 1
        finally:
            ours.execute("RESET lock_timeout")
    other.close()
    assert statuses() == {"alice": Status.REPLAYING, "bob": Status.REPLAYED}


def test_one_goes_ahead_and_many_do_not(shards: Shards) -> None:
    record_all([event(f"user-{n}") for n in range(3)])
    one = DeadLetter.objects.get(recipient="user-0")
    replay.begin(replay.order_one(one.pk, "tests"))
    replay.begin(replay.order(Criteria(), "tests"))
    assert [waiting.recipient for waiting in in_lane(shards, "live")] == ["user-0"]
    assert {waiting.recipient for waiting in in_lane(shards, "bulk")} == {"user-1", "user-2"}


def test_a_letter_that_is_not_dead_is_not_taken() -> None:
    pk = record(event()).pk
    replay.order_one(pk, "tests")
    for take in (replay.order_one, lambda pk, by: replay.order_corrected(pk, document(), by), replay.discard_one):
        with pytest.raises(NotDead, match="replaying"):
            take(pk, "tests")
    assert Replay.objects.count() == 1
    with pytest.raises(DeadLetter.DoesNotExist):
        replay.order_one(uuid.uuid4(), "tests")


def test_discarding_keeps_the_record_and_is_done_once() -> None:
    pk = record(event()).pk
    for _ in range(2):
        replay.discard_one(pk, "ada")
    assert statuses() == {"alice": Status.DISCARDED}
    assert history(pk) == ["DIED", "DISCARDED"]
    assert Passage.objects.get(kind=Passage.Kind.DISCARDED).by == "ada"
    with pytest.raises(NotDead, match="discarded"):
        replay.order_one(pk, "tests")


def test_what_cannot_be_read_is_left_out_of_many_and_refused_alone() -> None:
    record(event())
    unreadable = record(b"nonsense")
    with pytest.raises(Unreadable):
        replay.order_one(unreadable.pk, "tests")
    assert replay.order(Criteria(), "tests").letters == 1
    assert DeadLetter.objects.get(pk=unreadable.pk).status == Status.DEAD
    assert replay.discard(Criteria(), "tests") == 1


def test_a_corrected_event_is_replayed_under_its_id_and_the_old_payload_is_kept(shards: Shards) -> None:
    source_id = str(uuid.uuid4())
    dead = event(title="Broken", source="bulk", source_id=source_id)
    letter = record(dead)
    order = replay.order_corrected(letter.pk, document(data={"n": 2}), "ada")
    assert (order.letters, replay.begin(order)) == (1, 1)
    (mended,) = in_lane(shards, "live")
    assert (mended.id, mended.title, mended.type, bytes(mended.data)) == (dead.id, "Mended", "mended", b'{"n":2}')
    assert (mended.life, mended.source, mended.source_id) == (1, "bulk", source_id)
    assert history(letter.pk) == ["DIED", "EDITED", "ORDERED", "REPLAYED"]
    edited = Passage.objects.get(kind=Passage.Kind.EDITED)
    assert edited.by == "ada"
    assert events.decode(bytes(edited.payload or b"")) == dead
    now = DeadLetter.objects.get()
    assert (now.type, now.status, now.replay) == ("mended", Status.REPLAYED, order)


def test_a_correction_that_breaks_rules_changes_nothing() -> None:
    letter = record(event("alice"))
    for bad, pointer in [(document("bob"), "/notification/recipient"), (document(title=""), "/notification/title")]:
        with pytest.raises(Invalid) as raised:
            replay.order_corrected(letter.pk, bad, "tests", at="/notification")
        assert [error.pointer for error in raised.value.errors] == [pointer]
    assert history(letter.pk) == ["DIED"]
    assert not Replay.objects.exists()
    assert bytes(DeadLetter.objects.get().payload) == bytes(letter.payload)


def test_what_could_not_be_read_is_one_letter_before_and_after_it_was_corrected(shards: Shards) -> None:
    """Its id said no recipient: the event gets one that does, and is known as the same letter when it dies again."""
    letter = record(b"nonsense")
    replay.begin(replay.order_corrected(letter.pk, document("alice"), "tests"))
    (mended,) = in_lane(shards, "live")
    assert events.route_of(mended.id) == events.route("alice")
    assert mended.id[:-4] == str(letter.pk)[:-4]
    record_all([mended], reason="crash")
    again = DeadLetter.objects.get()
    assert (again.pk, again.life, again.reason, again.recipient) == (letter.pk, 1, "crash", "alice")
    assert history(letter.pk) == ["DIED", "EDITED", "ORDERED", "REPLAYED", "DIED"]
    for known_as in (letter.pk, UUID(mended.id)):
        life = lookup.life(known_as)
        assert life is not None
        assert (life["status"], life["recipient"]) == ("dead", "alice")
    shards.client.flushall()
    replay.begin(replay.order_one(letter.pk, "tests"))
    (once_more,) = in_lane(shards, "live")
    assert (once_more.id, once_more.life) == (mended.id, 2)
    store.store([once_more])
    assert (lookup.life(letter.pk) or {})["status"] == "stored"


@pytest.mark.parametrize("error", [RedisConnectionError("gone"), BacklogFull("full", retry_after=5)])
def test_what_redis_does_not_take_now_is_carried_out_later_by_the_worker(
    error: Exception, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = record(event())

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as outage:
        outage.setattr(intake, "readmit", fail)
        order = replay.order_one(letter.pk, "tests")
        assert replay.begin(order) == 0
        assert statuses() == {"alice": Status.REPLAYING}
    recorder(shards).step()
    assert statuses() == {"alice": Status.REPLAYED}
    assert len(in_lane(shards, "live")) == 1


def test_a_full_backlog_does_not_keep_the_worker_from_recording(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(event("alice"))
    replay.order(Criteria(), "tests")
    bury(shards, event("bob"))

    def refuse(*_: object) -> None:
        raise BacklogFull("full", retry_after=5)

    monkeypatch.setattr(intake, "readmit", refuse)
    recorder(shards).step()
    assert statuses() == {"alice": Status.REPLAYING, "bob": Status.DEAD}


class Killed(BaseException):
    """The process ended here: nothing is caught, nothing is finished."""


def test_a_crash_between_the_stream_and_the_commit_adds_no_event_twice(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_all([event(f"user-{n}") for n in range(5)])
    order = replay.order(Criteria(), "tests")
    with monkeypatch.context() as crash:
        crash.setattr(failpoints, "reach", lambda _: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            replay.carry_out()
    assert set(statuses().values()) == {Status.REPLAYING}
    assert len(in_lane(shards, "bulk")) == 5
    assert replay.carry_out(replay=order) == 5
    assert len(in_lane(shards, "bulk")) == 5
    assert Passage.objects.filter(kind=Passage.Kind.REPLAYED).count() == 5


def test_an_order_is_carried_out_in_chunks_to_its_end(shards: Shards) -> None:
    record_all([event(f"user-{n}") for n in range(12)])
    replay.order(Criteria(), "tests")
    assert [replay.carry_out(5) for _ in range(4)] == [5, 5, 2, 0]
    assert len(in_lane(shards, "bulk")) == 12


def test_a_letter_that_an_older_release_cannot_read_is_put_back(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_all([event("alice"), event("bob")])
    order = replay.order(Criteria(), "tests")
    original: Callable[[bytes], Any] = deaths.read
    monkeypatch.setattr(deaths, "read", lambda payload: None if b"bob" in payload else original(payload))
    assert [replay.carry_out(replay=order), replay.carry_out(replay=order)] == [2, 0]
    assert statuses() == {"alice": Status.REPLAYED, "bob": Status.DEAD}
    assert not DeadLetter.objects.get(recipient="bob").readable


def test_a_hundred_thousand_letters_are_ordered_by_statements_not_letter_by_letter(
    django_assert_max_num_queries: Any,
) -> None:
    record_all([event(f"user-{n}") for n in range(50)])
    with django_assert_max_num_queries(5):
        assert replay.order(Criteria(), "tests").letters == 50
    with django_assert_max_num_queries(6):
        assert replay.carry_out() == 50


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda _: None, "dead"),
        (lambda pk: replay.order_one(pk, "t"), "queued"),
        (lambda pk: replay.begin(replay.order_one(pk, "t")), "queued"),
        (lambda pk: replay.discard_one(pk, "t"), "dead"),
    ],
    ids=["dead", "replaying", "replayed", "discarded"],
)
def test_the_life_of_an_event_goes_on_in_its_letter(act: Callable[[UUID], Any], expected: str) -> None:
    dead = event(data=msgspec.Raw(b'{"n":1}'))
    letter = record(dead, error="too hot", attempts=6)
    act(letter.pk)
    life = lookup.life(letter.pk)
    assert life is not None
    assert (life["id"], life["status"], life["attempts"], life["last_error"]) == (dead.id, expected, 6, "too hot")
    assert (life["title"], life["stored_at"], life["next_attempt_at"]) == ("A title", None, None)
    assert lookup.life(uuid.uuid4()) is None


def test_the_state_dead_in_the_stream_makes_way_for_a_replay(shards: Shards) -> None:
    """Recorded and ordered, while its recorder has not settled yet: its settling takes nothing of the new life."""
    dead = event()
    bury(shards, dead)
    duty = recorder(shards)
    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(duty._reader, "settle", lambda _: (_ for _ in ()).throw(RedisConnectionError))
        with pytest.raises(RedisConnectionError):
            duty.step()
    replay.begin(replay.order_one(UUID(dead.id), "tests"))
    duty.step()
    client: Any = shards.client
    assert client.hget(keys.inflight(shards.of_id(dead.id)), dead.id).startswith(b"queued live ")
    assert statuses() == {"alice": Status.REPLAYED}


def test_since_is_the_last_failure_not_the_first() -> None:
    dead = event()
    record(dead)
    replay.begin(replay.order_one(UUID(dead.id), "tests"))
    record(event(id=dead.id, life=1), failed_ms=FAILED_MS + 60_000)
    assert replay.matching(Criteria(since=failed_at() + timedelta(seconds=1))).count() == 1
