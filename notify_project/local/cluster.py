"""A private Valkey Cluster: primaries that share 16384 slots, each with as many replicas as are asked for.

Its nodes are children of this process, as the single Valkey is, but they are reached by ports on the loopback, without
a password: a cluster tells its clients where its nodes are, and a socket's path is nothing that it can tell.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from notify_project.local.exceptions import StartError
from notify_project.local.folders import claim
from notify_project.local.ports import BUS_OFFSET, LOOPBACK, free_ports
from notify_project.local.server import READY_SECONDS, STOP_SECONDS, TICK_SECONDS, Pause
from notify_project.local.valkey import Valkey

SLOTS = 16384
NODE_TIMEOUT_MS = 5000
MIGRATE_TIMEOUT_MS = 5000
KEYS_AT_A_TIME = 100


class Node(Valkey):
    """One node, in the folder `data`; it can be killed, stopped and started again alone."""

    label = "Valkey's node"

    def __init__(self, data: Path, port: int, *, host: str = LOOPBACK, node_timeout_ms: int = NODE_TIMEOUT_MS) -> None:
        """`host`: where it listens and what it tells others; the bus is at `port` + 10000."""
        super().__init__(data)
        self.host = host
        self.port = port
        self._node_timeout_ms = node_timeout_ms

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    def settings(self) -> dict[str, str]:
        return super().settings() | {
            "bind": self.host,
            "port": str(self.port),
            "protected-mode": "no",
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-port": str(self.port + BUS_OFFSET),
            "cluster-announce-ip": self.host,
            "cluster-node-timeout": str(self._node_timeout_ms),
            # The shards of a node that is away wait for it; all others go on.
            "cluster-require-full-coverage": "no",
            # A replica takes over however long it has not heard of its primary: it is all there is.
            "cluster-replica-validity-factor": "0",
            "repl-diskless-sync-delay": "0",
            "repl-ping-replica-period": "1",
        }

    def ask(self, *words: str | int) -> Any:  # noqa: ANN401 - as many shapes as there are commands
        """The answer to one command."""
        with self.client() as client:
            return client.execute_command(*words)

    def answers(self) -> bool:
        """Whether it serves its slots; a primary waits two seconds after its start, lest another has them by now."""
        return self.told().get("cluster_state") == "ok"

    def told(self) -> dict[str, str]:
        """CLUSTER INFO, or nothing when it does not answer."""
        with suppress(redis.RedisError, OSError):
            answer = self.ask("CLUSTER", "INFO")
            return answer if isinstance(answer, dict) else dict(line.split(":", 1) for line in answer.split())
        return {}

    def knows(self, nodes: int) -> bool:
        """Whether it knows so many nodes, itself among them, and a primary for every slot."""
        told = self.told()
        return told.get("cluster_known_nodes") == str(nodes) and told.get("cluster_slots_ok") == str(SLOTS)

    def is_primary(self) -> bool:
        """Whether it serves slots of its own just now; not while it is away."""
        with suppress(redis.RedisError, OSError):
            return str(self.ask("ROLE")[0]) == "master"
        return False

    def has_replicas(self) -> bool:
        """Whether somebody follows it just now."""
        return bool(self.ask("ROLE")[2])

    def is_in_step(self) -> bool:
        """Whether it is a primary, or a replica that has all its primary had when it came."""
        with suppress(redis.RedisError, OSError):
            role = self.ask("ROLE")
            return bool(role[0] == "master" or role[3] == "connected")
        return False


class Cluster:
    """Nodes in folders of `data`: the primaries first, then the first replica of each, and so on."""

    def __init__(
        self,
        data: Path,
        primaries: int = 3,
        replicas: int = 0,
        *,
        make_node: Callable[[Path, int], Node] = Node,
    ) -> None:
        """`replicas`: of each primary. `make_node`: of a folder and a port."""
        self.data = data.resolve()
        self.primaries = primaries
        ports = free_ports(primaries * (1 + replicas), bus=True)
        self.nodes: Sequence[Node] = tuple(
            make_node(self.data / f"node-{number + 1}", port) for number, port in enumerate(ports)
        )

    @property
    def url(self) -> str:
        """The address, as in REDIS_URL."""
        return "redis+cluster://" + ",".join(f"{node.host}:{node.port}" for node in self.nodes)

    def start(self, pause: Pause = time.sleep) -> None:
        """Start every node, and make a cluster of them the first time; returns when every slot is served."""
        claim(self.data)
        try:
            for node in self.nodes:
                node.spawn()
            self._await("did not answer", lambda node: bool(node.told()), pause)
            if self.nodes[0].told()["cluster_slots_assigned"] == "0":
                self._form(pause)
            self.await_whole(pause)
        except BaseException:
            self.kill()
            raise

    def await_whole(self, pause: Pause = time.sleep) -> None:
        """Return when every node runs, knows all others and has what its primary has."""
        count = len(self.nodes)
        self._await("is not whole", lambda node: node.answers() and node.knows(count) and node.is_in_step(), pause)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask all nodes to stop, and kill what has not after `seconds`."""
        for node in self.nodes:
            if node.process is not None:
                node.process.send_signal(node.stop_signal)
        for node in self.nodes:
            node.stop(seconds)

    def kill(self) -> None:
        """End all nodes at once, as a power cut would."""
        for node in self.nodes:
            node.kill()

    def owner(self, slot: int) -> Node:
        """The primary that has a slot just now; raises LookupError when nobody says so."""
        for node in self.nodes:
            with suppress(redis.RedisError, OSError):
                return self._owner_as_told(node, slot)
        raise LookupError(f"no node knows who has slot {slot}")

    def primaries_as_told(self, node: Node) -> Sequence[Node]:
        """The primaries with slots that one node knows of."""
        return [self._at(address) for address in sorted({address for *_, address in self._slots_as_told(node)})]

    def move(self, slots: Iterable[int], target: Node, *, between: Callable[[], None] = lambda: None) -> None:
        """Move slots and their keys to another primary, while clients go on.

        `between` is called when the keys of a slot are half here and half there. Raises redis.RedisError when a
        node is away; the slot is then left as it was, to be moved again.
        """
        for slot in slots:
            source = self.owner(slot)
            if source is not target:
                self._move(slot, source, target, between)

    def hand_over(self, slot: int, target: Node, pause: Pause = time.sleep) -> None:
        """Move one slot whole, as Valkey 9 does it by itself: at no moment are its keys in two places.

        Raises redis.RedisError where a node refuses, and LookupError when it came to nothing.
        """
        source = self.owner(slot)
        if source is target:
            return
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.ask("CLUSTER", "MYID"))
        while self.owner(slot) is source:
            newest = source.ask("CLUSTER", "GETSLOTMIGRATIONS")[0]
            if newest["state"] in {"failed", "cancelled"}:
                raise LookupError(f"slot {slot} stays where it was: {newest['message']}")
            pause(TICK_SECONDS)

    def is_in_order(self) -> bool:
        """Whether there are as many primaries as in the beginning, each with a replica, and all slots are theirs."""
        owners = self._slots_by_primary()
        covered = sum(map(len, owners.values())) == SLOTS
        return covered and len(owners) == self.primaries and all(node.has_replicas() for node in owners)

    def restore_replicas(self, pause: Pause = time.sleep) -> None:
        """Make replicas again of primaries that are too many. Raises LookupError where that is not to be seen yet.

        A node that was given a slot just when its replica took over stays a primary beside it, and neither has a
        replica. The one with fewer slots hands them over to the other, and follows it.
        """
        while len(owners := self._slots_by_primary()) > self.primaries:
            alone = [node for node in owners if not node.has_replicas()]
            if len(alone) < 2:
                raise LookupError(f"{len(owners)} primaries, and all but {len(alone)} have replicas")
            *_, keeper, surplus = sorted(alone, key=lambda node: len(owners[node]), reverse=True)
            for slot in owners[surplus]:
                self.hand_over(slot, keeper, pause)
            surplus.ask("CLUSTER", "REPLICATE", keeper.ask("CLUSTER", "MYID"))
            self._await("does not follow", Node.is_in_step, pause)

    def _slots_by_primary(self) -> dict[Node, list[int]]:
        answering = [node for node in self.nodes if node.answers()]
        if not answering:
            raise LookupError("no node answers")
        found: dict[Node, list[int]] = {}
        for first, last, address in self._slots_as_told(answering[0]):
            found.setdefault(self._at(address), []).extend(range(first, last + 1))
        return found

    def _move(self, slot: int, source: Node, target: Node, between: Callable[[], None]) -> None:
        target_id = target.ask("CLUSTER", "MYID")
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        with source.client() as client:
            while keys := client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, KEYS_AT_A_TIME):
                for key in keys:
                    client.migrate(target.host, target.port, [key], 0, MIGRATE_TIMEOUT_MS)
                    between()
        # The new owner first: for a moment two say that they have it, and never nobody.
        for node in (target, source, *self.nodes):
            with suppress(redis.RedisError, OSError):
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def _form(self, pause: Pause) -> None:
        """Give out the slots, introduce everybody to everybody, and make replicas of the rest."""
        primaries = self.nodes[: self.primaries]
        for number, node in enumerate(primaries):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first, beyond = (SLOTS * edge // self.primaries for edge in (number, number + 1))
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, beyond - 1)
        for number, node in enumerate(self.nodes):
            for other in self.nodes[number + 1 :]:
                node.ask("CLUSTER", "MEET", other.host, other.port, other.port + BUS_OFFSET)
        self._await("did not meet the others", lambda node: node.knows(len(self.nodes)), pause)
        ids = [node.ask("CLUSTER", "MYID") for node in primaries]
        for number, node in enumerate(self.nodes[self.primaries :]):
            node.ask("CLUSTER", "REPLICATE", ids[number % self.primaries])

    def _await(self, trouble: str, holds: Callable[[Node], bool], pause: Pause) -> None:
        deadline = time.monotonic() + READY_SECONDS
        for node in self.nodes:
            while not holds(node):
                if node.process is None or node.process.poll() is not None or time.monotonic() > deadline:
                    raise StartError(f"a node {trouble}: see {node.log}")
                pause(TICK_SECONDS)

    def _owner_as_told(self, node: Node, slot: int) -> Node:
        for first, last, address in self._slots_as_told(node):
            if first <= slot <= last:
                return self._at(address)
        raise LookupError(f"nobody has slot {slot}")

    def _slots_as_told(self, node: Node) -> Iterator[tuple[int, int, tuple[str, int]]]:
        for first, last, (host, port, *_), *_ in node.ask("CLUSTER", "SLOTS"):
            yield first, last, (host, port)

    def _at(self, address: tuple[str, int]) -> Node:
        return next(node for node in self.nodes if (node.host, node.port) == address)
