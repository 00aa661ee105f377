"""Very many idle sockets: their memory, their heartbeat, how soon all are told, and all of them coming back at once.

python -m benchmarks.sockets [--sockets 20000] [--idle-seconds 60] (see README.md)
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import psutil

from benchmarks.schedules import Wrong, api_key, print_surroundings, web
from benchmarks.servers import Servers, consumer, private_servers
from notify_project.local.children import PROJECT, manage

# What a web process has open besides its sockets.
OTHER_FILES: Final = 500
BATCH: Final = 1000
MIB: Final = 2**20
TOKENS: Final = """
import json, sys
from notifications.access import tokens
print(json.dumps([tokens.issue(recipient, 86_400)[0] for recipient in json.load(sys.stdin)]))
"""


class Crowd:
    """A process full of clients (crowd.py), or another that takes orders in the same way."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def tell(self, *order: object) -> None:
        """Give an order; the answer is to be asked for."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What became of the oldest order."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise Wrong(f"{self._process.args!r} ended before it answered")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, *order: object) -> dict[str, Any]:
        """Give an order and wait until it is done."""
        self.tell(*order)
        return self.answer()


@contextmanager
def crowd(url: str, tokens: list[str]) -> Iterator[Crowd]:
    """The process, told who its clients are."""
    parts = urlsplit(url)
    command = (sys.executable, "-m", "benchmarks.crowd", str(parts.hostname), str(parts.port))
    with told(command, tokens) as clients:
        yield clients


@contextmanager
def told(command: Sequence[str], first: list[str], environment: Mapping[str, str] | None = None) -> Iterator[Crowd]:
    """A process that takes orders as a crowd does, and the first line of what it is to know."""
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin
            process.stdin.write(json.dumps(first) + "\n")
            process.stdin.flush()
            yield Crowd(process)
        finally:
            process.kill()


def tokens_of(servers: Servers, recipients: list[str]) -> list[str]:
    """A token for each recipient, made where the deployment's secret is."""
    made = subprocess.run(
        manage("shell", "--verbosity=0", "--command", TOKENS),
        env=servers.environment,
        cwd=PROJECT,
        check=True,
        input=json.dumps(recipients),
        capture_output=True,
        text=True,
    )
    tokens: list[str] = json.loads(made.stdout)
    return tokens


def send(url: str, key: str, recipients: list[str]) -> float:
    """One notification to each; when the first was on its way."""
    began = time.time()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=60) as client:
        for start in range(0, len(recipients), BATCH):
            batch = [{"recipient": name, "type": "t", "title": "A title"} for name in recipients[start : start + BATCH]]
            client.post("/api/notify/batch", json={"notifications": batch}).raise_for_status()
    return began


def holder(url: str) -> psutil.Process:
    """The process that listens at an address."""
    port = urlsplit(url).port
    children = psutil.Process().children()
    return next(one for one in children if port in {held.laddr.port for held in one.net_connections("tcp")})


def busy(process: psutil.Process) -> float:
    """Seconds of CPU that a process has used."""
    times = process.cpu_times()
    return times.user + times.system


def measure(number: int, idle_seconds: int) -> None:
    """Open, look, tell all, cut all, and print what that took."""
    recipients = [f"reader-{one:06}" for one in range(number)]
    with private_servers() as servers:
        key, tokens = api_key(servers), tokens_of(servers, recipients)
        # Two webs: what is sent through the one is not the business of the other, which holds the sockets.
        with (
            web(servers) as url,
            web(servers) as door,
            consumer(servers, "worker", manage("worker")),
            crowd(url, tokens) as clients,
        ):
            gateway = holder(url)
            memory = gateway.memory_info().rss
            opened = clients.ask("open")
            held = gateway.memory_info().rss - memory
            say("opened", f"{opened['seconds']:.1f} s, refused {opened['refused']}")
            say("memory", f"{held / number / 1024:.1f} KiB a socket, {gateway.memory_info().rss / MIB:.0f} MiB in all")
            used = busy(gateway)
            time.sleep(idle_seconds)
            say("heartbeat", f"{(busy(gateway) - used) / idle_seconds:.1%} of a core over {idle_seconds} s")
            began = send(door, key, recipients)
            told = clients.ask("heard", 1)
            say("told", f"the last {told['last'] - began:.2f} s after the first was sent; {told['resumes']} resumes")
            cut = clients.ask("cut")["cut"]
            send(door, key, recipients)
            back = clients.ask("back")
            say("back", f"{back['back'] - cut:.1f} s after the cut, refused {back['refused']}")
            whole = clients.ask("heard", 2)
            say("nothing missed", f"{whole['last'] - cut:.1f} s after the cut; {whole['resumes']} resumes")
            say("memory", f"{gateway.memory_info().rss / MIB:.0f} MiB afterwards")
        print_surroundings(servers)


def say(what: str, told: str) -> None:
    """A line of the result."""
    print(f"{what:<16}{told}", flush=True)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sockets", description=__doc__.splitlines()[0])
    parser.add_argument("--sockets", type=int, default=20_000, help="how many, one a recipient (%(default)s)")
    parser.add_argument(
        "--idle-seconds", type=int, default=60, help="how long to look at their heartbeat (%(default)s)"
    )
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - OTHER_FILES
    if options.sockets > most:
        print(f"Here a process may hold {most} sockets and its other files (ulimit -Hn).")
    measure(min(options.sockets, most), options.idle_seconds)


if __name__ == "__main__":
    main()
