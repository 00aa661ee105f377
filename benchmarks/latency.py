"""From POST to WebSocket frame: how long it takes at several rates, and where that time goes (see README.md).

python -m benchmarks.latency [--rounds 5] [--rates 50 200 500] [--seconds 10] [--json result.json]
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from benchmarks import figures
from benchmarks.fanning.sides import listens
from benchmarks.fanning.stages import POINTS, Monitor, passed
from benchmarks.figures import Figure
from benchmarks.measure import Spread
from benchmarks.schedules import HOST, READY_SECONDS, Wrong, api_key, until, web
from benchmarks.servers import Servers, consumer, private_servers
from benchmarks.sockets import Crowd, tokens_of, told
from notify_project.local.children import manage
from notify_project.local.web import Address

NAME: Final = "latency"
RATES: Final = (50, 200, 500)
SECONDS: Final = 10
SOCKETS: Final = 100
# The service `http` of docker-compose.yml.
HTTP: Final = (
    *(sys.executable, "-m", "granian", "--interface=wsgi", f"--host={HOST}", "--port={port}", "--workers=2"),
    *(
        "--blocking-threads=16",
        "--backpressure=1024",
        "--no-ws",
        "--respawn-failed-workers",
        "--workers-kill-timeout=10",
    ),
    *("--log-level=warning", "notify_project.wsgi:application"),
)


class Site(NamedTuple):
    """A deployment as docker-compose.yml has it, without what is idle here, and clients who are online."""

    servers: Servers
    url: str
    key: str
    recipients: list[str]
    clients: Crowd


class Took(NamedTuple):
    """What a round took: milliseconds, and which part of their mean each stage was, in percent."""

    p50: float
    p99: float
    shares: tuple[float, ...]


def measure(rounds: int, rates: Sequence[int] = RATES, seconds: int = SECONDS) -> list[Figure]:
    """The rows of this benchmark: the rates in turn, round by round; the first round is not counted."""
    found: dict[int, list[Took]] = {rate: [] for rate in rates}
    with private_servers() as servers, deployment(servers) as site:
        for turn in range(rounds + 1):
            for rate in rates:
                servers.settle_down()
                took = one(site, rate, seconds)
                shares = ", ".join(f"{name} {share:.0f} %" for name, share in zip(POINTS[1:], took.shares, strict=True))
                print(f"round {turn}  {rate}/s: p50 {took.p50:.1f} ms, p99 {took.p99:.1f} ms; {shares}", flush=True)
                if turn:
                    found[rate].append(took)
    return [figure for rate, known in found.items() for figure in _figures(rate, known)]


def one(site: Site, rate: int, seconds: int) -> Took:
    """Send at a rate, and look at what Valkey was asked meanwhile. Raises Wrong unless each came, and is one row."""
    number = rate * seconds
    with Monitor(site.servers) as monitor:
        arrivals = site.clients.ask("send", site.url, site.key, site.recipients, rate, number)
    if len(arrivals) != number:
        raise Wrong(f"{len(arrivals)} of {number} came")
    points = passed(site.servers, monitor.lines(), arrivals)
    took = sorted((times[-1] - times[0]) * 1000 for times in points)
    ways = [[after - before for before, after in pairwise(times)] for times in points]
    stages = [fmean(stage) * 1000 for stage in zip(*ways, strict=True)]
    return Took(median(took), took[number * 99 // 100], tuple(100 * stage / fmean(took) for stage in stages))


@contextmanager
def deployment(servers: Servers) -> Iterator[Site]:
    """Web, gateway and worker; clients of all recipients are there."""
    recipients = [f"reader-{number}" for number in range(SOCKETS)]
    key, tokens = api_key(servers), tokens_of(servers, recipients)
    with ExitStack() as parts:
        url = parts.enter_context(http(servers))
        sockets = urlsplit(parts.enter_context(web(servers)))
        parts.enter_context(consumer(servers, "worker", manage("worker")))
        command = (sys.executable, "-m", "benchmarks.fanning.turns", str(sockets.hostname), str(sockets.port))
        clients = parts.enter_context(told(command, tokens))
        if refused := clients.ask("open")["refused"]:
            raise Wrong(f"refused: {refused}")
        yield Site(servers, url, key, recipients, clients)


@contextmanager
def http(servers: Servers) -> Iterator[str]:
    """The web for requests, under granian, as it is in production."""
    with Address(HOST, 0).listener() as listener:
        address = Address(HOST, listener.getsockname()[1])
    asked = [part.format(port=address.port) for part in HTTP]
    counted = {**servers.environment, "NOTIFY_METRICS_DIR": str(servers.folder / "metrics")}
    with consumer(replace(servers, environment=counted), "http", asked):
        until(partial(listens, address), READY_SECONDS)
        yield address.url


def _figures(rate: int, known: Sequence[Took]) -> list[Figure]:
    total = [
        Figure(NAME, f"{rate}/s, p50", "ms", Spread.of(took.p50 for took in known)),
        Figure(NAME, f"{rate}/s, p99", "ms", Spread.of(took.p99 for took in known)),
    ]
    shares = zip(*(took.shares for took in known), strict=True)
    return total + [
        Figure(NAME, f"{rate}/s, of it until {point}", "% of the mean", Spread.of(each))
        for point, each in zip(POINTS[1:], shares, strict=True)
    ]


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (%(default)s)")
    parser.add_argument("--rates", type=int, nargs="+", default=RATES, help="notifications a second (%(default)s)")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="how long at each rate (%(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the result, too")
    options = parser.parse_args()
    found = measure(options.rounds, options.rates, options.seconds)
    print(figures.table(found, {}))
    if options.json:
        figures.write_json(options.json, found, {})


if __name__ == "__main__":
    main()
