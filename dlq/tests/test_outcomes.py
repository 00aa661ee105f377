"""What became of an order's letters, also when a later order took them; and that histories tell it truly."""

import time
from typing import Any
from uuid import UUID

import pytest

from dlq import deaths, outcomes, records, replay
from dlq.models import DeadLetter, Passage, Replay
from dlq.outcomes import Outcome
from dlq.replay import Criteria
from dlq.tests.letters import event, history, in_lane, record, record_all
from notifications import store
from notifications.events import Event
from notifications.stream.client import Shards

pytestmark = pytest.mark.django_db

Kind = Passage.Kind


def orders_of(letter_id: UUID) -> list[tuple[str, Any]]:
    return [
        (Kind(kind).name, order)
        for kind, order in Passage.objects.filter(letter=letter_id).values_list("kind", "replay")
    ]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def replayed(criteria: Criteria) -> Replay:
    order = replay.order(criteria, "tests")
    replay.begin(order)
    return order


def die(dead: Event, life: int) -> None:
    record(event(dead.recipient, id=dead.id, life=life), failed_ms=now_ms())


def test_each_line_of_a_history_names_its_order(shards: Shards) -> None:
    dead = event()
    record(dead)
    first = replayed(Criteria())
    die(dead, 1)
    second = replay.order_one(UUID(dead.id), "tests")
    # Carried out by a process that died before it could say so.
    die(dead, 2)
    replay.discard_one(UUID(dead.id), "tests")
    assert orders_of(UUID(dead.id)) == [
        *(("DIED", None), ("ORDERED", first.pk), ("REPLAYED", first.pk), ("DIED", first.pk)),
        *(("ORDERED", second.pk), ("REPLAYED", second.pk), ("DIED", second.pk), ("DISCARDED", None)),
    ]


def test_an_outcome_is_counted_and_stays_when_later_orders_take_the_letters(shards: Shards) -> None:
    stored, dead, travelling, corrected = (event(who) for who in ("stored", "dead", "travelling", "corrected"))
    record_all([stored, dead, travelling, corrected])
    first = replay.order(Criteria(), "tests")
    assert replay.outcome(first) == Outcome(stored=0, dead=0, on_the_way=4)
    replay.begin(first)
    assert replay.outcome(first) == Outcome(stored=0, dead=0, on_the_way=4)
    store.store([stored])
    die(dead, 1)
    die(corrected, 1)
    assert replay.outcome(first) == Outcome(stored=1, dead=2, on_the_way=1)
    second = replayed(Criteria(recipient="dead"))
    store.store([dead])
    replay.discard(Criteria(recipient="corrected"), "tests")
    assert replay.outcome(first) == Outcome(stored=1, dead=2, on_the_way=1)
    assert replay.outcome(second) == Outcome(stored=1, dead=0, on_the_way=0)


def test_many_outcomes_are_one_query(django_assert_num_queries: Any) -> None:
    record_all([event("alice"), event("bob")])
    orders = [replayed(Criteria(recipient=who)) for who in ("alice", "bob", "nobody")]
    with django_assert_num_queries(1):
        counted = outcomes.of(orders)
    assert [counted[order.pk] for order in orders] == [Outcome(0, 0, 1), Outcome(0, 0, 1), Outcome(0, 0, 0)]


def test_what_was_no_event_is_counted_under_the_id_that_it_got(shards: Shards) -> None:
    letter = record(b"nonsense")
    document = b'{"recipient": "alice", "type": "t", "title": "t"}'
    order = replay.order_corrected(letter.pk, document, "tests")
    replay.begin(order)
    store.store(in_lane(shards, "live"))
    assert replay.outcome(order) == Outcome(stored=1, dead=0, on_the_way=0)


def test_a_letter_that_is_put_back_says_so_and_counts_as_dead(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    letter = record(event())
    order = replay.order(Criteria(), "tests")
    monkeypatch.setattr(deaths, "read", lambda _: None)
    assert replay.carry_out(replay=order) == 1
    assert orders_of(letter.pk) == [("DIED", None), ("ORDERED", order.pk), ("UNREADABLE", order.pk)]
    now = DeadLetter.objects.get()
    assert (now.status, now.readable) == (DeadLetter.Status.DEAD, False)
    assert replay.outcome(order) == Outcome(stored=0, dead=1, on_the_way=0)


def test_a_letter_whose_event_is_stored_after_all_says_so_and_counts_as_stored(shards: Shards) -> None:
    """A worker stood still with its second life in hand, and went on; nobody replayed it then."""
    dead, never_replayed = event("alice"), event("bob")
    record(dead, failed_ms=now_ms())
    order = replayed(Criteria())
    die(dead, 1)
    record(never_replayed, failed_ms=now_ms())
    store.store([dead, never_replayed])
    assert records.close_stored() == 2
    assert orders_of(UUID(dead.id))[-2:] == [("DIED", order.pk), ("STORED", order.pk)]
    assert orders_of(UUID(never_replayed.id)) == [("DIED", None), ("STORED", None)]
    assert replay.outcome(order) == Outcome(stored=1, dead=0, on_the_way=0)
    assert history(dead.id)[-1] == "STORED"


def test_the_limit_of_an_order_is_recorded() -> None:
    record_all([event("alice"), event("bob")])
    replay.order(Criteria(reason="invalid"), "tests", limit=1)
    assert Replay.objects.get().criteria == {"reason": "invalid", "limit": 1}
