"""A private Valkey with a replica, and Sentinels that make the replica the primary when the first is gone."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import redis

from notify_project.local.exceptions import StartError
from notify_project.local.folders import claim
from notify_project.local.ports import LOOPBACK, free_ports
from notify_project.local.server import READY_SECONDS, STOP_SECONDS, TICK_SECONDS, Pause
from notify_project.local.valkey import Valkey

SERVICE = "notify"
DOWN_AFTER_MS = 1000
SENTINELS = 3
QUORUM = 2


class Port(Valkey):
    """A Valkey that listens on a port too, of the loopback unless told; `replica_of` is the port of another."""

    label = "Valkey"

    def __init__(self, data: Path, port: int, *, host: str = LOOPBACK, replica_of: int | None = None) -> None:
        super().__init__(data)
        self.host = host
        self.port = port
        self._replica_of = replica_of

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    def settings(self) -> dict[str, str]:
        replica = {} if self._replica_of is None else {"replicaof": f"{LOOPBACK} {self._replica_of}"}
        own = {"bind": self.host, "port": str(self.port), "protected-mode": "no", "repl-diskless-sync-delay": "0"}
        return super().settings() | own | replica

    def prepare(self) -> None:
        """Write the configuration once: Sentinel has it rewritten when the roles change."""
        if not self.configuration.exists():
            super().prepare()


class Sentinel(Port):
    """One of those who watch and vote."""

    label = "Sentinel"

    def __init__(self, data: Path, port: int, *, watched: int, password: str) -> None:
        super().__init__(data, port)
        self._watched = watched
        self._password = password

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{self.host}:{self.port}"

    def settings(self) -> dict[str, str]:
        kept = ("port", "bind", "protected-mode", "dir", "pidfile", "set-proc-title", "daemonize")
        settings = super().settings()
        return {name: settings[name] for name in kept} | {
            "requirepass": self._password,
            "sentinel sentinel-pass": self._password,
            "sentinel monitor": f"{SERVICE} {LOOPBACK} {self._watched} {QUORUM}",
            "sentinel down-after-milliseconds": f"{SERVICE} {DOWN_AFTER_MS}",
            "sentinel failover-timeout": f"{SERVICE} {10 * DOWN_AFTER_MS}",
        }

    def command(self) -> Sequence[str]:
        return (*super().command(), "--sentinel")

    def primary(self) -> int | None:
        """The port of the one that it takes for the primary; None while it does not answer."""
        with suppress(redis.RedisError, OSError), self.client() as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
        return None

    def sees_all(self) -> bool:
        """Whether it knows the replica and all of its own kind, without which it cannot act."""
        with suppress(redis.RedisError, OSError), self.client() as client:
            told = client.execute_command("SENTINEL", "MASTER", SERVICE)
            return int(told["num-other-sentinels"]) == SENTINELS - 1 and int(told["num-slaves"]) == 1
        return False


class Watched:
    """Two Valkeys and three Sentinels, which ask for a password, in folders of `data`."""

    def __init__(self, data: Path) -> None:
        self.data = data.resolve()
        first, second, *watching = free_ports(2 + SENTINELS)
        self._password = token_hex(16)
        self.nodes = (Port(self.data / "node-1", first), Port(self.data / "node-2", second, replica_of=first))
        self.sentinels = tuple(
            Sentinel(self.data / f"sentinel-{number + 1}", port, watched=first, password=self._password)
            for number, port in enumerate(watching)
        )

    @property
    def url(self) -> str:
        """The address, as in REDIS_URL."""
        hosts = ",".join(f"{LOOPBACK}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}?sentinel_password={self._password}"

    def start(self, pause: Pause = time.sleep) -> None:
        """Start all, and return when each Sentinel knows all others; raises StartError."""
        claim(self.data)
        try:
            for server in (*self.nodes, *self.sentinels):
                server.start(pause)
            deadline = time.monotonic() + READY_SECONDS
            while not all(sentinel.sees_all() for sentinel in self.sentinels):
                if time.monotonic() > deadline:
                    raise StartError(f"the Sentinels did not find each other: see {self.sentinels[0].log}")
                pause(TICK_SECONDS)
        except BaseException:
            self.kill()
            raise

    def primary(self) -> Port:
        """The node that the first Sentinel takes for the primary; raises LookupError when it does not say."""
        port = self.sentinels[0].primary()
        for node in self.nodes:
            if node.port == port:
                return node
        raise LookupError("no Sentinel says which node is the primary")

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop all, those who watch first."""
        for server in (*self.sentinels, *self.nodes):
            server.stop(seconds)

    def kill(self) -> None:
        """End all at once."""
        for server in (*self.sentinels, *self.nodes):
            server.kill()
