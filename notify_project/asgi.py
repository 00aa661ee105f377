"""HTTP and WebSockets under any ASGI server: `notify_project.asgi:application`."""

import os

import django
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify_project.settings")
settings.NOTIFY.require("database_url", "redis_url", "secret_key")
# Loads settings and apps, which the routes below import.
django.setup(set_prefix=False)

from notifications import collector, process, tracing, wiring  # noqa: E402
from notifications.live.routing import websocket_urlpatterns  # noqa: E402
from notify_project import bodies, ending, reports, urls  # noqa: E402, F401 - every view, before the first request
from notify_project.dashboard import socket  # noqa: E402

tracing.start("web", process.consumer_name())
ending.in_time()
wiring.require_shards()
# The last of the others refuses every address that is not known.
sockets = URLRouter([*socket.websocket_urlpatterns, *websocket_urlpatterns])
application = reports.of_asgi(bodies.from_disk(ProtocolTypeRouter({"http": bodies.Handler(), "websocket": sockets})))
collector.spare()
