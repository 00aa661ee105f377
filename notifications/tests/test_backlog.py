"""A worker that is behind: one batch is ended and another one read while a third is stored."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from notifications import behind, inbox, worker
from notifications.events import Event
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.models import Notification
from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.group import Entry
from notifications.stream.reader import Reader
from notifications.stream.writer import Writer
from notifications.worker import Worker

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

Make = Callable[..., Event]
BATCH = 10


@pytest.fixture(autouse=True)
def _small_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "BACKLOG_EVENTS", BATCH)


@pytest.fixture
def backlog(make_writer: Callable[..., Writer], make_event: Make) -> list[Event]:
    """Events of three recipients for five batches and a half, in the lane."""
    events = [make_event(("alice", "bob", "carol")[number % 3]) for number in range(5 * BATCH + BATCH // 2)]
    make_writer().add(events)
    return events


def make_worker(shards: Shards, name: str = "worker-1") -> Worker:
    return Worker(shards, Reader(shards, name, batch_size=BATCH, claim_idle_ms=1), Announcer(shards, Outbox()))


def left(shards: Shards) -> int:
    client: Any = shards.client
    return sum(client.xlen(keys.lane(shard, "live")) for shard in shards.each())


def held(shards: Shards) -> int:
    client: Any = shards.client
    return sum(client.xpending(keys.lane(shard, "live"), keys.GROUP)["pending"] for shard in shards.each())


def stored_total(shards: Shards) -> int:
    client: Any = shards.client
    return sum(int(client.hget(keys.counters(shard), "stored") or 0) for shard in shards.each())


def is_whole(shards: Shards, events: list[Event]) -> None:
    """Every event is one row, counted once, and nothing is left anywhere."""
    assert Notification.objects.count() == len(events)
    assert sum(inbox.state(who).unread for who in ("alice", "bob", "carol")) == len(events)
    assert stored_total(shards) == len(events)
    assert (left(shards), held(shards)) == (0, 0)


@pytest.mark.not_on_a_cluster("of many shards a batch has one event each")
def test_while_a_batch_is_stored_the_one_before_is_ended_and_the_next_one_read(
    shards: Shards, backlog: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, ended_by = Reader.settle, []

    def noting(reader: Reader, outcomes: Any) -> None:
        ended_by.append(threading.current_thread() is threading.main_thread())
        settle(reader, outcomes)

    monkeypatch.setattr(Reader, "settle", noting)
    duty = make_worker(shards)
    duty.step()
    duty.step()
    duty.step()
    # Two are ended. The third is at its end or the fifth is read; the fourth is held in any case.
    assert held(shards) >= 2 * BATCH
    while left(shards):
        duty.step()
    duty.stop()
    assert ended_by == [False] * 5 + [True]
    is_whole(shards, backlog)


@pytest.mark.not_on_a_cluster("of many shards a batch has one event each")
def test_a_batch_that_an_outage_kept_from_its_end_is_handled_anew_with_the_one_that_was_stored_meanwhile(
    shards: Shards, backlog: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, outages = Reader.settle, iter([RedisConnectionError("gone")])
    inbox.state("alice")

    def fail_at_first(reader: Reader, outcomes: Any) -> None:
        for error in outages:
            raise error
        settle(reader, outcomes)

    monkeypatch.setattr(Reader, "settle", fail_at_first)
    duty = make_worker(shards)
    duty.step()
    with pytest.raises(RedisConnectionError):
        duty.step()
    assert Notification.objects.count() == 2 * BATCH
    while left(shards):
        duty.step()
    duty.stop()
    is_whole(shards, backlog)


@pytest.mark.not_on_a_cluster("of many shards a batch has one event each")
def test_what_was_read_ahead_is_given_back_by_a_worker_that_stops(shards: Shards, backlog: list[Event]) -> None:
    first = make_worker(shards)
    first.step()
    first.step()
    first.stop()
    ended = len(backlog) - left(shards)
    assert ended == 2 * BATCH
    other = make_worker(shards, "worker-2")
    while left(shards):
        other.step()
    other.stop()
    is_whole(shards, backlog)


def test_whoever_is_handled_alone_is_alone(
    shards: Shards, backlog: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another worker died over comes between two batches of a backlog, and only when neither is under way."""
    settle, handle_alone = Reader.settle, Reader.handle_alone
    under_way, beside = threading.Lock(), threading.Event()
    handled = []

    def slowly(reader: Reader, outcomes: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            settle(reader, outcomes)
            return
        with under_way:
            # As long as it takes for somebody to come who does not wait.
            beside.wait(0.5)
            settle(reader, outcomes)

    def looking(reader: Reader, entry: Entry) -> None:
        handled.append(entry.entry_id)
        if under_way.locked():
            beside.set()
        handle_alone(reader, entry)

    monkeypatch.setattr(Reader, "settle", slowly)
    monkeypatch.setattr(Reader, "handle_alone", looking)
    monkeypatch.setattr(worker, "CLAIM_SECONDS", 0)
    duty = make_worker(shards)
    duty.step()
    dead = Reader(shards, "dead", batch_size=BATCH, claim_idle_ms=1)
    taken = dead.read(block_ms=None)
    while left(shards):
        duty.step()
    duty.stop()
    assert sorted(handled) == sorted(entry.entry_id for entry in taken)
    assert not beside.is_set(), "another batch was under way"
    is_whole(shards, backlog)
