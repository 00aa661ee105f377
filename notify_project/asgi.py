"""HTTP and WebSockets under any ASGI server: `notify_project.asgi:application`."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify_project.settings")
settings.NOTIFY.require("database_url", "redis_url", "secret_key")
# Loads settings and apps, which the routes below import.
http = get_asgi_application()

from notifications.live.routing import websocket_urlpatterns  # noqa: E402
from notify_project import ending  # noqa: E402

ending.in_time()
application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(websocket_urlpatterns)})
