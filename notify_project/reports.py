"""A web process tells of itself like any other, from the first request on.

Not from its start on: a server that forks may load the application before, in a process that serves nobody.
"""

import atexit
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog

from notifications import process
from notifications.live.hub import Hub
from notifications.reporting import Reporter, Sockets
from notify_project.bodies import Application, Message, Receive, Send

log = structlog.get_logger("notify.web")

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Beginning:
    """Begins to tell once in each process, whoever comes first."""

    def __init__(self) -> None:
        self._beginning = threading.Lock()
        self._pid = 0

    def once(self, sockets: Callable[[], Sockets] | None) -> None:
        """Must cost nothing, as each request calls it, and never raises: it answers whether or not that is told."""
        if self._pid == os.getpid():
            return
        with self._beginning:
            if self._pid == os.getpid():
                return
            # First, as what fails is not to be tried again by each request.
            self._pid = os.getpid()
            try:
                reporter = Reporter("web", process.consumer_name(), sockets=sockets)
                reporter.start()
                atexit.register(reporter.stop)
            except Exception as error:  # noqa: BLE001 - psutil's, or no thread is left
                log.warning("reporting.not_begun", error=repr(error))


_beginning: Final = _Beginning()


def of_asgi(application: Application) -> Application:
    """The application, whose process tells of itself and of its sockets."""

    async def telling(scope: Message, receive: Receive, send: Send) -> None:
        _beginning.once(Hub.held)
        await application(scope, receive, send)

    return telling


def of_wsgi(application: WsgiApplication) -> WsgiApplication:
    """The application, whose process tells of itself."""

    def telling(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        _beginning.once(None)
        return application(environ, start_response)

    return telling
