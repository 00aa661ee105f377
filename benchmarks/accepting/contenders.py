"""Who accepts: each contender's process, and what has to be in Redis when it has accepted so many."""

import dataclasses
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import redis

from benchmarks.measure import POLL_SECONDS, READY_SECONDS, Stuck
from benchmarks.servers import Servers, consumer
from notifications.stream import keys
from notify_project.local.web import Address

HOST: Final = "127.0.0.1"
STREAM: Final = "accepted"
EXPRESS: Final = Path(__file__).parent.parent / "express"
VERSION: Final = json.loads((EXPRESS / "package.json").read_text())["dependencies"]["express"]
NAME: Final = "Notify"
DRF: Final = "bare DRF view"
# Express' rate limit counts where ours does, for all processes; or, as it comes, in each process by itself.
EXPRESS_IN_REDIS: Final = f"Express {VERSION}, rate in Redis"
EXPRESS_IN_MEMORY: Final = f"Express {VERSION}, rate in memory"
# As docker-compose.yml starts it, but for how many processes it is.
GRANIAN: Final = (
    sys.executable, "-m", "granian", "--interface=wsgi", f"--host={HOST}", "--blocking-threads=16",
    "--backpressure=1024", "--no-ws", "--respawn-failed-workers", "--workers-kill-timeout=10", "--log-level=warning",
)  # fmt: skip

# What is in Redis, and what has to be, after so many requests with so many events.
Look = Callable[[redis.Redis], dict[str, int]]
Expectation = Callable[[int, int], dict[str, int]]


@dataclasses.dataclass(frozen=True)
class Contender:
    """One that accepts; `command` without its port, which the environment or `--port` tells."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    look: Look
    expected: Expectation


@dataclasses.dataclass(frozen=True)
class Door:
    """A contender that stands ready."""

    contender: Contender
    port: int
    process: "subprocess.Popen[bytes]"


def notify(folder: Path, *, processes: int = 1, shards: int = 1) -> Contender:
    """Ours, as docker-compose.yml's `http`, with so many processes; `folder` is for its metrics."""
    environment = {
        "NOTIFY_METRICS_DIR": str(folder / "metrics"),
        "NOTIFY_LOG_FORMAT": "json",
        "NOTIFY_SHARDS": str(shards),
    }
    return Contender(
        NAME,
        (*GRANIAN, f"--workers={processes}", "notify_project.wsgi:application"),
        environment,
        partial(_noted, shards),
        lambda requests, events: {"entries": events, "in flight": events, "records": requests, "rates": 1},
    )


def others() -> list[Contender]:
    """Those that are here: Express needs node and its packages."""
    found = [
        Contender(DRF, _wsgi("bare"), {}, _entries, lambda _requests, _events: {"entries": 0}),
        _adding("plain view, msgspec, XADD", _wsgi("plain"), {}),
    ]
    node = shutil.which("node")
    if node is None or not (EXPRESS / "node_modules" / "express").is_dir():
        print("accept: Express is left out: it needs node 20, and `npm ci` in benchmarks/express.")
        return found
    for name, place in ((EXPRESS_IN_REDIS, "redis"), (EXPRESS_IN_MEMORY, "memory")):
        environment = {"NODE_ENV": "production", "RATE_IN": place}
        found.append(_adding(name, (node, str(EXPRESS / "server.js")), environment))
    return found


@contextmanager
def standing(servers: Servers, contender: Contender) -> Iterator[Door]:
    """Start a contender, and wait until it takes connections."""
    with Address(HOST, 0).listener() as listener:
        port: int = listener.getsockname()[1]
    command = contender.command if contender.command[0] != sys.executable else (*contender.command, f"--port={port}")
    told = {**servers.environment, **contender.environment, "PORT": str(port)}
    with consumer(dataclasses.replace(servers, environment=told), contender.name, command) as process:
        _until_open(port, process)
        yield Door(contender, port, process)


def _wsgi(module: str) -> tuple[str, ...]:
    return (*GRANIAN, "--workers=1", f"benchmarks.accepting.{module}:application")


def _adding(name: str, command: tuple[str, ...], environment: dict[str, str]) -> Contender:
    return Contender(name, command, environment, _entries, lambda _requests, events: {"entries": events})


def _entries(valkey: redis.Redis) -> dict[str, int]:
    return {"entries": valkey.xlen(STREAM)}


def _noted(shards: int, valkey: redis.Redis) -> dict[str, int]:
    each = range(shards)
    return {
        "entries": sum(valkey.xlen(keys.lane(shard, "live")) for shard in each),
        "in flight": sum(valkey.hlen(keys.inflight(shard)) for shard in each),
        "records": sum(_count(valkey, keys.once(shard, "*", "*")) for shard in each),
        "rates": _count(valkey, keys.rate("*", "*")),
    }


def _count(valkey: redis.Redis, pattern: str) -> int:
    found: Any = valkey.scan_iter(pattern.replace("{", "[{]"), count=10_000)
    return sum(1 for _ in found)


def _until_open(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise Stuck("it takes no connections")
        time.sleep(POLL_SECONDS)
