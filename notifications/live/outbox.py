"""The way from synchronous code to the gateways: their channels, written to as the channel layer would.

Workers and request threads are synchronous, and the layer's own `send` belongs to an event loop. A loop in a thread of
its own took half a millisecond more until a frame was out, and let the settling of its batch, and with that a sync of
Redis' disk, come before it.
"""

from collections.abc import Sequence
from typing import Any

import structlog
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from notifications import metrics, wiring

log = structlog.get_logger("notify.live")

Message = tuple[str, dict[str, Any]]


class Outbox:
    """Sends messages to channels, in the order they were given. What cannot be sent in time is dropped, and said."""

    def __init__(self) -> None:
        self._dropping = False

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages, in one round trip. Raises nothing: a frame is a hint, which `sync` and `resume` make up."""
        if not messages:
            return
        serialize = get_channel_layer().serialize
        pipe = wiring.channels().pipeline(transaction=False)
        for channel, message in messages:
            pipe.publish(channel, serialize(message))
        try:
            pipe.execute()
        except (RedisError, OSError) as error:
            metrics.frames.labels("dropped").inc(sum(len(message.get("frames", ())) for _, message in messages))
            self._say(error)
        else:
            self._say(None)

    def _say(self, error: Exception | None) -> None:
        """One line when frames begin to be dropped, one when they flow again."""
        if (error is not None) == self._dropping:
            return
        self._dropping = error is not None
        if error is not None:
            log.warning("live.dropping", error=repr(error))
        else:
            log.info("live.flowing")
