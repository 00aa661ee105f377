"""One look at all that waits in Redis, whatever the number of shards."""

from collections.abc import Callable
from typing import Any

import pytest

from notifications import intake
from notifications.events import Event
from notifications.stream import gauges, keys
from notifications.stream.client import Shards
from notifications.stream.gauges import Queue, Timed, Totals
from notifications.stream.reader import Again, Dead, Done, Reader
from notifications.stream.writer import Writer

Make = Callable[..., Event]


def server_ms(shards: Shards) -> int:
    client: Any = shards.client
    seconds, microseconds = client.time()
    return int(seconds * 1000 + microseconds // 1000)


def make_reader(shards: Shards) -> Reader:
    reader = Reader(shards, "worker-1", batch_size=1000, claim_idle_ms=10_000)
    reader.create_groups()
    return reader


def read_all(reader: Reader, shards: Shards) -> list[Any]:
    """Everything that waits in `live`."""
    return [entry for _ in shards.each() for entry in reader.read(block_ms=None)]


def test_an_empty_redis_has_nothing_of_anything(shards: Shards) -> None:
    found = gauges.read(shards)
    assert found.live == found.bulk == found.dead_letters == Queue(0, 0, None)
    assert found.delayed == found.scheduled == Timed(0, None)
    assert found.totals == Totals(0, 0, 0, 0, 0)
    assert found.at_ms == pytest.approx(server_ms(shards), abs=1000)


def test_what_waits_is_counted_over_all_shards_with_the_oldest_of_all(
    shards: Shards, make_writer: Callable[..., Writer], make_event: Make, two_shards_apart: tuple[str, str]
) -> None:
    before = server_ms(shards)
    first, second = two_shards_apart
    make_writer().add([make_event(first)])
    while (after := server_ms(shards)) == before:
        pass
    make_writer().add([make_event(second), make_event(first)])
    make_writer(lane="bulk").add([make_event(second)])
    found = gauges.read(shards)
    assert (found.live.entries, found.live.in_hand, found.live.waiting) == (3, 0, 3)
    assert (found.bulk.entries, found.totals.accepted) == (1, 4)
    assert found.live.oldest_ms is not None
    assert before <= found.live.oldest_ms <= after
    assert found.bulk.oldest_ms is not None
    assert found.bulk.oldest_ms >= after
    assert found.fullest == (4 if shards.count == 1 else 2)


def test_what_a_worker_has_in_hand_waits_no_more(
    shards: Shards, make_writer: Callable[..., Writer], make_event: Make, two_shards_apart: tuple[str, str]
) -> None:
    reader = make_reader(shards)
    make_writer().add([make_event(recipient) for recipient in two_shards_apart])
    read_all(reader, shards)
    make_writer().add([make_event()])
    found = gauges.read(shards)
    assert (found.live.entries, found.live.in_hand, found.live.waiting) == (3, 2, 1)


def test_retries_and_dead_letters_and_their_totals_are_seen(
    shards: Shards, make_writer: Callable[..., Writer], make_event: Make, two_shards_apart: tuple[str, str]
) -> None:
    reader = make_reader(shards)
    make_writer().add([make_event(recipient) for recipient in (*two_shards_apart, "carol")])
    fails, dies, good = read_all(reader, shards)
    reader.settle(
        [
            Again(fails, "0-0", b"{}", 60_000),
            Dead(dies, "", b"{}", "invalid", "no", 1, 0),
            Done(good, "0-1"),
        ]
    )
    found = gauges.read(shards)
    assert found.live == Queue(0, 0, None)
    assert found.totals == Totals(accepted=3, stored=1, retried=1, dead=1, fired=0)
    assert found.delayed.waiting == 1
    assert found.delayed.first_ms == pytest.approx(found.at_ms + 60_000, abs=5_000)
    assert found.dead_letters.entries == found.dead_letters.waiting == 1
    assert found.dead_letters.oldest_ms == pytest.approx(found.at_ms, abs=5_000)


def test_the_first_that_is_due_is_the_first_of_all_shards(shards: Shards) -> None:
    for shard in shards.each():
        shards.client.zadd(keys.scheduled(shard), {"a": 5_000 - shard, "b": 9_000})
    found = gauges.read(shards)
    assert found.scheduled == Timed(2 * shards.count, 5_000 - (shards.count - 1))


def test_an_error_that_is_not_a_missing_stream_is_raised(shards: Shards) -> None:
    shards.client.set(keys.lane(shards.count - 1, "live"), "not a stream")
    with pytest.raises(Exception, match="WRONGTYPE"):
        gauges.read(shards)


def test_the_door_counts_what_it_let_in(shards: Shards) -> None:
    intake.accept_one(b'{"recipient": "alice", "type": "t", "title": "t"}')
    assert gauges.read(shards).totals.accepted == 1
