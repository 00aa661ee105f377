"""The web's address, from the outside: is it free, where is it, does it answer?"""

import http.client
import socket
from dataclasses import dataclass

from notify_project.local.exceptions import StartError

ANSWER_SECONDS = 2
EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on


@dataclass(frozen=True)
class Address:
    """Where the web listens."""

    host: str
    port: int

    @property
    def reachable_host(self) -> str:
        """The host to connect to, where the given one means every interface."""
        return EVERY_INTERFACE.get(self.host, self.host)

    @property
    def url(self) -> str:
        """The address as a browser takes it."""
        host = self.reachable_host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def allowed_hosts(self) -> str:
        """Django's ALLOWED_HOSTS for it: this machine, and the host that was asked for."""
        given = f"[{self.host}]" if ":" in self.host else self.host
        return ",".join(dict.fromkeys(("localhost", "127.0.0.1", "[::1]", given)))

    def check_free(self) -> None:
        """Raise StartError when nobody could listen here."""
        try:
            self.listener().close()
        except OSError as error:
            reason = f"{error.strerror}; choose another --port or --host"
            raise StartError(f"cannot listen on {self.host} port {self.port}: {reason}") from None

    def listener(self) -> socket.socket:
        """A socket bound to the address, as the web's own will be."""
        family, kind, protocol, _, address = socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            # Connections of an earlier run that fade away are no obstacle; somebody who listens is.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        return bound

    def get(self, path: str, host_header: str) -> tuple[int, str]:
        """Status and body of a GET, straight to the web, whatever proxy the environment names."""
        connection = http.client.HTTPConnection(self.reachable_host, self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", path, headers={"Host": host_header})
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()
