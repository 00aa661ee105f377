"""What open dashboards cost: a worker drains a full stream with none and with ten of them open (see README.md).

python -m benchmarks.dashboard [--dashboards 10] [--events 100000] [--recipients 50000] [--rounds 5]
"""

import argparse
import asyncio
import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect

from benchmarks import report
from benchmarks.load import Lane, Load
from benchmarks.measure import Contender, Round, one_round
from benchmarks.schedules import Wrong, print_surroundings, until, web
from benchmarks.servers import Servers, private_servers
from notify_project.local.children import PROJECT, manage

USER: Final = "benchmark"
PASSWORD: Final = "a password for benchmarks"
LOGIN: Final = "/admin/login/"
READY_SECONDS: Final = 30.0

WORKER: Final = Contender("worker", manage("worker"))


class Dashboards:
    """Open dashboards, read as fast as they are sent to, from a thread of their own; and what came."""

    def __init__(self, url: str, session: str, number: int) -> None:
        self.heard = Counter[str]()
        self._address = url.replace("http", "ws", 1) + "/ws/dashboard/"
        self._headers = {"Origin": url, "Cookie": f"sessionid={session}"}
        self.number = number
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        for _ in range(self.number):
            asyncio.run_coroutine_threadsafe(self._follow(), self._loop)
        until(lambda: self.heard["hello"] == self.number, READY_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result(READY_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _follow(self) -> None:
        async with connect(self._address, additional_headers=self._headers, proxy=None) as socket:
            await self._count(socket)

    async def _leave(self) -> None:
        open_now = asyncio.all_tasks() - {asyncio.current_task()}
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)

    async def _count(self, socket: ClientConnection) -> None:
        async for text in socket:
            self.heard[json.loads(text)["type"]] += 1


@contextmanager
def site(servers: Servers) -> Iterator[tuple[str, str]]:
    """A web, and the session of an administrator: its address, and the session's key."""
    names = {"DJANGO_SUPERUSER_USERNAME": USER, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    subprocess.run(
        manage("createsuperuser", "--noinput", "--email", "benchmark@example.org", "--verbosity", "0"),
        env=servers.environment | names,
        cwd=PROJECT,
        check=True,
    )
    with web(servers) as url, httpx.Client(base_url=url, trust_env=False) as browser:
        browser.get(LOGIN)
        typed = {"username": USER, "password": PASSWORD, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        browser.post(LOGIN, data=typed)
        yield url, browser.cookies["sessionid"]


def measure(servers: Servers, lane: Lane, *, events: int, dashboards: int, rounds: int) -> dict[str, list[Round]]:
    """Rounds without and with dashboards in turn, after one of each that is not counted; who begins, alternates."""
    measured: dict[str, list[Round]] = {name_of(0): [], name_of(dashboards): []}
    with site(servers) as (url, session):
        for number in range(rounds + 1):
            for opened in (0, dashboards) if number % 2 else (dashboards, 0):
                result, heard = watched(servers, lane, Dashboards(url, session, opened), events)
                told = f"{result.rate:>8,.0f} events/s  {result.seconds:.2f} s  frames {dict(heard)}"
                print(f"round {number}" if number else "warm-up", name_of(opened), told, sep="  ", flush=True)
                if number:
                    measured[name_of(opened)].append(result)
    return measured


def watched(servers: Servers, lane: Lane, dashboards: Dashboards, events: int) -> tuple[Round, Counter[str]]:
    """A round that dashboards look at, and the frames that they got in all. Raises Wrong where none came."""
    with dashboards:
        result = one_round(servers, lane, WORKER, events=events)
    if dashboards.number and not dashboards.heard["flow"]:
        raise Wrong("the dashboards were told nothing")
    return result, dashboards.heard


def name_of(dashboards: int) -> str:
    """A contender's name."""
    return f"{dashboards} dashboards"


def main() -> None:
    """Read the command line, measure, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=__doc__.splitlines()[0])
    parser.add_argument("--dashboards", type=int, default=10, help="how many are open (%(default)s)")
    parser.add_argument("--events", type=int, default=100_000, help="events in the stream (%(default)s)")
    parser.add_argument("--recipients", type=int, default=50_000, help="recipients they are drawn from (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each (%(default)s)")
    options = parser.parse_args()
    with private_servers() as servers:
        lane = Lane(servers, Load(options.events, options.recipients))
        measured = measure(servers, lane, events=options.events, dashboards=options.dashboards, rounds=options.rounds)
        found = report.rows(measured, reference=name_of(0))
        print(report.table(found, name_of(0), {}))
        print_surroundings(servers)


if __name__ == "__main__":
    main()
