"""Channels as its documentation shows it: a consumer in a group of its recipient's, which sends on what comes there.

An ASGI application for any server, with nothing of Notify in it; it runs in `.venv-bench`. REDIS_URL says where its
channel layer is. It greets as Notify does, so the same clients understand it; whoever comes is believed.
"""

import json
import os
from typing import Any

import django
from django.conf import settings

LAYER = {
    "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "CONFIG": {"hosts": [{"address": os.environ["REDIS_URL"]}], "prefix": "plain."},
}

settings.configure(CHANNEL_LAYERS={"default": LAYER}, USE_TZ=True)
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402 - takes settings

HELLO = json.dumps({"type": "hello", "seq": 0})


class Plain(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """A socket of a recipient, whose name stands where Notify has a token."""

    async def connect(self) -> None:
        """Join the recipient's group, and say hello."""
        self.group = self.scope["subprotocols"][1].removeprefix("bearer.")
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept("notify.v1")
        await self.send(HELLO)

    async def disconnect(self, code: int) -> None:  # noqa: ARG002 - Channels' signature
        """Leave the group."""
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def frame(self, message: dict[str, Any]) -> None:
        """What somebody sent to the group."""
        await self.send(message["text"])


application = Plain.as_asgi()
