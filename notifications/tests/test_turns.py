"""Whose turn it is where many shards have more than a batch: much of a few at a time, and nobody is forgotten."""

from collections import Counter
from collections.abc import Callable
from itertools import count

import pytest

from notifications import events, wiring
from notifications.events import Event
from notifications.stream.client import Shards
from notifications.stream.clock import ServerClock
from notifications.stream.group import DEEP_AT_ONCE, Entry
from notifications.stream.reader import Done, Reader
from notifications.stream.writer import Writer

Make = Callable[..., Event]

SHARDS = 4 * DEEP_AT_ONCE
BATCH = 5 * SHARDS
QUIET = 0


@pytest.fixture
def sharded() -> Shards:
    """The tests' Redis in many shards, whatever their number is in this run."""
    return Shards(wiring.shards().client, SHARDS)


@pytest.fixture
def reader(sharded: Shards) -> Reader:
    """One consumer of all of them, of batches of five events of each."""
    made = Reader(sharded, "reader", batch_size=BATCH, claim_idle_ms=10_000)
    made.create_groups()
    return made


@pytest.fixture
def add(sharded: Shards, make_event: Make) -> Callable[[int, int], None]:
    """Send so many events to a shard."""
    numbers = count()
    writer = Writer(sharded, max_backlog=10**6, clock=ServerClock(sharded.client), patience_ms=5000)

    def send(shard: int, events_of_it: int) -> None:
        batch: list[Event] = []
        while len(batch) < events_of_it:
            if sharded.of(recipient := f"user-{next(numbers)}") == shard:
                batch.append(make_event(recipient))
        writer.add(batch)

    return send


def read(sharded: Shards, reader: Reader) -> Counter[int]:
    """How many events of each shard are in the next batch, which is settled."""
    entries = reader.read(block_ms=100)
    reader.settle([Done(entry, events.decode(entry.payload).id) for entry in entries])
    return Counter(shard_of(sharded, entry) for entry in entries)


def shard_of(sharded: Shards, entry: Entry) -> int:
    return sharded.of(events.decode(entry.payload).recipient)


def test_a_backlog_in_every_shard_is_read_much_of_a_few_at_a_time_each_in_its_turn(
    sharded: Shards, reader: Reader, add: Callable[[int, int], None]
) -> None:
    for shard in sharded.each():
        add(shard, 40)
    assert read(sharded, reader) == dict.fromkeys(sharded.each(), 5)
    for each in (20, 15):
        turns = [read(sharded, reader) for _ in range(SHARDS // DEEP_AT_ONCE)]
        assert [len(turn) for turn in turns] == [DEEP_AT_ONCE] * len(turns)
        assert sum(turns, Counter()) == dict.fromkeys(sharded.each(), each)
    assert not read(sharded, reader)


def test_what_comes_to_a_quiet_shard_does_not_wait_for_the_backlog_of_others(
    sharded: Shards, reader: Reader, add: Callable[[int, int], None]
) -> None:
    for shard in sharded.each():
        if shard != QUIET:
            add(shard, 400)
    for _ in range(3):
        assert not read(sharded, reader)[QUIET]
    add(QUIET, 1)
    read_before = 0
    while not (found := read(sharded, reader))[QUIET]:
        read_before += found.total()
    # In a cluster its bell has to be heard first.
    assert read_before < (SHARDS - 1) * 200
    assert found.total() <= BATCH
