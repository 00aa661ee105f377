"""Where sockets come in."""

from django.urls import path

from notifications.live.consumers import InboxConsumer

websocket_urlpatterns = [path("ws/inbox/", InboxConsumer.as_asgi())]
