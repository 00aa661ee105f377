"""The connection to Redis, and the shards it is divided into."""

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError
from redis.retry import Retry

from notifications.stream import keys

T = TypeVar("T", bound=Hashable)

CONNECT_TIMEOUT_SECONDS = 2.0
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
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_read_size=read_bytes,
        socket_connect_timeout=min(timeout_seconds, CONNECT_TIMEOUT_SECONDS),
        max_connections=max_connections,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError, ReadOnlyError)),
        health_check_interval=0,
    )


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
            pool = self._pooled.connection_pool
            self._client = redis.Redis(connection_pool=pool, single_connection_client=True)
        return self._client


@dataclass(frozen=True)
class Shards:
    """Redis as the pipeline sees it: one client, and the number of shards that keys are spread over."""

    client: redis.Redis
    count: int

    @cached_property
    def own(self) -> Own:
        """The same Redis over a connection of each thread's own."""
        return Own(self.client)

    def of(self, recipient: str) -> int:
        """The shard of a recipient."""
        return keys.shard_of(recipient, self.count)

    def of_id(self, event_id: str) -> int:
        """The shard of an event's id."""
        return keys.shard_of_id(event_id, self.count)

    def each(self) -> range:
        """Every shard."""
        return range(self.count)

    def group(self, items: Iterable[T], recipient_of: Callable[[T], str]) -> dict[int, list[T]]:
        """The items by the shard of their recipient, in their order."""
        if self.count == 1:
            return {0: members} if (members := list(items)) else {}
        groups: dict[int, list[T]] = defaultdict(list)
        for item in items:
            groups[self.of(recipient_of(item))].append(item)
        return groups
