"""A Valkey with a replica under Sentinels: the primary is followed, and a 202 may wait for the replica."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from notifications.events import Event
from notifications.stream import keys
from notifications.stream.client import Shards, connect
from notifications.stream.clock import ServerClock
from notifications.stream.cluster import AWAY
from notifications.stream.once import Once, Replayed
from notifications.stream.replicas import NotReplicated
from notifications.stream.writer import Writer
from notify_project.local.sentinel import Watched
from tests.stack import wait_until

pytestmark = pytest.mark.one_shard_is_enough

PATIENCE_MS = 400


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A primary, its replica, three Sentinels."""
    watched = Watched(tmp_path_factory.mktemp("watched"))
    watched.start()
    yield watched
    watched.stop()


@pytest.fixture
def writer(servers: Watched) -> Writer:
    """It waits for one replica."""
    shards = Shards(connect(servers.url, timeout_seconds=2), 1)
    return Writer(shards, max_backlog=100, clock=ServerClock(shards.client), patience_ms=PATIENCE_MS, replicas=1)


def entries(servers: Watched) -> int:
    return int(connect(servers.url, timeout_seconds=2).xlen(keys.lane(0, "live")))


def test_what_no_replica_has_is_refused_and_the_same_request_again_has_one_effect(
    servers: Watched, writer: Writer, make_event: Callable[..., Event]
) -> None:
    writer.add([make_event()])
    event, once = make_event(), Once(caller="key:1", digest="e" * 64, fingerprint="f" * 32, seconds=60)
    replica = next(node for node in servers.nodes if node is not servers.primary())
    assert replica.process
    os.kill(replica.process.pid, signal.SIGSTOP)
    try:
        before = entries(servers)
        for _ in range(2):
            with pytest.raises(NotReplicated):
                writer.add_once([event], once, b"answer")
    finally:
        os.kill(replica.process.pid, signal.SIGCONT)
    assert writer.add_once([event], once, b"answer") == Replayed(b"answer")
    assert entries(servers) == before + 1


def test_a_fail_over_is_followed(servers: Watched, make_event: Callable[..., Event]) -> None:
    shards = Shards(connect(servers.url, timeout_seconds=2), 1)
    writer = Writer(shards, max_backlog=100, clock=ServerClock(shards.client), patience_ms=1800)
    writer.add([make_event()])
    held = entries(servers)
    first = servers.primary()
    first.kill()

    def is_accepted() -> bool:
        try:
            writer.add([event])
        except AWAY:
            return False
        return True

    event = make_event()
    wait_until(is_accepted)
    assert servers.primary() is not first
    assert entries(servers) == held + 1
