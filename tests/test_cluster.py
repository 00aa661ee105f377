"""A Valkey Cluster of three nodes: its client does what that of one server does; a node that is away stops no other.

A cluster of its own, whatever the servers under the other tests are.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from redis.exceptions import NoScriptError, ResponseError

from notifications import events
from notifications.events import Event
from notifications.stream import bells, delayed, gauges, keys
from notifications.stream.agenda import Agenda
from notifications.stream.client import Shards, connect
from notifications.stream.clock import ServerClock
from notifications.stream.cluster import AWAY
from notifications.stream.commands import slot_of
from notifications.stream.fanout import FULL, Fanout
from notifications.stream.group import Entry
from notifications.stream.reader import Done, Reader
from notifications.stream.schedules import Kept, Schedules
from notifications.stream.writer import Writer
from notify_project.local.cluster import Cluster, Node
from tests.stack import wait_until

pytestmark = pytest.mark.one_shard_is_enough

SHARDS = 16
Make = Callable[..., Event]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three primaries; each test begins with all of them, and nothing in them."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), 3)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def shards(nodes: Cluster) -> Iterator[Shards]:
    """A client that waits for a second."""
    client = connect(nodes.url, timeout_seconds=1)
    client.flushall()
    yield Shards(client, SHARDS)
    client.close()


def make_reader(shards: Shards, consumer: str = "reader", batch_size: int = 1000) -> Reader:
    reader = Reader(shards, consumer, batch_size=batch_size, claim_idle_ms=10_000)
    reader.create_groups()
    while reader.read(block_ms=None):
        pass
    return reader


def make_writer(shards: Shards) -> Writer:
    return Writer(shards, max_backlog=10**6, clock=ServerClock(shards.client), patience_ms=900)


def taken(reader: Reader, block_ms: int = 100) -> list[str]:
    """The ids of what is read and settled."""
    return _settled(reader, reader.read(block_ms=block_ms))


def take_until(is_enough: Callable[[set[str]], bool], *ways: Callable[[], list[str]], timeout: float = 30) -> list[str]:
    """What the ways give, in turn, until it is enough."""
    found: list[str] = []
    deadline = time.monotonic() + timeout
    while not is_enough(set(found)):
        assert time.monotonic() < deadline, f"{len(found)} came"
        for way in ways:
            found += way()
    return found


def crowd(make_event: Make, count: int) -> list[Event]:
    return [make_event(f"user-{number}") for number in range(count)]


def shards_of(shards: Shards, nodes: Cluster, node: Node) -> set[int]:
    return {shard for shard in shards.each() if nodes.owner(slot_of(keys.counters(shard))) is node}


def on(shards: Shards, wanted: set[int], batch: list[Event]) -> list[Event]:
    return [event for event in batch if shards.of(event.recipient) in wanted]


def test_commands_of_every_kind_find_their_node(shards: Shards) -> None:
    client: Any = shards.client
    names = [keys.job(shard, "a") for shard in shards.each()]
    pipe = client.pipeline(transaction=False)
    pipe.time()
    for number, name in enumerate(names):
        pipe.hset(name, "number", number)
        pipe.hget(name, "number")
    (seconds, _), *answers = pipe.execute()
    assert abs(seconds - time.time()) < 60
    assert answers[1::2] == [str(number).encode() for number in range(SHARDS)]
    assert {name.decode() for name in client.scan_iter("notify:*", count=2)} == set(names)
    transaction = client.pipeline(transaction=True)
    transaction.hset(names[3], "other", 1)
    transaction.hgetall(names[3])
    assert transaction.execute() == [1, {b"number": b"3", b"other": b"1"}]
    assert shards.own.client.hget(names[5], "number") == b"5"
    assert client.dbsize() == SHARDS


def test_a_script_is_made_known_to_each_node_that_forgot_it(
    shards: Shards, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards.client.script_flush()
    make_writer(shards).add(crowd(make_event, 50))
    with monkeypatch.context() as patch:
        patch.setattr(delayed, "MOVE_AT_ONCE", 1)
        assert delayed.move_due(shards).events == 0
    assert gauges.read(shards).live.entries == 50
    with pytest.raises(NoScriptError):
        shards.client.evalsha("0" * 40, 1, keys.counters(0))


def test_a_reader_that_waits_for_many_shards_is_woken_at_once(
    shards: Shards, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a bell: the look at all of them is far away."""
    monkeypatch.setattr(bells, "LOOK_SECONDS", 3600.0)
    reader, writer = make_reader(shards), make_writer(shards)
    for event in crowd(make_event, 5):
        threading.Timer(0.05, writer.add, ([event],)).start()
        began = time.monotonic()
        while not (ids := taken(reader, block_ms=10_000)):
            assert time.monotonic() - began < 10
        assert ids == [event.id]


def test_a_scheduler_asks_the_shards_that_ring_or_are_due_and_no_others(
    shards: Shards, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "LOOK_SECONDS", 3600.0)
    schedules = Schedules(shards, ServerClock(shards.client), patience_ms=900)
    due, changed = Agenda(shards, keys.scheduled, timed=True), Agenda(shards, keys.changes, timed=False)
    quiet = time.monotonic() + 0.5
    while time.monotonic() < quiet:
        assert not schedules.fire(due).fired
        assert not schedules.changed_shards(changed)
    assert due.begin() == changed.begin() == []
    event = make_event()
    schedules.plan(Kept(event.id, "once", 1, b"{}", events.encode(event), schedules.now_ms() + 300))
    wait_until(lambda: schedules.changed_shards(changed) == [shards.of("alice")])
    wait_until(lambda: schedules.fire(due).fired)
    assert due.begin() == []


def test_what_rang_for_nobody_is_found_by_a_look_at_all(shards: Shards, make_event: Make) -> None:
    reader = make_reader(shards)
    quiet = time.monotonic() + 0.5
    while time.monotonic() < quiet:
        assert taken(reader) == []
    event = make_event()
    shards.client.xadd(keys.lane(shards.of("alice"), "live"), {"event": events.encode(event)})
    assert take_until(bool, lambda: taken(reader)) == [event.id]


def test_more_than_a_batch_is_read_without_another_bell(shards: Shards, make_event: Make) -> None:
    reader = make_reader(shards, batch_size=20)
    batch = crowd(make_event, 100)
    make_writer(shards).add(batch)
    found = take_until(lambda so_far: len(so_far) == 100, lambda: taken(reader))
    assert sorted(found) == sorted(event.id for event in batch)


def test_a_node_that_is_gone_stops_its_own_shards_and_no_others(
    shards: Shards, nodes: Cluster, make_event: Make
) -> None:
    reader, writer = make_reader(shards), make_writer(shards)
    gone = nodes.nodes[0]
    lost = shards_of(shards, nodes, gone)
    held = crowd(make_event, 60)
    writer.add(held)
    while not reader._held:
        reader.read(block_ms=100)
    gone.kill()
    # What it holds of the others is settled; the rest is let go, to be claimed when it is there again.
    with pytest.raises(AWAY):
        reader.settle([Done(entry, events.decode(entry.payload).id) for entry in reader._held])
    kept = reader.within_reach(reader._held)
    assert {shards.of(events.decode(entry.payload).recipient) for entry in kept}.isdisjoint(lost)
    reader.settle([Done(entry, events.decode(entry.payload).id) for entry in kept])

    batch = crowd(make_event, 60)
    for event in batch:
        if shards.of(event.recipient) in lost:
            with pytest.raises(AWAY):
                writer.add([event])
        else:
            writer.add([event])
    others = {event.id for event in batch} - {event.id for event in on(shards, lost, batch)}
    take_until(others.issubset, lambda: taken(reader))
    reader.renew()
    assert delayed.move_due(shards).events == 0
    # Who asks these alone is told nothing of them, and goes on with what comes next.
    assert shards.ask_each(lambda pipe, shard: pipe.xlen(keys.changes(shard)), sorted(lost)) == {}
    assert {shard for shard, crowd in enumerate(Fanout(shards).crowds()) if crowd is FULL} == lost

    gone.start()
    wanted = {event.id for event in on(shards, lost, held)}
    take_until(wanted.issubset, lambda: taken(reader), lambda: _claimed(reader))
    writer.add(on(shards, lost, batch))


def test_a_node_that_does_not_know_who_serves_a_slot_is_not_believed_while_another_knows(
    shards: Shards, nodes: Cluster
) -> None:
    cluster: Any = shards.client
    slot = slot_of(keys.counters(0))
    owner = nodes.owner(slot)
    ignorant = next(node for node in nodes.nodes if node is not owner)
    for _ in range(20):
        # The others tell it again within a second or so.
        with suppress(ResponseError):
            ignorant.ask("CLUSTER", "DELSLOTS", slot)
        cluster.nodes.refresh(cluster.nodes.version)
        assert cluster.nodes.serving(slot) is not None
    wait_until(lambda: ignorant.knows(3))


def test_nobody_waits_for_a_node_that_stands_still_but_the_first(
    shards: Shards, nodes: Cluster, make_event: Make
) -> None:
    writer, frozen = make_writer(shards), nodes.nodes[1]
    batch = crowd(make_event, 40)
    assert frozen.process
    os.kill(frozen.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        answers = [_tried(writer, event) for event in batch]
        assert time.monotonic() - began < 5
    finally:
        os.kill(frozen.process.pid, signal.SIGCONT)
    lost = shards_of(shards, nodes, frozen)
    assert answers == [shards.of(event.recipient) not in lost for event in batch]
    wait_until(lambda: all(_tried(writer, event) for event in batch))


def test_while_no_node_answers_whoever_looks_is_told_each_time_and_finds_the_rest_at_once(
    shards: Shards, nodes: Cluster, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "LOOK_SECONDS", 3600.0)
    writer, schedules = make_writer(shards), Schedules(shards, ServerClock(shards.client), patience_ms=900)
    later, events_now = make_event(), crowd(make_event, 10)
    schedules.plan(Kept(later.id, "once", 1, b"{}", events.encode(later), schedules.now_ms() + 1))
    writer.add(events_now)
    reader = Reader(shards, "reader", batch_size=1000, claim_idle_ms=500)
    reader.create_groups()
    retries, due = (Agenda(shards, name, timed=True) for name in (keys.delayed, keys.scheduled))
    changed = Agenda(shards, keys.changes, timed=False)
    looks: list[Callable[[], object]] = [
        lambda: reader.read(block_ms=1),
        lambda: delayed.move_due(shards, retries),
        lambda: schedules.fire(due),
        lambda: schedules.changed_shards(changed),
    ]
    _signal(nodes, signal.SIGSTOP)
    try:
        for look in looks * 3:
            with pytest.raises(AWAY):
                look()
    finally:
        _signal(nodes, signal.SIGCONT)
    wait_until(lambda: _tried(writer, later))
    delayed.move_due(shards, retries)
    assert schedules.changed_shards(changed) == [shards.of("alice")]
    assert schedules.fire(due).fired == 1
    # What they went on to give to the question that nobody waited for any more is claimed.
    wanted = {event.id for event in [*events_now, later]}
    take_until(wanted.issubset, lambda: taken(reader, block_ms=1), lambda: _claimed(reader))


def test_slots_that_move_under_load_lose_nothing_and_double_nothing(
    shards: Shards, nodes: Cluster, make_event: Make
) -> None:
    reader, writer = make_reader(shards), make_writer(shards)
    accepted: list[str] = []
    found: list[str] = []
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            accepted.extend(event.id for event in crowd(make_event, 32) if _tried(writer, event))

    def take() -> None:
        # What cannot be settled, as its slot is half here and half there, is settled later.
        with suppress(*AWAY):
            found.extend(_settled(reader, [*reader._held] or reader.read(block_ms=1)))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for slot in map(slot_of, map(keys.counters, range(6))):
            here = nodes.nodes.index(nodes.owner(slot))
            nodes.move([slot], nodes.nodes[(here + 1) % 3], between=take)
    finally:
        over.set()
        sender.join()
    take()
    rest = set(accepted) - set(found)
    found += take_until(rest.issubset, lambda: taken(reader), lambda: _claimed(reader))
    assert sorted(found) == sorted(accepted)


def _signal(nodes: Cluster, number: int) -> None:
    for node in nodes.nodes:
        assert node.process
        os.kill(node.process.pid, number)


def _tried(writer: Writer, event: Event) -> bool:
    try:
        writer.add([event])
    except AWAY:
        return False
    return True


def _claimed(reader: Reader) -> list[str]:
    return _settled(reader, reader.claim())


def _settled(reader: Reader, entries: list[Entry]) -> list[str]:
    ids = [events.decode(entry.payload).id for entry in entries]
    reader.settle([Done(entry, event_id) for entry, event_id in zip(entries, ids, strict=True)])
    return ids
