"""What a run is made of: one Valkey and one PostgreSQL, or a cluster and a PostgreSQL with replicas."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from notify_project.local.children import manage
from notify_project.local.cluster import Cluster, Node
from notify_project.local.web import Address
from tests.chaos.breaking import Targets
from tests.chaos.members import Engine
from tests.chaos.plan import GATEWAYS, Plan
from tests.stack import HOST, Stack, free_port

PRIMARIES: Final = 3
REPLICAS: Final = 1
CLUSTER_SHARDS: Final = 64
# A node that is silent for so long is away, and its replica takes over a second later.
NODE_TIMEOUT_MS: Final = 2000
# So often slots move for once that everything breaks.
MOVES: Final = 6

RETRY_DELAYS: Final = (1, 2, 4)
SETTINGS: Final = {
    "NOTIFY_HEARTBEAT_SECONDS": "2",
    # Short, so that what fails is over when the run is.
    "NOTIFY_RETRY_DELAYS": ",".join(map(str, RETRY_DELAYS)),
}
BACKGROUND: Final = {
    "worker 1": "worker",
    "worker 2": "worker",
    "bulk worker": "bulk_worker",
    "scheduler": "scheduler",
    "dlq worker": "dlq_worker",
}
WEBS: Final = tuple(f"web {number + 1}" for number in range(GATEWAYS))
REPLICA: Final = "postgresql's replica"


@dataclass(frozen=True)
class Layout:
    """`accept_replicas`: NOTIFY_ACCEPT_REPLICAS, on a cluster."""

    shards: int
    cluster: bool = False
    accept_replicas: int = 0

    def plan(self, seed: int, seconds: float) -> Plan:
        """What a run will do."""
        return Plan.make(seed, seconds, self.targets)

    def webs(self) -> Mapping[str, Address]:
        """Each web, and where it listens."""
        return {name: Address(HOST, free_port()) for name in WEBS}

    def background(self) -> Mapping[str, Sequence[str]]:
        """Every other process, and its command."""
        return {name: manage(command) for name, command in BACKGROUND.items()}

    def placed(self, _name: str, command: Sequence[str]) -> Sequence[str]:
        """A process' command, where it is to run."""
        return command

    @property
    def hosts(self) -> Mapping[str, Engine]:
        """Hosts that can be cut off, by name."""
        return {}

    def stack(self, folder: Path) -> Stack:
        """The servers, not started."""
        return Stack(folder, self.make_cluster, shards=self.shards, **self.settings)

    @property
    def targets(self) -> Targets:
        """What there is to break."""
        processes = (*WEBS, *BACKGROUND)
        if not self.cluster:
            return Targets(processes, ("valkey", "postgresql"))
        nodes = tuple(f"node {number + 1}" for number in range(PRIMARIES * (1 + REPLICAS)))
        return Targets(processes, ("channels", "postgresql", REPLICA), nodes, MOVES)

    @property
    def settings(self) -> Mapping[str, str]:
        """What every process is told."""
        return SETTINGS | ({"NOTIFY_ACCEPT_REPLICAS": str(self.accept_replicas)} if self.cluster else {})

    def make_cluster(self, folder: Path) -> Cluster | None:
        """The nodes, not started, in a folder; None for one server."""
        make_node = partial(Node, node_timeout_ms=NODE_TIMEOUT_MS)
        return Cluster(folder / "cluster", PRIMARIES, REPLICAS, make_node=make_node) if self.cluster else None

    def words(self, replicas: int) -> str:
        """As the report has it, with so many replicas of each primary."""
        nodes = f"{PRIMARIES} primaries and {PRIMARIES * replicas} replicas"
        return f"{self.shards} shards on {nodes}, accepted by {self.accept_replicas} replica(s) beside the primary"

    def __str__(self) -> str:
        return self.words(REPLICAS) if self.cluster else f"{self.shards} shard(s)"
