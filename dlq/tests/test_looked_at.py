"""A letter that died again since somebody looked at it is not the one that they meant."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from conftest import Caller
from dlq import replay
from dlq.exceptions import DiedAgain, NotDead
from dlq.models import DeadLetter, Replay
from dlq.replay import Criteria
from dlq.tests.letters import FAILED_MS, event, failed_at, history, in_lane, record
from notifications.stream.client import Shards
from notifications.tests.test_api import problem

pytestmark = pytest.mark.django_db

MENDED = {"recipient": "alice", "type": "mended", "title": "Mended"}
DOCUMENT = json.dumps(MENDED).encode()

Act = Callable[[UUID, int | None], Any]

ACTS: list[Act] = [
    lambda pk, life: replay.order_one(pk, "grace", life=life),
    lambda pk, life: replay.order_corrected(pk, DOCUMENT, "grace", life=life),
    lambda pk, life: replay.discard_one(pk, "grace", life=life),
]
for_each_act = pytest.mark.parametrize("act", ACTS, ids=["replay", "corrected", "discard"])


def dead_twice() -> UUID:
    """A letter that was looked at in its first life, replayed by somebody, and is dead again."""
    first = event()
    pk = record(first).pk
    replay.begin(replay.order_one(pk, "ada", life=0))
    record(event(id=first.id, life=1), failed_ms=FAILED_MS + 1)
    return pk


@for_each_act
def test_a_letter_that_died_again_is_left_to_be_looked_at(act: Act) -> None:
    pk = dead_twice()
    before = history(pk)
    with pytest.raises(DiedAgain, match="died again since you looked"):
        act(pk, 0)
    assert (history(pk), Replay.objects.count()) == (before, 1)
    act(pk, 1)
    assert history(pk)[: len(before) + 1] != before


@for_each_act
def test_who_does_not_say_what_they_looked_at_means_the_letter_as_it_is(act: Act) -> None:
    pk = dead_twice()
    act(pk, None)
    assert DeadLetter.objects.get().status != DeadLetter.Status.DEAD


def test_a_letter_that_is_on_its_way_is_not_said_to_have_died_again() -> None:
    pk = dead_twice()
    replay.order_one(pk, "ada")
    for act in ACTS:
        with pytest.raises(NotDead):
            act(pk, 0)


def test_many_are_bounded_by_their_last_failure() -> None:
    pk = dead_twice()
    looked_at = Criteria(ids=[pk], until=failed_at())
    assert replay.order(looked_at, "grace").letters == replay.discard(looked_at, "grace") == 0
    assert replay.order(Criteria(ids=[pk], until=failed_at(FAILED_MS + 1)), "grace").letters == 1


def test_the_api_takes_the_life_that_was_looked_at(producer: Caller, shards: Shards) -> None:
    address = f"/api/dlq/{dead_twice()}/replay"
    queued = len(in_lane(shards, "live"))
    for body in ({"life": 0}, {"life": 0, "notification": MENDED}):
        detail = problem(producer.post(address, body, content_type="application/json"), 409)["detail"]
        assert detail == "It died again since you looked: look again before you replay it."
    assert len(in_lane(shards, "live")) == queued
    for life in (-1, 2**31, "1", 1.5):
        answer = producer.post(address, {"life": life}, content_type="application/json")
        assert [error["pointer"] for error in problem(answer, 400)["errors"]] == ["/life"]
    assert producer.post(address, {"life": 1}, content_type="application/json").status_code == 202
