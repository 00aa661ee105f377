"""Hosts that are network namespaces on one bridge, each of which can be cut off; for root, on Linux."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

# A part of what nobody is given: documentation and tests of benchmarks (RFC 2544).
SUBNET: Final = "198.18.37"


class Network:
    """A bridge, which is this process' own host, and others beside it. All of it goes when the block is left."""

    def __init__(self, hosts: int) -> None:
        name = f"n{os.getpid()}"
        self.own = f"{SUBNET}.1"
        self.hosts = tuple(Host(f"{name}h{number + 1}", name, f"{SUBNET}.{11 + number}") for number in range(hosts))
        self._bridge = name
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            ip("link", "add", self._bridge, "type", "bridge")
            cleanup.callback(ip, "link", "del", self._bridge)
            ip("addr", "add", f"{self.own}/24", "dev", self._bridge)
            ip("link", "set", self._bridge, "up")
            for host in self.hosts:
                host.make()
                cleanup.callback(host.remove)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._cleanup.close()


class Host:
    """One namespace. As an engine (members.py) it is frozen when it is cut off: what runs there runs on, alone."""

    def __init__(self, name: str, bridge: str, address: str) -> None:
        self.address = address
        self._name = name
        self._bridge = bridge

    def make(self) -> None:
        """Make it, with a cable to the bridge."""
        ip("netns", "add", self._name)
        ip("link", "add", self._name, "type", "veth", "peer", "name", "eth0", "netns", self._name)
        ip("link", "set", self._name, "master", self._bridge, "up")
        ip("-n", self._name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self._name, "link", "set", "eth0", "up")
        ip("-n", self._name, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Remove it and its cable, which would go by itself, but later."""
        ip("link", "del", self._name)
        ip("netns", "del", self._name)

    def command(self, words: Sequence[str]) -> tuple[str, ...]:
        """The same command, there."""
        return ("ip", "netns", "exec", self._name, *words)

    @property
    def returncode(self) -> int | None:
        """A host never ends."""
        return None

    def freeze(self) -> None:
        """Pull the cable."""
        ip("link", "set", self._name, "down")

    def thaw(self) -> None:
        """Plug it in again."""
        ip("link", "set", self._name, "up")

    def spawn(self) -> None:
        """Nothing is to be started."""

    def terminate(self) -> None:
        """Nothing is to be stopped."""

    def kill(self) -> None:
        """Nothing is to be ended."""


def ip(*words: str) -> None:
    """Run `ip`; raises CalledProcessError where it refuses."""
    subprocess.run(["ip", *words], check=True, capture_output=True)  # noqa: S607 - root's own PATH
