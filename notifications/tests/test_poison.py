"""Who kills workers is found by the delivery count, and nobody else is blamed."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from notifications import store
from notifications.events import Event
from notifications.models import Inbox, Notification
from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.group import CLAIM_STEP
from notifications.stream.keys import GROUP, LANES
from notifications.stream.reader import Done, Reader
from notifications.stream.writer import Writer
from notifications.tests.test_worker import dead_letters, drain, make_reader, make_worker

pytestmark = pytest.mark.django_db

Make = Callable[..., Event]


class Killed(BaseException):
    """What a SIGKILL is to the code under test: nothing after it runs."""


class Killer:
    """Kills every worker that handles one event; counts its victims."""

    def __init__(self, event_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.victims = 0
        self._real = store.store
        self._event_id = event_id
        monkeypatch.setattr(store, "store", self)

    def __call__(self, batch: list[Event]) -> store.Stored:
        if any(event.id == self._event_id for event in batch):
            self.victims += 1
            raise Killed
        return self._real(batch)


@pytest.fixture
def add(make_writer: Callable[..., Writer]) -> Callable[..., None]:
    return lambda *batch: make_writer().add(list(batch))


def work_through(shards: Shards, most: int = 12) -> int:
    """One worker after the other, each until it is killed or has nothing left; how many there were."""
    for number in range(most):
        worker = make_worker(shards, f"worker-{number}", idle_ms=0)
        try:
            drain(worker, shards)
        except Killed:
            continue
        return number
    raise AssertionError(f"{most} workers died of it")


def test_an_event_that_kills_its_worker_three_times_is_dead(
    shards: Shards, make_event: Make, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    killer = make_event()
    add(killer)
    watch = Killer(killer.id, monkeypatch)
    assert work_through(shards) == watch.victims == 3
    (letter,) = dead_letters(shards)
    assert (letter[b"id"].decode(), letter[b"reason"], letter[b"attempts"]) == (killer.id, b"crash", b"3")
    assert not Notification.objects.exists()


def test_the_neighbours_of_a_killer_are_stored_once_and_none_is_blamed(
    shards: Shards, make_event: Make, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once more, as among its neighbours nobody can tell who it was."""
    neighbours = [make_event("alice") for _ in range(9)]
    killer = make_event("alice")
    add(*neighbours[:4], killer, *neighbours[4:])
    watch = Killer(killer.id, monkeypatch)
    assert work_through(shards) == watch.victims == 4
    (letter,) = dead_letters(shards)
    assert (letter[b"id"].decode(), letter[b"reason"]) == (killer.id, b"crash")
    assert {str(row.id) for row in Notification.objects.all()} == {event.id for event in neighbours}
    assert Inbox.objects.get().unread == 9


def test_a_killer_that_was_given_back_is_found_like_any_other(
    shards: Shards, make_event: Make, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker gives back is as good as new for whoever claims it next, and for nobody after that."""
    neighbours = [make_event("alice") for _ in range(9)]
    killer = make_event("alice")
    add(*neighbours[:4], killer, *neighbours[4:])
    stopped = make_reader(shards, "stopped")
    stopped.create_groups()
    stopped.read(block_ms=100)
    stopped.give_back()
    watch = Killer(killer.id, monkeypatch)
    assert work_through(shards) == watch.victims == 4
    assert [letter[b"reason"] for letter in dead_letters(shards)] == [b"crash"]
    assert {str(row.id) for row in Notification.objects.all()} == {event.id for event in neighbours}


def test_events_whose_workers_are_killed_from_outside_are_never_blamed(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    """Ten workers in a row die with a batch that they claimed, before they come to handle any of it."""
    add(*(make_event("alice") for _ in range(5)))
    first = make_reader(shards, "first")
    first.create_groups()
    first.read(block_ms=100)
    for number in range(10):
        heir = make_reader(shards, f"heir-{number}", idle_ms=0)
        claimed = heir.claim()
        assert [entry.deaths for entry in claimed] == [0] * 5
        heir.handle_alone(claimed[number % 5])
        heir.not_alone(claimed[number % 5])
    drain(make_worker(shards, "last", idle_ms=0), shards)
    assert Notification.objects.count() == 5
    assert not dead_letters(shards)


def test_those_beside_a_killer_do_not_wait_until_it_has_killed_again(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    add(*(make_event("alice") for _ in range(5)))
    first = make_reader(shards, "first", idle_ms=0)
    first.create_groups()
    held = first.read(block_ms=100)
    first.handle_alone(held[1])
    heir = make_worker(shards, "heir", idle_ms=0)
    heir._claim()
    order = [entry.entry_id for entry in heir._suspects]
    assert order == [held[number].entry_id for number in (0, 2, 3, 4, 1)]
    assert [entry.deaths for entry in heir._suspects] == [0, 0, 0, 0, 1]


def test_an_outage_is_not_counted_against_who_was_being_handled_alone(
    shards: Shards, make_event: Make, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(make_event("alice"), make_event("alice"))
    first = make_reader(shards, "first")
    first.create_groups()
    first.read(block_ms=100)

    def down(batch: list[Event]) -> store.Stored:
        raise OperationalError("the server is away")

    monkeypatch.setattr(store, "store", down)
    for number in range(6):
        worker = make_worker(shards, f"worker-{number}", idle_ms=0)
        for _ in range(3):
            with pytest.raises(OperationalError):
                worker.step()
    assert delivery_counts(shards) == [2, 2], "claimed, and nobody died"
    monkeypatch.undo()
    drain(make_worker(shards, "last", idle_ms=0), shards)
    assert Notification.objects.count() == 2
    assert not dead_letters(shards)


def test_what_is_left_of_a_batch_was_not_alone(shards: Shards, make_event: Make, add: Callable[..., None]) -> None:
    """The last of many to be claimed, and the last that somebody who stopped in order gave back."""
    add(*(make_event("alice") for _ in range(CLAIM_STEP + 1)))
    dead = make_reader(shards, "dead")
    dead.create_groups()
    # Of many shards, some of each at a time.
    while len(dead._held) <= CLAIM_STEP:
        dead.read(block_ms=100)
    heir = make_reader(shards, "heir", idle_ms=0)
    claimed = heir.claim()
    assert [entry.deaths for entry in claimed] == [0] * CLAIM_STEP
    heir.settle([Done(entry, "") for entry in claimed])
    (last,) = heir.claim()
    assert last.deaths == 0
    heir.give_back()
    (again,) = make_reader(shards, "other", idle_ms=0).claim()
    assert again.deaths == 0


def test_what_is_given_back_in_an_outage_is_as_good_as_new(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    add(*(make_event("alice") for _ in range(3)))
    for number in range(5):
        reader = make_reader(shards, f"reader-{number}")
        reader.create_groups()
        held = reader.claim() or reader.read(block_ms=100)
        assert [entry.deaths for entry in held] == [None] * 3
        reader.give_back()
        assert delivery_counts(shards) == [0, 0, 0]


def test_what_the_server_gave_into_a_lost_connection_is_found_by_its_own_reader(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    add(*(make_event("alice") for _ in range(3)))
    reader = make_reader(shards)
    reader.create_groups()
    lane = keys.lane(shards.of("alice"), "live")
    shards.client.xreadgroup(GROUP, "worker-1", {lane: ">"})
    found = reader.claim()
    assert [entry.deaths for entry in found] == [None] * 3
    assert reader.claim() == [], "and what it holds is not found again"


def test_an_entry_that_somebody_deleted_leaves_the_pending_list(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    add(make_event("alice"))
    first = make_reader(shards, "first")
    first.create_groups()
    (entry,) = first.read(block_ms=100)
    shards.client.xdel(entry.stream, entry.entry_id)
    assert make_reader(shards, "heir", idle_ms=0).claim() == []
    assert delivery_counts(shards) == []


def test_an_empty_consumer_that_was_silent_for_long_is_forgotten_and_one_with_entries_is_not(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    empty, holding = make_reader(shards, "empty"), make_reader(shards, "holding")
    empty.create_groups()
    add(make_event("alice"))
    assert holding.read(block_ms=100)
    empty.read(block_ms=1)
    assert holding.remove_dead_consumers() == 0, "it was heard of a moment ago"
    at_work = Reader(shards, "at work", batch_size=10, claim_idle_ms=0)
    at_work.read(block_ms=1)
    deadline = 200
    while consumers(shards) != {b"holding", b"at work"}:
        at_work.remove_dead_consumers()
        deadline -= 1
        assert deadline, consumers(shards)


def test_a_worker_forgets_dead_consumers_by_itself(shards: Shards, make_event: Make, add: Callable[..., None]) -> None:
    dead = make_reader(shards, "dead")
    dead.create_groups()
    dead.read(block_ms=1)
    add(make_event())
    drain(make_worker(shards, "alive", idle_ms=0), shards)
    assert b"dead" not in consumers(shards)


def consumers(shards: Shards) -> set[bytes]:
    client: Any = shards.client
    return {
        consumer["name"]
        for shard in shards.each()
        for lane in LANES
        for consumer in client.xinfo_consumers(keys.lane(shard, lane), GROUP)
    }


def delivery_counts(shards: Shards) -> list[int]:
    client: Any = shards.client
    return [
        pending["times_delivered"]
        for shard in shards.each()
        for pending in client.xpending_range(keys.lane(shard, "live"), GROUP, "-", "+", 100)
    ]
