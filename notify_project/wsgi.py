"""HTTP alone, under any WSGI server: `notify_project.wsgi:application`."""

import os
from typing import Any, Final

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify_project.settings")
settings.NOTIFY.require("database_url", "redis_url", "secret_key")
django.setup(set_prefix=False)

from notifications import collector, process, tracing  # noqa: E402
from notify_project import reports, urls  # noqa: E402, F401 - every view, before the first request

# Its views count what they read. Others, a form's, would have all of an endless body in memory.
COUNTED: Final = "/api/"


class ChunkedRequest(WSGIRequest):
    """A request whose chunked body, which states no length, is read where the server says that it ends by itself.

    Django takes such a body for an empty one.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        super().__init__(environ)
        if "CONTENT_LENGTH" not in environ and environ.get("wsgi.input_terminated") and self.path.startswith(COUNTED):
            self._stream = environ["wsgi.input"]


class Handler(WSGIHandler):
    """Django's own, with chunked bodies."""

    request_class = ChunkedRequest


tracing.start("web", process.consumer_name())
application = reports.of_wsgi(Handler())
collector.spare()
