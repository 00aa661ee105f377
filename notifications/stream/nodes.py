"""A cluster's nodes: which of them serves a slot, and which of them do not answer just now.

A node that does not answer is given up at once, so that nobody waits for it with each command: a look from beside, four
times a second, tells when it answers again, or who serves its slots instead.
"""

import random
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import redis
import structlog
from redis.backoff import NoBackoff
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from notifications.stream.addresses import Place

log = structlog.get_logger("notify.redis")

# A connection, which redis-py gives no types.
Link = Any

LOOK_SECONDS: Final = 0.25
LOOK_PATIENCE_SECONDS: Final = 1.0


class NodeAway(RedisConnectionError):
    """A node of the cluster does not answer."""


class NotServed(RedisConnectionError):
    """No node of the cluster serves a slot just now."""


class Node:
    """A primary: its address, and connections to it."""

    def __init__(self, place: Place, options: Mapping[str, Any]) -> None:
        self.place = place
        self.pool = redis.ConnectionPool(host=place.host, port=place.port, **options)

    def new_connection(self) -> Link:
        """A connection beside the pool's, which whoever asks for it closes."""
        return self.pool.connection_class(**self.pool.connection_kwargs)

    def __repr__(self) -> str:
        return f"{self.place.host}:{self.place.port}"


class Nodes:
    """The nodes that serve slots, as the cluster tells them. Safe for any number of threads."""

    def __init__(self, seeds: Sequence[Place], options: Mapping[str, Any]) -> None:
        """`seeds`: where to ask first. `options`: of every connection. Asks nobody yet."""
        self.seeds = seeds
        self._options = {
            **options,
            "retry": Retry(NoBackoff(), 0),
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        self._known: dict[Place, Node] = {}
        self._table: list[Node | None] = []
        self._primaries: Sequence[Node] = ()
        self._away: set[Node] = set()
        self._lock = threading.RLock()
        self._refreshing = threading.Lock()
        self._look: threading.Thread | None = None
        # Rises with each change of who serves what.
        self.version = 0

    def of(self, slot: int) -> Node:
        """The node that serves a slot. Raises NodeAway where it does not answer, NotServed where there is none."""
        if not self._table:
            self.refresh(0)
        node = self._table[slot]
        if node is None:
            self._watch()
            raise NotServed("no node of the cluster serves this slot")
        if node in self._away:
            raise NodeAway(f"{node} does not answer")
        return node

    def serving(self, slot: int) -> Node | None:
        """The node that serves a slot as far as is known, whether it answers or not. Asks nobody."""
        return self._table[slot] if self._table else None

    def answers(self, slot: int) -> bool:
        """Whether a slot has a node, and that was not found to be away. Asks nobody."""
        node = self.serving(slot)
        return node is not None and node not in self._away

    def any_answers(self) -> bool:
        """Whether there is a node that was not found to be away. Asks nobody."""
        return any(node not in self._away for node in self._primaries)

    def answering(self, slot: int) -> Node:
        """The node of a slot, or any other that answers. Raises NodeAway where none does."""
        with suppress(NodeAway, NotServed):
            return self.of(slot)
        for node in self.primaries():
            if node not in self._away:
                return node
        raise NodeAway("no node of the cluster answers")

    def primaries(self) -> Sequence[Node]:
        """Every node that serves slots, whether it answers or not."""
        if not self._table:
            self.refresh(0)
        return self.primaries_known()

    def at(self, place: Place) -> Node:
        """The node of this address."""
        with self._lock:
            if place not in self._known:
                self._known[place] = Node(place, self._options)
            return self._known[place]

    def moved(self, slot: int, place: Place) -> None:
        """A node said that another serves this slot."""
        with self._lock:
            node = self.at(place)
            if self._table[slot] is not node:
                self._table[slot] = node
                self._changed()

    def failed(self, node: Node) -> None:
        """A node did not answer: nobody asks it until it answers a look from beside."""
        with self._lock:
            if node not in self._away:
                log.warning("redis.node_away", node=str(node))
                self._away.add(node)
        self._watch()

    def refresh(self, seen: int) -> None:
        """Ask who serves what, unless that changed since `version` was `seen`. Raises NodeAway where nobody tells."""
        with self._refreshing:
            if not self._table or self.version == seen:
                self._take(self._asked())

    def close(self) -> None:
        """Close the connections that nobody uses."""
        for node in tuple(self._known.values()):
            node.pool.disconnect(inuse_connections=False)

    def _watch(self) -> None:
        with self._lock:
            # One that ended says so itself, under the lock: what is away by then is looked at by another.
            if self._look is None or not self._look.is_alive():
                self._look = threading.Thread(target=self._look_beside, name="notify-cluster", daemon=True)
                self._look.start()

    def _look_beside(self) -> None:
        """Until every slot is served, and every node that serves one answers."""
        while not self._is_whole():
            with suppress(RedisError, OSError):
                self._take(self._asked())
            for node in tuple(self._away):
                if self._answers(node):
                    log.info("redis.node_back", node=str(node))
                    self._away.discard(node)
            time.sleep(LOOK_SECONDS)

    def _is_whole(self) -> bool:
        with self._lock:
            whole = not self._away and None not in self._table
            if whole:
                self._look = None
            return whole

    def _answers(self, node: Node) -> bool:
        with suppress(RedisError, OSError), self._asking(node.place) as client:
            return bool(client.ping())
        return False

    def _asked(self) -> tuple[Place, Any]:
        """Who serves what, as the first says who is in touch with most of the others. Raises NodeAway.

        One that is cut off from them knows only how it was, and one may not have heard yet who serves some slots: it is
        believed where nobody knows better.
        """
        away = {node.place for node in self._away}
        places = list(dict.fromkeys([*self._known, *self.seeds]))
        random.shuffle(places)
        error: Exception | None = None
        doubts: list[tuple[bool, int, tuple[Place, Any]]] = []
        for place in sorted(places, key=away.__contains__):
            try:
                with self._asking(place) as client:
                    told = place, client.execute_command("CLUSTER SLOTS")
                    is_in_touch = client.execute_command("CLUSTER INFO").get("cluster_state") == "ok"
            except (RedisError, OSError) as failure:
                error = failure
                continue
            if is_in_touch and _covered(told) == REDIS_CLUSTER_HASH_SLOTS:
                return told
            doubts.append((is_in_touch, _covered(told), told))
        if not doubts:
            raise NodeAway(f"no node of the cluster answers: {error}")
        return max(doubts, key=lambda doubt: doubt[:2])[2]

    def primaries_known(self) -> Sequence[Node]:
        """The same as they were told last; none before the first question."""
        return self._primaries

    def _changed(self) -> None:
        self._primaries = tuple(dict.fromkeys(node for node in self._table if node))
        self.version += 1

    def _asking(self, place: Place) -> redis.Redis:
        patience = {"socket_timeout": LOOK_PATIENCE_SECONDS, "socket_connect_timeout": LOOK_PATIENCE_SECONDS}
        pool = redis.ConnectionPool(host=place.host, port=place.port, **{**self._options, **patience})
        return redis.Redis.from_pool(pool)

    def _take(self, told: tuple[Place, Any]) -> None:
        asked, ranges = told
        table: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, (host, port, *_), *_ in ranges:
            # A node that knows no address of its own is where it was asked.
            place = Place(_text(host) or asked.host, int(port))
            table[first : last + 1] = [self.at(place)] * (last + 1 - first)
        with self._lock:
            if table != self._table:
                self._table = table
                self._changed()
            self._away.intersection_update(self.primaries_known())


def _covered(told: tuple[Place, Any]) -> int:
    """How many slots somebody serves, as a node told it."""
    return sum(last + 1 - first for first, last, *_ in told[1])


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
