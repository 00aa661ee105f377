"""The worker's steps, and what remains when it dies between any two of them."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from django.db import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from notifications import events, inbox, intake, reporting, store, wiring, worker
from notifications.access import keys as access_keys
from notifications.events import Event
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.models import Inbox, Notification
from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.keys import GROUP, LANES
from notifications.stream.reader import Done, Reader
from notifications.stream.writer import Writer
from notifications.worker import Worker

pytestmark = pytest.mark.django_db

Make = Callable[..., Event]

IDLE_MS = 10_000


def make_reader(shards: Shards, name: str = "worker-1", idle_ms: int = IDLE_MS) -> Reader:
    return Reader(shards, name, batch_size=1000, claim_idle_ms=idle_ms)


def make_worker(shards: Shards, name: str = "worker-1", idle_ms: int = IDLE_MS) -> Worker:
    return Worker(shards, make_reader(shards, name, idle_ms), Announcer(shards, Outbox()))


@pytest.fixture
def add(make_writer: Callable[..., Writer]) -> Callable[..., None]:
    return lambda *batch, lane="live": make_writer(lane=lane).add(list(batch))


def drain(duty: Worker, shards: Shards) -> None:
    """Step until nothing waits; every step takes a batch, so this ends."""
    while any(waiting(shards).values()):
        duty.step()


def waiting(shards: Shards) -> dict[str, int]:
    """Entries and pending entries of every lane."""
    names = [keys.lane(shard, lane) for shard in shards.each() for lane in LANES]
    pipe = shards.client.pipeline(transaction=False)
    for name in names:
        pipe.xlen(name)
        pipe.xpending(name, GROUP)
    answers = iter(pipe.execute(raise_on_error=False))
    found = {}
    for name in names:
        found[name], pending = next(answers), next(answers)
        # A lane from which nobody has read yet has no group.
        if not isinstance(pending, ResponseError):
            found[f"{name} pending"] = pending["pending"]
    return found


def dead_letters(shards: Shards) -> list[dict[bytes, bytes]]:
    client: Any = shards.client
    return [fields for shard in shards.each() for _, fields in client.xrange(keys.dead_letters(shard))]


def total(shards: Shards, counter: str) -> int:
    client: Any = shards.client
    return sum(int(client.hget(keys.counters(shard), counter) or 0) for shard in shards.each())


def test_what_was_accepted_becomes_rows_and_leaves_nothing_behind(shards: Shards) -> None:
    ids = {
        json.loads(intake.accept_one(json.dumps({"recipient": who, "type": "t", "title": "t"}).encode()).body)["id"]
        for who in ("alice", "bob", "carol", "dave", "alice")
    }
    drain(make_worker(shards), shards)
    assert {str(row.id) for row in Notification.objects.all()} == ids
    assert {box.recipient: box.unread for box in Inbox.objects.all()} == {"alice": 2, "bob": 1, "carol": 1, "dave": 1}
    assert not any(waiting(shards).values())
    assert not any(shards.client.hlen(keys.inflight(shard)) for shard in shards.each())
    assert (total(shards, "accepted"), total(shards, "stored")) == (5, 5)


def test_live_goes_ahead_of_bulk(shards: Shards, make_event: Make, add: Callable[..., None]) -> None:
    add(*(make_event(title="bulk") for _ in range(3)), lane="bulk")
    add(make_event(title="live"))
    duty = make_worker(shards)
    duty.step()
    assert list(Notification.objects.values_list("title", flat=True)) == ["live"]
    drain(duty, shards)
    assert Notification.objects.count() == 4


def test_an_entry_that_is_no_event_is_dead_and_its_neighbours_are_stored(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    client: Any = shards.client
    add(make_event())
    for fields in ({"event": "nonsense"}, {"something": "else"}):
        client.xadd(keys.lane(0, "live"), fields)
    add(make_event())
    drain(make_worker(shards), shards)
    assert Notification.objects.count() == 2
    letters = dead_letters(shards)
    assert [letter[b"event"] for letter in letters] == [b"nonsense", b""]
    assert {letter[b"reason"] for letter in letters} == {b"invalid"}


def test_rows_that_postgresql_refuses_are_dead_and_their_neighbours_are_stored(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    """Rows that passed the door of an older release, say."""
    bad = [make_event(title="x" * 300), make_event(recipient="bob", type="y" * 101)]
    good = [make_event() for _ in range(9)]
    add(*good[:4], bad[0], *good[4:7], bad[1], *good[7:])
    drain(make_worker(shards), shards)
    assert {str(row.id) for row in Notification.objects.all()} == {event.id for event in good}
    assert Inbox.objects.get().unread == 9
    letters = dead_letters(shards)
    assert {events.decode(letter[b"event"]).id for letter in letters} == {event.id for event in bad}
    assert all(b"too long" in letter[b"error"] for letter in letters)
    assert total(shards, "dead") == 2
    client: Any = shards.client
    for event in bad:
        assert client.hget(keys.inflight(shards.of_id(event.id)), event.id).startswith(b"dead dlq ")


def told(monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], Counter[int]]:
    """What the worker tells the reports from now on: the events of each batch, and when those stored began."""
    handled: list[int] = []
    began = Counter[int]()
    monkeypatch.setattr(reporting, "handled", handled.append)
    monkeypatch.setattr(reporting, "began", began.update)
    return handled, began


def test_a_foreign_entry_whose_id_is_none_is_dead_and_ends_no_worker(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    client: Any = shards.client
    add(make_event())
    foreign = make_event(id="nonsense", attempts=1)
    client.xadd(keys.lane(shards.of(foreign.recipient), "live"), {"event": events.encode(foreign)})
    drain(make_worker(shards), shards)
    assert Notification.objects.count() == 1
    (letter,) = dead_letters(shards)
    assert events.decode(letter[b"event"]).id == "nonsense"


def test_rows_that_postgresql_refuses_are_handled_and_took_no_time(
    shards: Shards, make_event: Make, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    handled, began = told(monkeypatch)
    add(make_event(), make_event(title="x" * 300), make_event())
    drain(make_worker(shards), shards)
    assert len(dead_letters(shards)) == 1
    assert sum(handled) == 3
    assert sum(began.values()) == 2


def test_a_batch_that_an_outage_keeps_from_being_settled_is_counted_once(
    shards: Shards, make_event: Make, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    handled, began = told(monkeypatch)
    add(make_event(), make_event())
    duty, settle, outages = make_worker(shards), Reader.settle, iter([RedisConnectionError("gone")] * 3)

    def fail_at_first(reader: Reader, outcomes: Any) -> None:
        for error in outages:
            raise error
        settle(reader, outcomes)

    monkeypatch.setattr(Reader, "settle", fail_at_first)
    for _ in range(3):
        with pytest.raises(RedisConnectionError):
            duty.step()
    assert handled == []
    drain(duty, shards)
    assert (sum(handled), sum(began.values())) == (2, 2)


@pytest.mark.parametrize("name", ["handled", "began"])
def test_a_fault_in_counting_ends_no_worker_and_unsettles_nothing(
    name: str, shards: Shards, make_event: Make, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ValueError("no number")

    monkeypatch.setattr(reporting, name, fail)
    add(make_event(), make_event())
    with structlog.testing.capture_logs() as lines:
        drain(make_worker(shards), shards)
    assert Notification.objects.count() == 2
    assert "worker.not_counted" in [line["event"] for line in lines]


class Killed(BaseException):
    """Stands for SIGKILL: nothing that catches exceptions sees it."""


STEPS: list[tuple[object, str]] = [
    (worker, "check"),
    (worker, "store_batch"),
    (store, "_upsert_inboxes"),
    (store, "_insert"),
    (Announcer, "stored"),
    (Announcer, "reflect"),
    (Reader, "settle"),
    (Reader, "_settle"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_worker_that_dies_at_any_step_has_one_effect_in_the_end(
    owner: Any,
    name: str,
    when: str,
    shards: Shards,
    make_event: Make,
    add: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for recipient in ("alice", "bob"):
        inbox.state(recipient)
    add(*(make_event(who) for who in ("alice", "bob", "alice", "carol")))
    original = getattr(owner, name)

    def die(*args: Any, **kwargs: Any) -> None:
        if when == "after":
            original(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(owner, name, die)
    with pytest.raises(Killed):
        drain(make_worker(shards, "killed"), shards)
    monkeypatch.undo()

    successor = make_worker(shards, "successor", idle_ms=0)
    drain(successor, shards)
    assert sorted(Notification.objects.values_list("recipient", flat=True)) == ["alice", "alice", "bob", "carol"]
    for box in Inbox.objects.all():
        assert box.unread == box.seq == Notification.objects.filter(recipient=box.recipient).count()
        assert inbox.state(box.recipient).unread == box.unread
    assert (total(shards, "accepted"), total(shards, "stored")) == (4, 4)
    assert not dead_letters(shards)


@pytest.mark.parametrize("error", [OperationalError("gone"), RedisConnectionError("gone")])
@pytest.mark.parametrize(("owner", "name"), [(store, "_insert"), (Announcer, "reflect"), (Reader, "settle")])
def test_an_outage_keeps_the_batch_and_counts_no_attempt(
    owner: Any,
    name: str,
    error: Exception,
    shards: Shards,
    make_event: Make,
    add: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add(make_event(), make_event())
    duty = make_worker(shards)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(owner, name, fail)
    for _ in range(5):
        with pytest.raises(type(error)):
            duty.step()
    monkeypatch.undo()
    duty.step()
    assert list(Notification.objects.values_list("attempts", flat=True)) == [1, 1]
    assert not any(waiting(shards).values())
    assert not dead_letters(shards)


def test_a_flushed_redis_is_work_as_usual_from_then_on(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    duty = make_worker(shards)
    add(make_event())
    drain(duty, shards)
    shards.client.flushall()
    add(make_event())
    duty.step()
    drain(duty, shards)
    assert Notification.objects.count() == 2


def test_what_is_held_and_renewed_is_not_claimed_and_what_is_given_back_is_claimed_at_once(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    add(make_event(), make_event())
    holder, other = make_reader(shards, "holder"), make_reader(shards, "other")
    holder.create_groups()
    held = holder.read(block_ms=100)
    assert len(held) == 2
    assert other.claim() == []
    holder.renew()
    assert other.claim() == []
    holder.give_back()
    assert [entry.entry_id for entry in other.claim()] == [entry.entry_id for entry in held]


def test_renewing_adds_nothing_to_the_delivery_count(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    add(make_event("alice"))
    holder = make_reader(shards)
    holder.create_groups()
    holder.read(block_ms=100)
    for _ in range(3):
        holder.renew()
    client: Any = shards.client
    (pending,) = client.xpending_range(keys.lane(shards.of("alice"), "live"), GROUP, "-", "+", 10)
    assert pending["times_delivered"] == 1


@pytest.mark.one_shard_is_enough
def test_a_claim_goes_through_a_long_pending_list_to_its_end(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    add(*(make_event("alice") for _ in range(2500)))
    dead = Reader(shards, "dead", batch_size=1000, claim_idle_ms=IDLE_MS)
    dead.create_groups()
    while dead.read(block_ms=1):
        pass
    drain(make_worker(shards, "heir", idle_ms=0), shards)
    assert Notification.objects.count() == 2500
    assert Inbox.objects.get().unread == 2500


def test_two_workers_that_settle_the_same_entries_count_them_once(
    shards: Shards, make_event: Make, add: Callable[..., None]
) -> None:
    """One that stood still for a while, and the one that claimed from it."""
    add(make_event())
    slow, quick = make_reader(shards, "slow"), make_reader(shards, "quick", idle_ms=0)
    slow.create_groups()
    (entry,) = slow.read(block_ms=100)
    event = events.decode(entry.payload)
    quick.claim()
    for reader in (quick, slow):
        store.store([event])
        reader.settle([Done(entry, event.id)])
    assert total(shards, "stored") == 1
    assert Inbox.objects.get().unread == 1


def test_the_keys_of_everyone_are_mirrored_again_after_redis_lost_them(shards: Shards) -> None:
    access_keys.create("a producer")
    shards.client.flushall()
    make_worker(shards).step()
    assert list(wiring.shards().client.scan_iter("notify:{keys}:key:*"))
