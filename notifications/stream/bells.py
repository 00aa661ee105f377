"""Waiting for many streams of a cluster at a time: XREADGROUP blocks on the streams of one slot only.

Whoever adds to a stream where nothing waited rings its bell, a message to the shard channel of the stream's own name
(see lua/parts/bell.lua). A listener keeps one connection to each node, and says which streams rang: only these are
read. A bell may be lost, with its connection or its node: so all streams count as rung now and then.
"""

import threading
import time
import weakref
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any, Final

import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from notifications.stream.cluster import Cluster
from notifications.stream.commands import slot_of
from notifications.stream.nodes import Link, Node

# Every stream is looked at so often, whether it rang or not.
LOOK_SECONDS: Final = 2.0
# A connection that says nothing is asked whether it is still one.
SILENT_SECONDS: Final = 5.0
LOST_SECONDS: Final = 10.0
TICK_SECONDS: Final = 0.5


class Bells:
    """Which of some streams rang. Made where they are read; listens from the first question on."""

    def __init__(self, cluster: Cluster, streams: Collection[bytes]) -> None:
        self._cluster = cluster
        self._slots = {stream: slot_of(stream) for stream in streams}
        self._changed = threading.Condition()
        self._rung = set(streams)
        self._look_at = time.monotonic() + LOOK_SECONDS
        self._ears: dict[Node, _Ear] = {}
        self._version = -1

    def take(self, streams: Iterable[bytes]) -> list[bytes]:
        """Those of the streams that rang since they were taken last. Whoever takes one reads it, or rings it again."""
        self._listen()
        with self._changed:
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + LOOK_SECONDS
                self._rung.update(self._slots)
            if not self._rung:
                return []
            taken = [stream for stream in streams if stream in self._rung]
            self._rung.difference_update(taken)
            return taken

    def ring(self, streams: Iterable[bytes]) -> None:
        """These are to be looked at."""
        with self._changed:
            self._rung.update(streams)
            self._changed.notify_all()

    def wait(self, streams: Collection[bytes], seconds: float) -> None:
        """Return when one of the streams rang, or it is time to look at all, or the seconds are over."""
        until = min(self._look_at, time.monotonic() + seconds)
        with self._changed:
            while self._rung.isdisjoint(streams) and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

    def is_served(self, stream: bytes) -> bool:
        """Whether the node of a stream answers, as far as is known; true where none does."""
        nodes, slot = self._cluster.nodes, self._slots[stream]
        return nodes.answers(slot) or not any(map(nodes.answers, set(self._slots.values())))

    def on(self, node: Node) -> dict[int, list[bytes]]:
        """The streams that a node serves, by slot, as far as is known."""
        found: dict[int, list[bytes]] = {}
        for stream, slot in self._slots.items():
            if self._cluster.nodes.serving(slot) is node:
                found.setdefault(slot, []).append(stream)
        return found

    def _listen(self) -> None:
        """One ear for each node that serves streams of ours; those of other nodes end by themselves."""
        version = self._cluster.nodes.version
        if version == self._version:
            return
        for node in self._cluster.nodes.primaries():
            if self.on(node) and not (node in self._ears and self._ears[node].is_alive()):
                self._ears[node] = _Ear(self, self._cluster, node)
                self._ears[node].start()
        self._version = version


class _Ear(threading.Thread):
    """Listens at one node for as long as that serves streams, and somebody wants to know."""

    def __init__(self, bells: Bells, cluster: Cluster, node: Node) -> None:
        super().__init__(name="notify-bells", daemon=True)
        self._bells = weakref.ref(bells)
        self._nodes = cluster.nodes
        self._node = node
        self._heard: dict[int, list[bytes]] = {}
        self._version = -1

    def run(self) -> None:
        """Listen; where the connection is lost, or the node is away, come again."""
        while self._is_wanted():
            connection = self._node.new_connection()
            try:
                self._listen(connection)
            except (RedisError, OSError):
                time.sleep(TICK_SECONDS)
                with suppress(RedisError):
                    self._nodes.refresh(self._version)
            finally:
                connection.disconnect()

    def _is_wanted(self) -> bool:
        return self._bells() is not None and self._node in self._nodes.primaries_known()

    def _listen(self, connection: Link) -> None:
        self._heard, self._version = {}, -1
        spoke = asked = time.monotonic()
        while self._is_wanted():
            if self._version != self._nodes.version:
                self._subscribe(connection)
            now = time.monotonic()
            if connection.can_read(timeout=TICK_SECONDS):
                self._take(connection.read_response(push_request=True))
                spoke = now
            elif now - spoke > LOST_SECONDS:
                raise RedisConnectionError("the node says nothing")
            elif now - max(spoke, asked) > SILENT_SECONDS:
                connection.send_command("PING")
                asked = now

    def _subscribe(self, connection: Link) -> None:
        """Listen to what this node serves by now."""
        version = self._nodes.version
        bells = self._bells()
        wanted = bells.on(self._node) if bells else {}
        for slot, streams in wanted.items():
            if slot not in self._heard:
                connection.send_command("SSUBSCRIBE", *streams)
        for slot, streams in self._heard.items():
            if slot not in wanted:
                connection.send_command("SUNSUBSCRIBE", *streams)
        self._heard, self._version = wanted, version

    def _take(self, said: Any) -> None:  # noqa: ANN401 - whatever a server says
        if not isinstance(said, list):
            return
        kind, name = said[0], said[1] if len(said) > 1 else b""
        if kind == b"sunsubscribe" and self._heard.pop(slot_of(name), None):
            # The slot is another node's now: the next look at who serves what says whose.
            self._version = -1
        bells = self._bells()
        if bells and kind in {b"smessage", b"ssubscribe", b"sunsubscribe"}:
            # What was added before it listened, or while the slot moved, rang for nobody.
            bells.ring([name])


def for_streams(client: redis.Redis, streams: Collection[bytes]) -> Bells | None:
    """The bells of streams; None where one server has all of them, and a reader blocks on them itself."""
    return Bells(client, streams) if isinstance(client, Cluster) else None
