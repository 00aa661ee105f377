"""Channels' Pub/Sub layer, over connections that notice when they are lost.

Where the kernel gives a connection up (the other host is cut off, say), reading from it raises a TimeoutError, now and
ever after. redis-py takes that for its own time-out, says that no message came, and channels_redis asks again at once:
a loop without an end, in which nothing else of the process has its turn. Found with hosts that are cut off
(docs/chaos.md).
"""

from functools import cache
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer
from redis.exceptions import ConnectionError as RedisConnectionError


class PubSubLayer(RedisPubSubChannelLayer):  # type: ignore[misc]  # channels_redis has no types
    """The layer, as settings.CHANNEL_LAYERS names it."""

    def _get_layer(self) -> Any:  # noqa: ANN401 - the same
        layer = super()._get_layer()
        for server in layer._shards:  # noqa: SLF001 - nothing else leads to its pool
            if server._redis is None:  # noqa: SLF001
                server._ensure_redis()  # noqa: SLF001
                _mend(server._redis)  # noqa: SLF001
        return layer


class _Noticing:
    """What is mixed into a connection of redis.asyncio, of whichever kind."""

    async def _read_response_from_parser(self, **how: bool) -> Any:  # noqa: ANN401 - whatever the server says
        try:
            return await super()._read_response_from_parser(**how)  # type: ignore[misc]
        except TimeoutError as error:
            # Not redis-py's own: that is made of a cancellation, further out.
            raise RedisConnectionError(f"the connection is lost: {error}") from error


def _mend(client: Any) -> None:  # noqa: ANN401 - the same
    pool = client.connection_pool
    pool.connection_class = _noticing(pool.connection_class)


@cache
def _noticing(kind: type) -> type:
    return type(f"Noticing{kind.__name__}", (_Noticing, kind), {})
