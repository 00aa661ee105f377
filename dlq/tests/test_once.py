"""An idempotency key on a replay: one effect and one answer, however often the request is made."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from conftest import Caller
from dlq import once, replay
from dlq.models import DeadLetter, Passage, Replay
from dlq.tests.letters import FAILED_MS, event, history, in_lane, record, record_all
from notifications.stream.client import Shards
from notifications.tests.test_api import problem

pytestmark = pytest.mark.django_db

MENDED = {"recipient": "alice", "type": "mended", "title": "Mended"}
DAY = timedelta(hours=24)


def post(caller: Caller, path: str, body: Any, key: str = "k1") -> Any:
    return caller.post(path, body, content_type="application/json", headers={"Idempotency-Key": key})


def repeated(answer: Any) -> bool:
    assert answer.status_code == 202
    return bool(answer.headers.get("Idempotency-Replayed") == "true")


def die_again(letter: DeadLetter) -> None:
    record(event(id=str(letter.pk), life=letter.life + 1), failed_ms=FAILED_MS + 1000)


@pytest.mark.parametrize("body", [{}, {"notification": MENDED}, {"life": 0}], ids=["bare", "corrected", "life"])
def test_the_same_request_for_one_gets_the_first_answer_and_does_nothing(
    body: Any, producer: Caller, shards: Shards
) -> None:
    letter = record(event())
    address = f"/api/dlq/{letter.pk}/replay"
    first = post(producer, address, body)
    assert (repeated(first), first.json()["status"]) == (False, "replayed")
    # Dead again: the same request is still the first one, and replays nothing.
    die_again(letter)
    again = post(producer, address, body)
    assert (repeated(again), again.content) == (True, first.content)
    assert (Replay.objects.count(), DeadLetter.objects.get().status) == (1, DeadLetter.Status.DEAD)
    assert len(in_lane(shards, "live")) == 1
    assert not repeated(post(producer, address, {}, key="k2"))


def test_the_same_request_for_many_gets_the_first_answer_and_does_nothing(producer: Caller, shards: Shards) -> None:
    record_all([event("alice"), event("bob")])
    first = post(producer, "/api/dlq/replay", {"type": "test.event"})
    record(event("carol"))
    again = post(producer, "/api/dlq/replay", {"type": "test.event"})
    assert (repeated(first), repeated(again)) == (False, True)
    assert first.json() == again.json() == {"id": str(Replay.objects.get().pk), "matched": 2}
    assert len(in_lane(shards, "bulk")) == 2


def test_a_dry_run_neither_uses_a_key_nor_answers_for_it(producer: Caller) -> None:
    record(event())
    for _ in range(2):
        assert post(producer, "/api/dlq/replay", {"all": True, "dry_run": True}).json() == {"matched": 1}
    assert not repeated(post(producer, "/api/dlq/replay", {"all": True}))
    assert post(producer, "/api/dlq/replay", {"all": True, "dry_run": True}).status_code == 200


def test_the_same_key_for_another_request_is_a_conflict(producer: Caller) -> None:
    one, other = record(event("alice")), record(event("bob"))
    post(producer, f"/api/dlq/{one.pk}/replay", {})
    for path, body in [
        (f"/api/dlq/{one.pk}/replay", {"life": 0}),
        (f"/api/dlq/{other.pk}/replay", {}),
        ("/api/dlq/replay", {"all": True}),
    ]:
        problem(post(producer, path, body), 422)
    assert history(other.pk) == ["DIED"]


def test_keys_are_each_callers_own(caller_with: Callable[..., Caller]) -> None:
    record(event("alice"))
    answers = [post(caller_with("manage"), "/api/dlq/replay", {"all": True}) for _ in range(2)]
    assert [repeated(answer) for answer in answers] == [False, False]
    assert [answer.json()["matched"] for answer in answers] == [1, 0]


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize("key", ["", "x" * 256, "é"])
def test_a_key_out_of_bounds_is_refused(producer: Caller, key: str) -> None:
    letter = record(event())
    for path, body in [(f"/api/dlq/{letter.pk}/replay", {}), ("/api/dlq/replay", {"all": True})]:
        assert [error["pointer"] for error in problem(post(producer, path, body, key), 400)["errors"]] == [
            "/Idempotency-Key"
        ]
    assert not Replay.objects.exists()


def test_a_refused_replay_does_not_use_its_key_up(producer: Caller) -> None:
    letter = record(event())
    replay.begin(replay.order_one(letter.pk, "ada"))
    problem(post(producer, f"/api/dlq/{letter.pk}/replay", {}), 409)
    die_again(letter)
    assert not repeated(post(producer, f"/api/dlq/{letter.pk}/replay", {}))


def test_an_answer_that_a_crash_kept_from_being_given_is_given_by_the_next_request(
    producer: Caller, shards: Shards
) -> None:
    letter = record(event())
    with pytest.MonkeyPatch.context() as crash:
        crash.setattr(replay, "begin", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            post(producer, f"/api/dlq/{letter.pk}/replay", {})
    again = post(producer, f"/api/dlq/{letter.pk}/replay", {})
    assert (repeated(again), again.json()["status"]) == (True, "replayed")
    assert len(in_lane(shards, "live")) == 1
    assert post(producer, f"/api/dlq/{letter.pk}/replay", {}).content == again.content


def test_a_key_may_be_used_again_after_its_day(producer: Caller) -> None:
    letter = record(event())
    address = f"/api/dlq/{letter.pk}/replay"
    post(producer, address, {})
    Replay.objects.update(ordered_at=F("ordered_at") - DAY + timedelta(minutes=1))
    assert repeated(post(producer, address, {}))
    Replay.objects.update(ordered_at=F("ordered_at") - timedelta(minutes=1))
    die_again(letter)
    assert not repeated(post(producer, address, {"life": 1}))
    new, old = Replay.objects.order_by("-ordered_at")
    assert [new.once is None, new.answer is None, old.once, old.answer] == [False, False, None, None]


def test_keys_that_are_over_are_forgotten_and_their_orders_stay(producer: Caller) -> None:
    record(event())
    post(producer, "/api/dlq/replay", {"all": True})
    assert once.forget() == 0
    Replay.objects.update(ordered_at=F("ordered_at") - DAY)
    assert (once.forget(), once.forget()) == (1, 0)
    assert Replay.objects.filter(once=None, answer=None).count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("which", ["one", "many"])
def test_of_requests_at_the_same_time_one_replays_and_all_get_its_answer(
    which: str, producer: Caller, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them have looked for an earlier one, and found none, before the first begins."""
    letter = record(event())
    requests = {"one": (f"/api/dlq/{letter.pk}/replay", {}), "many": ("/api/dlq/replay", {"all": True})}
    together, looked = threading.Barrier(4), threading.local()
    look = once.earlier

    def look_together(key: Any) -> Any:
        found = look(key)
        if not getattr(looked, "once", False):
            looked.once = True
            together.wait(30)
        return found

    monkeypatch.setattr(once, "earlier", look_together)
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(post(producer, *requests[which]))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(repeated, answers)) == [False, True, True, True]
    assert len({answer.content for answer in answers}) == 1
    assert (Replay.objects.count(), Passage.objects.filter(kind=Passage.Kind.ORDERED).count()) == (1, 1)
    assert len(in_lane(shards, "live")) == 1


def test_without_a_key_nothing_is_kept(producer: Caller) -> None:
    record(event())
    producer.post("/api/dlq/replay", {"all": True}, content_type="application/json")
    order = Replay.objects.get()
    assert (order.once, order.answer, order.fingerprint) == (None, None, "")
