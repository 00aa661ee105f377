"""`manage.py up`, told from the start to the stop."""

import http.client
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import redis
import structlog

from notifications.stream.client import connect
from notify_project.local import demo
from notify_project.local.children import PROJECT, Child, Stage, kinds, manage
from notify_project.local.datafolder import DataFolder
from notify_project.local.exceptions import StartError, StopRequested
from notify_project.local.ledger import Ledger
from notify_project.local.postgresql import PostgreSQL
from notify_project.local.processes import end, outcome, spawn
from notify_project.local.server import Server
from notify_project.local.signals import TICK_SECONDS, StopSignals
from notify_project.local.supervisor import Supervisor
from notify_project.local.valkey import Valkey
from notify_project.local.web import Address

log = structlog.get_logger("notify.up")

READY_SECONDS = 60.0
LEFTOVER_SECONDS = 10.0
WEB_ATTEMPTS = 3
GIVEN_SERVER_SECONDS = 5


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    address: Address
    workers: int
    data: Path

    def check(self) -> None:
        """Raise StartError, with the sentence to show, for values that cannot be."""
        if not 1 <= self.address.port <= 65535:
            raise StartError(f"--port takes a number from 1 to 65535, not {self.address.port}")
        if self.workers < 1:
            raise StartError(f"--workers takes a number of 1 or more, not {self.workers}")


class Deployment:
    """Servers, web and background processes on one machine, in the care of this process."""

    def __init__(
        self,
        options: Options,
        environment: Mapping[str, str],
        *,
        new_api_key: Callable[[], str],
        say: Callable[[str], None],
    ) -> None:
        self._options = options
        self._environment = dict(environment)
        self._new_api_key = new_api_key
        self._say = say
        self._folder = DataFolder(options.data)
        self._ledger = Ledger(options.data / "children.json")
        self._servers: dict[str, Server] = {
            "DATABASE_URL": PostgreSQL(options.data / "postgresql"),
            "REDIS_URL": Valkey(options.data / "valkey"),
        }
        self._signals = StopSignals()
        self._supervisor = Supervisor(self._signals)

    def run(self) -> None:
        """Start everything and keep it running until a signal comes; raises StartError."""
        self._options.check()
        self._signals.listen()
        with self._folder.held():
            try:
                self._start()
                self._supervisor.run()
            except StopRequested:
                log.info("up.stopping")
            finally:
                self._supervisor.stop()
                self._ledger.clear()

    def _start(self) -> None:
        self._end_leftovers()
        self._options.address.check_free()
        self._start_servers()
        self._complete_environment()
        self._run_once("migrate", "--noinput", "--verbosity=0")
        access = demo.complete(self._folder.recall(), self._new_api_key)
        self._run_once("provision", **access)
        self._start_children()
        self._await_ready()
        self._remember(access)
        self._say(demo.welcome(self._options.address.url, access, self._folder.demo))

    def _end_leftovers(self) -> None:
        """End what an earlier supervisor, killed without a chance to do so, left running."""
        leftovers = self._ledger.leftovers()
        for process in leftovers:
            log.warning("leftover.ended", pid=process.pid)
        end(leftovers, grace_seconds=LEFTOVER_SECONDS)
        for server in self._servers.values():
            server.end_leftovers()

    def _start_servers(self) -> None:
        for variable, server in self._servers.items():
            # Our own address, given, is what a shell has that read demo.env before.
            if self._environment.get(variable) not in {None, "", server.url}:
                check_given_server(variable, self._environment[variable])
                continue
            self._environment[variable] = server.url
            child = Child(server.label, server.spawn, stop_signal=server.stop_signal)
            child.watch(server.start(self._signals.pause))
            self._supervisor.add(Stage.SERVERS, child)

    def _complete_environment(self) -> None:
        """What the children are told beyond what this process was told."""
        given = self._environment
        given["SECRET_KEY"] = given.get("SECRET_KEY") or self._folder.secret_key()
        given["ALLOWED_HOSTS"] = given.get("ALLOWED_HOSTS") or self._options.address.allowed_hosts
        given.setdefault("NOTIFY_FAULT_INJECTION", "1")
        given["NOTIFY_METRICS_DIR"] = given.get("NOTIFY_METRICS_DIR") or self._folder.metrics()
        # One port is not to be had by all of them; the web tells of all.
        given.pop("NOTIFY_HEALTH_PORT", None)

    def _start_children(self) -> None:
        address = self._options.address
        for kind in kinds(host=address.host, port=address.port, workers=self._options.workers):
            for name in kind.names:
                child = Child(name, partial(self._spawn, name, kind.command))
                self._supervisor.add(kind.stage, child)
                child.start()

    def _spawn(self, name: str, command: Sequence[str], **variables: str) -> subprocess.Popen[bytes]:
        process = spawn(command, environment={**self._environment, **variables}, folder=PROJECT)
        self._ledger.note(name, process.pid, command)
        return process

    def _run_once(self, command: str, *arguments: str, **variables: str) -> None:
        """Run a command of manage.py to its end."""
        process = self._spawn(command, manage(command, *arguments), **variables)
        try:
            while process.poll() is None:
                self._signals.pause(TICK_SECONDS)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            raise StartError(f"manage.py {command} failed ({outcome(process.returncode)}); see above why")

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while (trouble := self._trouble()) is not None:
            endings = self._supervisor.endings(Stage.FRONT)
            if len(endings) >= WEB_ATTEMPTS:
                raise StartError(f"the web does not start ({endings[-1]}); see above why")
            if time.monotonic() > deadline:
                raise StartError(f"the web is not ready after {READY_SECONDS:.0f} s: {trouble}")
            self._supervisor.look()
            self._signals.pause(TICK_SECONDS)

    def _trouble(self) -> str | None:
        """What keeps the web from being ready; None when nothing does."""
        allowed = self._environment["ALLOWED_HOSTS"].split(",")[0].strip()
        host = "localhost" if allowed == "*" else allowed.removeprefix(".")
        try:
            for path in ("/healthz", "/readyz"):
                status, body = self._options.address.get(path, host)
                if status != http.HTTPStatus.OK:
                    return f"{path} answers {status} {' '.join(body.split())[:300]}"
        except (OSError, http.client.HTTPException) as error:
            return f"no answer ({error})"
        return None

    def _remember(self, access: Mapping[str, str]) -> None:
        servers = {variable: self._environment[variable] for variable in self._servers}
        self._folder.remember({"NOTIFY_URL": self._options.address.url, **access, **servers})


def check_given_server(variable: str, url: str) -> None:
    """Raise StartError when a server that the environment names does not answer."""
    try:
        if variable == "DATABASE_URL":
            psycopg.connect(url, connect_timeout=GIVEN_SERVER_SECONDS).close()
        else:
            with connect(url, timeout_seconds=GIVEN_SERVER_SECONDS) as client:
                client.ping()
    except (psycopg.Error, redis.RedisError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise StartError(f"{variable}: the server does not answer: {reason}") from None
