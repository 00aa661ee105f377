"""The command line: Daphne's, with our server, our application, and our limits as defaults."""

import contextlib
import resource
from collections.abc import Sequence
from typing import Final

from daphne.cli import CommandLineInterface

# After Daphne, which chooses the event loop, and before the rest, which needs Django's apps to be there.
from notify_project.asgi import application
from notify_project.bodies import Application
from notify_project.gateway import limits
from notify_project.gateway.server import Server

OPEN_FILES: Final = 2**16


class CommandLine(CommandLineInterface):  # type: ignore[misc]  # Daphne has no types
    """Daphne's options."""

    description = "Notify's web server: HTTP and WebSockets."
    server_class = Server

    def __init__(self) -> None:
        super().__init__()
        self.parser.set_defaults(
            verbosity=0,
            server_name="",
            websocket_connect_timeout=limits.TURN_SECONDS,
            application_close_timeout=limits.TURN_SECONDS,
            websocket_max_message_size=limits.MAX_MESSAGE_BYTES,
            websocket_max_frame_size=limits.MAX_MESSAGE_BYTES,
        )

    def load_asgi_app(self, asgi_app_path: str) -> Application:  # noqa: ARG002 - Daphne's signature
        """The one that there is."""
        return application


def run(arguments: Sequence[str]) -> None:
    """Serve until it is stopped."""
    allow_many_connections()
    CommandLine().run([*arguments, "notify_project.asgi:application"])


def allow_many_connections() -> None:
    """Each connection is an open file, of which a process has a thousand or so unless it asks for more."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    # Not every system gives what it says that it would.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, wanted), most))
