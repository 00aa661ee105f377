"""What can happen to the servers of a test: one of them, or all that Redis is made of."""

import shutil
from contextlib import suppress

import psutil

from notify_project.local.cluster import Cluster
from notify_project.local.processes import Account
from notify_project.local.server import Server
from notify_project.local.valkey import Valkey


class ServerHandle:
    """A server of the stack, with all that can happen to it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.url = server.url

    @property
    def pid(self) -> int:
        process = self._server.process
        assert process is not None, "never started"
        return process.pid

    @property
    def account(self) -> Account | None:
        """The system user that it runs as; None for our own."""
        return self._server.account

    @property
    def returncode(self) -> int | None:
        """How it ended (negative: the signal), or None while it runs."""
        return self._server.process.poll() if self._server.process else None

    def start(self) -> None:
        """Start it, on the data it had; returns when it serves."""
        self._server.start()

    def spawn(self) -> None:
        """Start it, and leave the waiting to those who need it."""
        self._server.spawn()

    def terminate(self) -> None:
        """Ask it to stop, as an operator would, and do not wait."""
        if self._server.process is not None:
            self._server.process.send_signal(self._server.stop_signal)

    def stop(self) -> None:
        """Stop it cleanly, as an operator would."""
        self.thaw()
        self._server.stop()

    def kill(self) -> None:
        """SIGKILL to the server's main process, as the kernel does when memory is short."""
        family = self._family()
        self._server.kill()
        # PostgreSQL's back ends go when they see that they are alone, for which they must not stand still.
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def freeze(self) -> None:
        """Let it stand still: connections stay open, nothing is answered. Thaw it, or stop it."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let it go on."""
        for process in reversed(self._family()):
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def remove(self) -> None:
        """Remove its data; the logs stay, beside them."""
        for folder in (self._server.data, self._server.socket.parent):
            shutil.rmtree(folder, ignore_errors=True)

    def _family(self) -> list[psutil.Process]:
        """The server and, for PostgreSQL, its back ends; the parent first, so that it starts no more."""
        try:
            main = psutil.Process(self.pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class ClusterHandle:
    """All nodes of a cluster, and the one server beside them that frames go through: together they are Redis.

    What happens to it happens to all of them; `nodes` are for what happens to one.
    """

    def __init__(self, cluster: Cluster, channels: Valkey) -> None:
        self._cluster = cluster
        self._channels = ServerHandle(channels)
        self.url = cluster.url
        self.channel_url = channels.url
        self.nodes = tuple(ServerHandle(node) for node in cluster.nodes)

    def start(self) -> None:
        """Start all, on the data they had; returns when every slot is served."""
        self._channels.start()
        self._cluster.start()

    def stop(self) -> None:
        """Stop all cleanly, as an operator would."""
        self.thaw()
        self._cluster.stop()
        self._channels.stop()

    def kill(self) -> None:
        """SIGKILL to all."""
        for server in self._all:
            server.kill()

    def freeze(self) -> None:
        """Let all stand still."""
        for server in self._all:
            server.freeze()

    def thaw(self) -> None:
        """Let all go on."""
        for server in self._all:
            server.thaw()

    def remove(self) -> None:
        """Remove the data of all; the logs stay, beside them."""
        for server in self._all:
            server.remove()

    def by_name(self) -> dict[str, ServerHandle]:
        """Each of them: `node 1` and so on, and `channels`."""
        return {f"node {number + 1}": node for number, node in enumerate(self.nodes)} | {"channels": self._channels}

    @property
    def _all(self) -> tuple[ServerHandle, ...]:
        return (*self.nodes, self._channels)
