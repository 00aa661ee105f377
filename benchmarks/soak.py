"""An open dashboard for a long time: the memory of its tab and of its gateway, sampled.

    python -m benchmarks.soak [--minutes 15] [--rate 100] [--jobs 4] [--every-seconds 30]

A browser of its own opens the flow page of a deployment of its own, over which single notifications and slow bulk jobs
run. Nothing in the page knows of it: the heap is asked for over Chromium's own protocol, after a collection, and frames
are counted where they come in.
"""

import argparse
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final, NamedTuple

import httpx
import psutil
from playwright.sync_api import CDPSession, Page

from benchmarks.schedules import Wrong, api_key, print_surroundings, web
from benchmarks.servers import Servers, consumer, private_servers
from notify_project.local.children import PROJECT, manage
from tests.browser import chromium

USER: Final = "soak"
PASSWORD: Final = "for a benchmark only"
# Each tells its progress twice a second, for as long as the run lasts.
JOB_RATE: Final = 20
TICK_SECONDS: Final = 0.5
KIB: Final = 1024
# The first samples are the browser's and the gateway's warming up.
WARM_SHARE: Final = 0.2


class Sample(NamedTuple):
    """A look: minutes since the beginning, frames so far, bytes of heap and of the gateway, nodes of the page."""

    minutes: float
    frames: int
    heap: int
    nodes: int
    gateway: int


class Frames:
    """Counts what comes in over the page's sockets."""

    def __init__(self, protocol: CDPSession) -> None:
        self.count = 0
        protocol.send("Network.enable", {"maxTotalBufferSize": 0})
        protocol.on("Network.webSocketFrameReceived", self._came)

    def _came(self, _told: object) -> None:
        self.count += 1


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--rate", type=int, default=100, help="single notifications a second")
    parser.add_argument("--jobs", type=int, default=4, help=f"bulk jobs at {JOB_RATE}/s each, told of twice a second")
    parser.add_argument("--every-seconds", type=float, default=30)
    arguments = parser.parse_args()
    with private_servers() as servers:
        samples = soak(servers, arguments)
        print_verdict(samples)
        print_surroundings(servers)


def soak(servers: Servers, arguments: argparse.Namespace) -> list[Sample]:
    """Open the page, keep it busy, and look at it now and then."""
    key = api_key(servers)
    add_staff(servers)
    with deployment(servers) as url, chromium() as browser, producer(url, key) as client:
        page = browser.new_page()
        sign_in(page, url)
        for number in range(arguments.jobs):
            start_job(client, number, arguments.minutes)
        return list(watch(page, client, listener(url), arguments))


@contextmanager
def deployment(servers: Servers) -> Iterator[str]:
    """A web, a worker, a bulk worker, a scheduler; the web's address."""
    with ExitStack() as cleanup:
        url = cleanup.enter_context(web(servers))
        for command in ("worker", "bulk_worker", "scheduler"):
            cleanup.enter_context(consumer(servers, command, manage(command)))
        yield url


def listener(url: str) -> int:
    """The process of ours that serves an address."""
    port = httpx.URL(url).port
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in process.net_connections()):
                return process.pid
    raise Wrong("nobody listens")


def add_staff(servers: Servers) -> None:
    """Somebody who may look at a dashboard."""
    subprocess.run(
        manage("createsuperuser", "--noinput", "--email="),
        env={**servers.environment, "DJANGO_SUPERUSER_USERNAME": USER, "DJANGO_SUPERUSER_PASSWORD": PASSWORD},
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )


@contextmanager
def producer(url: str, key: str) -> Iterator[httpx.Client]:
    """A program with an API key."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def sign_in(page: Page, url: str) -> None:
    """Sign in as people do; ends on the flow page."""
    page.goto(url)
    page.get_by_label("Username").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{url}/")


def start_job(client: httpx.Client, number: int, minutes: float) -> None:
    """A bulk job that lasts longer than the run."""
    total = int((minutes + 1) * 60 * JOB_RATE)
    recipients = [f"job-{number}-{one}" for one in range(total)]
    notification = {"type": "soak", "title": "A title"}
    body = {"recipients": recipients, "notification": notification, "rate": f"{JOB_RATE}/s"}
    client.post("/api/bulk", json=body).raise_for_status()


def watch(page: Page, client: httpx.Client, gateway: int, arguments: argparse.Namespace) -> Iterator[Sample]:
    """Send, and yield a sample every so often; printed as it comes."""
    protocol = page.context.new_cdp_session(page)
    frames = Frames(protocol)
    page.reload()
    print(f"{'min':>6}{'frames':>9}{'heap KiB':>11}{'nodes':>8}{'gateway KiB':>13}", flush=True)
    began = due = time.monotonic()
    looked, sent = began, 0
    while (now := time.monotonic()) - began < arguments.minutes * 60:
        sent = send(client, sent, int(arguments.rate * (now - began)))
        due += TICK_SECONDS
        # Playwright's own wait: only while it waits does it hear of frames.
        page.wait_for_timeout(max(1.0, (due - time.monotonic()) * 1000))
        if now - looked >= arguments.every_seconds:
            looked = now
            yield shown(sample(protocol, gateway, frames, (now - began) / 60))


def send(client: httpx.Client, sent: int, wanted: int) -> int:
    """Send what is still missing; what has been sent then."""
    events = [{"recipient": f"r-{one % 500}", "type": "soak", "title": "A title"} for one in range(sent, wanted)]
    if events:
        client.post("/api/notify/batch", json={"notifications": events[:1000]}).raise_for_status()
    return wanted


def sample(protocol: CDPSession, gateway: int, frames: Frames, minutes: float) -> Sample:
    """Collect what is garbage, then look."""
    protocol.send("HeapProfiler.collectGarbage")
    heap = protocol.send("Runtime.getHeapUsage")["usedSize"]
    nodes = protocol.send("Memory.getDOMCounters")["nodes"]
    return Sample(minutes, frames.count, heap, nodes, psutil.Process(gateway).memory_info().rss)


def shown(one: Sample) -> Sample:
    """The same, printed."""
    numbers = f"{one.heap // KIB:>11}{one.nodes:>8}{one.gateway // KIB:>13}"
    print(f"{one.minutes:>6.1f}{one.frames:>9}{numbers}", flush=True)
    return one


def print_verdict(samples: Sequence[Sample]) -> None:
    """How much each grew an hour, by the slope of its samples once it was warm."""
    warm = samples[int(len(samples) * WARM_SHARE) :]
    if len(warm) < 3:
        print("too short to say what grows")
        return
    minutes = [one.minutes for one in warm]
    for name, values in (("heap", [one.heap for one in warm]), ("gateway", [one.gateway for one in warm])):
        slope = statistics.linear_regression(minutes, values).slope * 60
        print(f"{name}: {statistics.median(values) / KIB:.0f} KiB, {slope / KIB:+.0f} KiB an hour")


if __name__ == "__main__":
    main()
