"""A private deployment for one test: servers that can be killed and frozen, and real processes beside them.

    with Stack(tmp_path) as stack:
        stack.start_web()
        worker = stack.start_worker()
        ...
        worker.kill()
        wait_until(lambda: stack.sql("SELECT count(*) FROM ...") == [(1,)], message="the row never came")

Only processes that the stack started are ever signalled, each through its own handle.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import redis

from notifications.access.keys import new_secret
from notifications.stream.client import connect
from notify_project.configuration import Configuration, variable_name
from notify_project.local.children import PROJECT, kinds, manage
from notify_project.local.cluster import Cluster
from notify_project.local.postgresql import PostgreSQL
from notify_project.local.processes import Account, spawn
from notify_project.local.valkey import Valkey
from notify_project.local.web import Address
from tests import servers
from tests.handles import ClusterHandle, ServerHandle
from tests.servers import SECRET_KEY
from tests.template import Template

HOST = "127.0.0.1"
# Every variable that Notify reads.
READ = frozenset(variable_name(field) for field in Configuration.__struct_fields__)
# Processes start as in production (tests/start/sitecustomize.py).
START = PROJECT / "tests" / "start"
POLL_SECONDS = 0.05
COMMAND_SECONDS = 60
TAIL_LINES = 30
ADMIN_USER = "admin"
ADMIN_PASSWORD = "a password for tests"
API_KEY = new_secret()
# initdb, `migrate` and `provision` would be most of what a stack costs; tests/test_up.py is about them.
PREPARED = Template()


def wait_until(condition: Callable[[], object], timeout: float = 30, message: str = "it never came") -> None:
    """Return as soon as `condition()` is true; fail with `message` when it is not in `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{message} (waited {timeout} s)")
        time.sleep(POLL_SECONDS)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with Address(HOST, 0).listener() as listener:
        port: int = listener.getsockname()[1]
        return port


def clean_environment(**variables: str) -> dict[str, str]:
    """This process' environment without anything that Notify reads, and with `variables`."""
    # Few shells set the last, and with it nobody would notice a line that stays in a buffer.
    kept = {name: value for name, value in os.environ.items() if name not in {*READ, "PYTHONUNBUFFERED"}}
    return kept | {"PYTHONPATH": str(START)} | variables


def web_command(port: int, host: str = HOST) -> tuple[str, ...]:
    """The web at a port, as `up` starts it."""
    return next(kind.command for kind in kinds(host=host, port=port, workers=0) if kind.name == "web")


class Process:
    """One process of the stack; its output is in a file."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        folder: Path = PROJECT,
        account: Account | None = None,
    ) -> None:
        """Start it; what it writes goes to the end of `log`."""
        self.command = command
        self._log = log
        with log.open("ab") as output:
            self._process = spawn(command, environment=environment, folder=folder, output=output, account=account)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended (negative: the signal), or None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL: no chance to finish anything."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """SIGTERM: finish and go."""
        self._process.terminate()

    def interrupt(self) -> None:
        """SIGINT, as Ctrl-C sends it."""
        self._process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """SIGSTOP: stand still, with everything held, as on an overloaded machine."""
        self._process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT: go on."""
        self._process.send_signal(signal.SIGCONT)

    def wait(self, timeout: float = 30) -> int:
        """Its return code, once it has ended; fails when it does not within `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} did not end within {timeout} s:\n{self.tail()}") from None

    def log(self) -> str:
        """All that it has written so far, to standard output and standard error."""
        return self._log.read_text(errors="replace")

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log().splitlines()[-TAIL_LINES:])


class Stack:
    """Servers in `folder`, migrated and with an API key; processes are started by the test.

    `valkey` is the whole of Redis: one server, or all nodes of the cluster that the run is on (tests/servers.py).
    """

    def __init__(
        self,
        folder: Path,
        make_cluster: Callable[[Path], Cluster | None] = servers.cluster_in,
        /,
        *,
        shards: int | None = None,
        **variables: str,
    ) -> None:
        """`make_cluster`: the nodes of Redis, in a folder; None for a single server."""
        self.folder = folder
        self._data = folder / "postgresql"
        self.postgresql = ServerHandle(self.make_postgresql(self._data))
        self.cluster = make_cluster(folder)
        single = self.make_valkey(folder / "valkey")
        self.valkey = ServerHandle(single) if self.cluster is None else ClusterHandle(self.cluster, single)
        self.api_key = API_KEY
        # What no process may write down; whoever gets another one adds it.
        self.secrets = {API_KEY, SECRET_KEY, ADMIN_PASSWORD}
        self.url = ""
        self.env = clean_environment(
            DATABASE_URL=self.postgresql.url,
            REDIS_URL=self.valkey.url,
            SECRET_KEY=SECRET_KEY,
            NOTIFY_SHARDS=str(shards or os.environ.get("NOTIFY_SHARDS") or 1),
            NOTIFY_FAULT_INJECTION="1",
            NOTIFY_ADMIN_USER=ADMIN_USER,
            NOTIFY_ADMIN_PASSWORD=ADMIN_PASSWORD,
            NOTIFY_API_KEY=self.api_key,
            **variables,
        )
        if isinstance(self.valkey, ClusterHandle):
            self.env.setdefault("CHANNEL_REDIS_URL", self.valkey.channel_url)
        self._processes: list[Process] = []
        self._cleanup = ExitStack()

    def make_postgresql(self, data: Path) -> PostgreSQL:
        """The PostgreSQL of this stack, not started."""
        return PostgreSQL(data)

    def make_valkey(self, data: Path) -> Valkey:
        """Its Valkey, or the one beside its cluster."""
        return Valkey(data)

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            prepared = PREPARED.copy_to(self._data)
            running: tuple[ServerHandle | ClusterHandle, ...] = (self.postgresql, self.valkey)
            for server in running:
                cleanup.callback(server.remove)
                server.start()
                cleanup.callback(server.stop)
            cleanup.callback(self._end_processes)
            if not prepared:
                self._prepare()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def start_web(self, port: int = 0) -> Process:
        """Start the web on a free port, or the one given, and wait until it answers; sets `url`."""
        address = Address(HOST, port or free_port())
        process = self.start(web_command(address.port))
        self.url = address.url
        wait_until(lambda: process.returncode is not None or _alive(address), message="no answer from the web")
        assert process.returncode is None, process.tail()
        return process

    def start_worker(self) -> Process:
        """Start one worker."""
        return self.start(manage("worker"))

    def start_bulk_worker(self) -> Process:
        """Start one bulk worker."""
        return self.start(manage("bulk_worker"))

    def start_scheduler(self) -> Process:
        """Start one scheduler."""
        return self.start(manage("scheduler"))

    def start_dlq_worker(self) -> Process:
        """Start one DLQ worker."""
        return self.start(manage("dlq_worker"))

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Process:
        """Start any process, `manage("doctor")` for one, in the stack's environment or another."""
        log = self.folder / f"process-{len(self._processes) + 1}.log"
        process = Process(command, self.env if environment is None else environment, log)
        self._processes.append(process)
        return process

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a one-shot command of manage.py; with `check`, it has to succeed."""
        done = subprocess.run(
            manage(*arguments),
            env=self.env,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    def redis(self) -> redis.Redis:
        """A client of the stack's Valkey."""
        return connect(self.valkey.url, timeout_seconds=10)

    def sql(self, query: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement in the stack's PostgreSQL and commit; its rows, if it has any."""
        with psycopg.connect(self.postgresql.url, autocommit=True, connect_timeout=10) as connection:
            cursor = connection.execute(query.encode(), params or None)
            return cursor.fetchall() if cursor.description else []

    def _prepare(self) -> None:
        """Make the tables, the administrator and the API key, and keep them for the next stacks."""
        self.manage("migrate", "--noinput", "--verbosity=0")
        self.manage("provision")
        # As many as a test likes; tests of rates make keys of their own. The mirror is made anew of this.
        self.sql("UPDATE notifications_apikey SET rate = '999999999/s'")
        with self.redis() as client:
            client.flushall()
        self.postgresql.stop()
        PREPARED.keep(self._data)
        self.postgresql.start()

    def _end_processes(self) -> None:
        """End what still runs. Each tail is printed, which pytest shows only for a test that failed."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            print(f"--- {' '.join(process.command)} ({process.returncode})\n{process.tail()}")
        told = [process.command for process in self._processes if any(map(process.log().__contains__, self.secrets))]
        assert not told, f"a secret is in what these wrote: {told}"


def _alive(address: Address) -> bool:
    try:
        return address.get("/healthz", HOST)[0] == HTTPStatus.OK
    except OSError:
        return False
