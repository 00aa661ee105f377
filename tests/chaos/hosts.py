"""Three hosts: a web, a worker, a scheduler and three nodes of the cluster on each. The other two servers are apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from notify_project.local.children import manage
from notify_project.local.cluster import Cluster, Node
from notify_project.local.folders import write_private
from notify_project.local.postgresql import DATABASE, PORT, SUPERUSER, PostgreSQL
from notify_project.local.sentinel import Port
from notify_project.local.valkey import Valkey
from notify_project.local.web import Address
from tests.chaos import breaking
from tests.chaos.breaking import Targets
from tests.chaos.chance import drawn
from tests.chaos.layout import NODE_TIMEOUT_MS, PRIMARIES, Layout
from tests.chaos.members import Engine
from tests.chaos.network import SUBNET, Host, Network
from tests.chaos.plan import Plan
from tests.stack import Stack

HOSTS: Final = 3
# One on each of the other hosts: when a host is away, every primary has still one that a 202 may wait for.
REPLICAS: Final = 2
WEB_PORT: Final = 8000
CHANNELS_PORT: Final = 6379
EACH: Final = ("worker", "scheduler")
# Where they are one each, they are where their number says.
ALONE: Final = {"bulk worker 1": "bulk_worker", "dlq worker 2": "dlq_worker"}


class Reachable(PostgreSQL):
    """A PostgreSQL that listens on an address of this machine, for all of one network."""

    def __init__(self, data: Path, host: str) -> None:
        super().__init__(data)
        self._host = host
        self._access = self.data.with_name("pg_hba.conf")

    @property
    def url(self) -> str:
        return f"postgresql://{SUPERUSER}@{self._host}:{PORT}/{DATABASE}"

    def prepare(self) -> None:
        super().prepare()
        write_private(self._access, f"local all all trust\nhost all all {SUBNET}.0/24 trust\n")
        self._access.chmod(0o644)

    def command(self) -> Sequence[str]:
        return (*super().command(), "-c", f"listen_addresses={self._host}", "-c", f"hba_file={self._access}")


class Placed(Node):
    """A node on a host."""

    def __init__(self, data: Path, port: int, place: Host) -> None:
        super().__init__(data, port, host=place.address, node_timeout_ms=NODE_TIMEOUT_MS)
        self._place = place

    def command(self) -> Sequence[str]:
        return self._place.command(super().command())


class Apart(Stack):
    """PostgreSQL and the server for frames are on a host of their own, which is never cut off."""

    def __init__(self, folder: Path, layout: "Hosts") -> None:
        self._own = layout.network.own
        super().__init__(folder, layout.make_cluster, shards=layout.shards, **layout.settings)

    def make_postgresql(self, data: Path) -> PostgreSQL:
        return Reachable(data, self._own)

    def make_valkey(self, data: Path) -> Valkey:
        return Port(data, CHANNELS_PORT, host=self._own)


@dataclass(frozen=True, kw_only=True)
class Hosts(Layout):
    """What runs where: `worker 2` on the second host, as all that ends in 2."""

    network: Network

    @property
    def targets(self) -> Targets:
        return Targets((*self.webs(), *self.background()), (), hosts=tuple(self.hosts))

    @property
    def settings(self) -> Mapping[str, str]:
        return {**super().settings, "ALLOWED_HOSTS": "*"}

    @property
    def hosts(self) -> Mapping[str, Engine]:
        return {f"host {number + 1}": host for number, host in enumerate(self.network.hosts)}

    def plan(self, seed: int, seconds: float) -> Plan:
        """Nothing breaks but the network."""
        faults = breaking.cuts(drawn(seed, "cuts"), seconds, tuple(self.hosts))
        return replace(Plan.make(seed, seconds, self.targets), faults=tuple(faults))

    def webs(self) -> Mapping[str, Address]:
        return {f"web {number + 1}": Address(host.address, WEB_PORT) for number, host in enumerate(self.network.hosts)}

    def background(self) -> Mapping[str, Sequence[str]]:
        each = {f"{kind} {number + 1}": kind for kind in EACH for number in range(HOSTS)}
        return {name: manage(kind) for name, kind in {**each, **ALONE}.items()}

    def placed(self, name: str, command: Sequence[str]) -> Sequence[str]:
        return self._host_of(int(name[-1]) - 1).command(command)

    def stack(self, folder: Path) -> Stack:
        return Apart(folder, self)

    def make_cluster(self, folder: Path) -> Cluster:
        """A primary and its replicas are on as many hosts."""

        def place(data: Path, port: int) -> Node:
            number = int(data.name.removeprefix("node-")) - 1
            return Placed(data, port, self._host_of(number + number // PRIMARIES))

        return Cluster(folder / "cluster", PRIMARIES, REPLICAS, make_node=place)

    def _host_of(self, number: int) -> Host:
        return self.network.hosts[number % HOSTS]

    def __str__(self) -> str:
        return f"{self.words(REPLICAS)}; three hosts, cut off in turn"
