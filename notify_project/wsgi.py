"""HTTP alone, under any WSGI server: `notify_project.wsgi:application`."""

import os
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpResponse

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify_project.settings")
settings.NOTIFY.require("database_url", "redis_url", "secret_key")
django.setup(set_prefix=False)

from notifications import collector, process, tracing, wiring  # noqa: E402
from notify_project import reports, urls  # noqa: E402, F401 - every view, before the first request
from notify_project.short_way import ShortWay  # noqa: E402

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


def in_one_piece(application: reports.WsgiApplication) -> reports.WsgiApplication:
    """The application, whose answers are lists where they are there as a whole.

    Of anything else a server asks for one piece after another, and waits each time until this process' threads let it.
    """

    def answering(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response: Any = application(environ, start_response)
        if not isinstance(response, HttpResponse):
            return cast("Iterable[bytes]", response)
        whole = [response.content]
        response.close()
        return whole

    return answering


tracing.start("web", process.consumer_name())
wiring.require_shards()
application = reports.of_wsgi(in_one_piece(ShortWay(Handler())))
collector.spare()
