"""Private servers for a benchmark: PostgreSQL and Valkey as `manage.py up` starts them, in a temporary folder."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from notifications.stream.client import connect
from notify_project.configuration import Configuration, variable_name
from notify_project.local.children import PROJECT, manage
from notify_project.local.postgresql import PostgreSQL
from notify_project.local.processes import spawn
from notify_project.local.server import Server
from notify_project.local.valkey import Valkey

SECRET_KEY = "a-secret-for-benchmarks-and-nothing-else"
REDIS_SECONDS = 30.0
STOP_SECONDS = 20.0
TAIL_LINES = 20
SYNC_PROBES = 200

POSTGRESQL_SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "wal_compression",
    "max_wal_size",
    "shared_buffers",
    "jit",
)
VALKEY_SETTINGS = ("appendonly", "appendfsync", "save", "maxmemory-policy")


@dataclass(frozen=True)
class Servers:
    """Both servers, a client of each, and what their clients are told."""

    folder: Path
    database: "psycopg.Connection[tuple[object, ...]]"
    valkey: redis.Redis
    environment: dict[str, str]
    pids: dict[str, int]

    def settle_down(self) -> None:
        """Let nobody pay for what was written before: a small append-only file, no dirty page, fresh statistics."""
        # One that Valkey began by itself comes first.
        self._until_rewritten()
        self.valkey.bgrewriteaof()
        self._until_rewritten()
        self.database.execute("ANALYZE")
        self.database.execute("CHECKPOINT")

    def _until_rewritten(self) -> None:
        while self.valkey.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)

    def settings(self) -> dict[str, dict[str, str]]:
        """What decides about durability and speed, as the servers themselves say it."""
        shown = {name: self.database.execute(f"SHOW {name}").fetchone() for name in POSTGRESQL_SETTINGS}
        configured = self.valkey.config_get(*VALKEY_SETTINGS)
        return {
            "PostgreSQL": {name: str(row[0]) for name, row in shown.items() if row},
            "Valkey": {name: configured[name] or "none" for name in VALKEY_SETTINGS},
        }

    def versions(self) -> dict[str, str]:
        """The servers' versions."""
        number = self.database.info.parameter_status("server_version") or ""
        return {"PostgreSQL": number, "Valkey": self.valkey.info("server")["valkey_version"]}


@contextmanager
def private_servers() -> Iterator[Servers]:
    """Start both in a temporary folder (TMPDIR chooses the disk), with Notify's tables; end and remove them after."""
    with ExitStack() as cleanup:
        folder = Path(tempfile.mkdtemp(prefix="notify-bench-"))
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        postgresql, valkey = PostgreSQL(folder / "postgresql"), Valkey(folder / "valkey")
        pids = {server.label: _start(server, cleanup) for server in (postgresql, valkey)}
        environment = _environment(DATABASE_URL=postgresql.url, REDIS_URL=valkey.url)
        subprocess.run(manage("migrate", "--verbosity=0"), env=environment, cwd=PROJECT, check=True)
        database = cleanup.enter_context(psycopg.connect(postgresql.url, autocommit=True))
        client = cleanup.enter_context(connect(valkey.url, timeout_seconds=REDIS_SECONDS))
        yield Servers(folder, database, client, environment, pids)


@contextmanager
def consumer(servers: Servers, name: str, command: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
    """A consumer's process; stopped in an orderly way at the end."""
    log = servers.folder / f"{name}.log"
    with log.open("wb") as output:
        process = spawn(command, environment=servers.environment, folder=PROJECT, output=output)
    try:
        yield process
    except Exception:
        print("\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:]), file=sys.stderr)
        raise
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process to end, and see to it."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def sync_seconds(folder: Path) -> float:
    """What it takes to write 4 KiB and have it on disk, the median of many: the price of a commit here."""
    block, spent = os.urandom(4096), []
    with (folder / "sync-probe").open("wb", buffering=0) as file:
        for _ in range(SYNC_PROBES):
            began = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def _start(server: Server, cleanup: ExitStack) -> int:
    cleanup.callback(server.stop)
    return server.start().pid


def _environment(**variables: str) -> dict[str, str]:
    """This process' environment without a developer's own settings of Notify."""
    known = {variable_name(field) for field in Configuration.__struct_fields__}
    kept = {name: value for name, value in os.environ.items() if name not in known}
    return {**kept, "SECRET_KEY": SECRET_KEY, **variables}
