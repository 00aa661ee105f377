"""Where sockets come in."""

from channels.generic.websocket import AsyncWebsocketConsumer
from django.urls import path, re_path

from notifications.live.consumers import InboxConsumer


class NoSuchSocket(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """Any other address: refused before it opens, where Channels itself would raise and log a traceback."""

    channel_layer_alias = "none"

    async def connect(self) -> None:
        """Refuse the handshake."""
        await self.close()


websocket_urlpatterns = [
    path("ws/inbox/", InboxConsumer.as_asgi()),
    re_path(r"^", NoSuchSocket.as_asgi()),
]
