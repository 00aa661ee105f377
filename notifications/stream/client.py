"""The connection to Redis, and the shards it is divided into.

Whether Redis is one server, a cluster, or a primary that Sentinels know of, is known here and below, and nowhere else.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from notifications.stream import addresses, keys
from notifications.stream.addresses import Address
from notifications.stream.cluster import AWAY, Cluster, is_gone
from notifications.stream.nodes import Nodes

T = TypeVar("T", bound=Hashable)

CONNECT_TIMEOUT_SECONDS = 2.0
SENTINEL_TIMEOUT_SECONDS = 1.0
READ_BYTES = 64 * 1024


def connect(
    url: str, *, timeout_seconds: float, max_connections: int = 1000, read_bytes: int = READ_BYTES
) -> redis.Redis:
    """A client that answers or raises within `timeout_seconds`, and never hangs on a half-open connection.

    One retry, over a new connection, and only where the old one was lost (a server that restarted) or leads to a
    replica (a fail-over left it open): what timed out is not asked again, as its caller has waited long enough.
    `timeout_seconds` must be longer than any BLOCK. `read_bytes`: how much of an answer is taken from the socket at a
    time; each connection keeps as much room for it.
    """
    address = addresses.parse(url)
    options: dict[str, Any] = {
        **address.options,
        "socket_timeout": timeout_seconds,
        "socket_read_size": read_bytes,
        "socket_connect_timeout": min(timeout_seconds, CONNECT_TIMEOUT_SECONDS),
        "max_connections": max_connections,
        "health_check_interval": 0,
    }
    if address.kind == "cluster":
        return Cluster(Nodes(address.places, options), options, patience_seconds=timeout_seconds)
    options["retry"] = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError, ReadOnlyError))
    if address.kind == "sentinel":
        return _primary(address, options)
    return redis.Redis.from_url(url, **options)


def _primary(address: Address, options: dict[str, Any]) -> redis.Redis:
    """The service's primary, which the Sentinels are asked for with each new connection."""
    patience = {
        "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
        "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    tls = {name: value for name, value in address.options.items() if name.startswith("ssl")}
    if connection_class := options.pop("connection_class", None):
        tls["ssl"] = options["ssl"] = issubclass(connection_class, redis.SSLConnection)
    sentinels: Any = Sentinel(address.places, sentinel_kwargs={**address.asking, **tls, **patience})  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinels.master_for(address.service, **options)
    return client


class Own(threading.local):
    """A client for each thread, with a connection that it keeps.

    A pool is locked, counted and looked through for each command: what a request waits for most has its own. It comes
    from the client's pool, and goes back there with the thread.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pooled = client
        self._client: redis.Redis | None = None

    @property
    def client(self) -> redis.Redis:
        """This thread's; connects when it is asked for first."""
        if self._client is None:
            self._client = _kept(self._pooled)
        return self._client


def _kept(pooled: redis.Redis) -> redis.Redis:
    if isinstance(pooled, Cluster):
        return pooled.own()
    if isinstance(pooled.connection_pool, SentinelConnectionPool):
        # Only what comes out of the pool asks the Sentinels again; what is kept returns to where its primary was.
        return pooled
    return redis.Redis(connection_pool=pooled.connection_pool, single_connection_client=True)


def place_of(client: redis.Redis, key: str) -> str:
    """What tells the server of a key from others; empty where there is one. Raises RedisError."""
    return str(client.place_of(key)) if isinstance(client, Cluster) else ""


def time_at(client: redis.Redis, key: str) -> tuple[int, int]:
    """The time of the server of a key: Unix seconds, and microseconds. Raises RedisError."""
    told: Any = client.time_at(key) if isinstance(client, Cluster) else client.time()
    seconds, microseconds = told
    return seconds, microseconds


def servers_of(client: redis.Redis) -> list[tuple[str, redis.Redis]]:
    """A client of each server: of a cluster, of each node that serves slots, with its address. Raises RedisError."""
    if not isinstance(client, Cluster):
        return [("", client)]
    return [(str(node), redis.Redis(connection_pool=node.pool)) for node in client.nodes.primaries()]


def run_of(client: redis.Redis) -> str:
    """The run of the server; of a cluster that of every node, and which are away. Raises RedisError."""
    if isinstance(client, Cluster):
        return " ".join(client.runs())
    told: Any = client.info("server")
    return str(told["run_id"])


@dataclass(frozen=True)
class Shards:
    """Redis as the pipeline sees it: one client, and the number of shards that keys are spread over."""

    client: redis.Redis
    count: int

    @cached_property
    def own(self) -> Own:
        """The same Redis over a connection of each thread's own."""
        return Own(self.client)

    @property
    def is_one_server(self) -> bool:
        """Whether one server has every key: it is there or away as a whole, and one script may take any of them."""
        return not isinstance(self.client, Cluster)

    def of(self, recipient: str) -> int:
        """The shard of a recipient."""
        return keys.shard_of(recipient, self.count)

    def of_id(self, event_id: str) -> int:
        """The shard of an event's id."""
        return keys.shard_of_id(event_id, self.count)

    def each(self) -> range:
        """Every shard."""
        return range(self.count)

    def ask_each(self, ask: Callable[[Pipeline, int], object], only: Sequence[int] | None = None) -> dict[int, Any]:
        """Ask one thing of each shard, or of some, at once; the answers by shard, without those whose node is away.

        Raises RedisError where no server answers, or one says that something is wrong.
        """
        asked = self.each() if only is None else only
        pipe = self.client.pipeline(transaction=False)
        for shard in asked:
            ask(pipe, shard)
        answers = pipe.execute(raise_on_error=False)
        answered = zip(asked, answers, strict=True)
        found = {shard: answer for shard, answer in answered if not isinstance(answer, AWAY)}
        for answer in found.values() if found or not is_gone(self.client) else answers:
            if isinstance(answer, Exception):
                raise answer
        return found

    def group(self, items: Iterable[T], recipient_of: Callable[[T], str]) -> dict[int, list[T]]:
        """The items by the shard of their recipient, in their order."""
        if self.count == 1:
            return {0: members} if (members := list(items)) else {}
        groups: dict[int, list[T]] = defaultdict(list)
        for item in items:
            groups[self.of(recipient_of(item))].append(item)
        return groups
