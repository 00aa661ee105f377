"""Bulk: a million at once, and how long somebody waits who is sent a single notification meanwhile (see README.md).

python -m benchmarks.bulk million [--count 1000000] [--workers 1] [--samples 1000]
python -m benchmarks.bulk isolation [--count 1000000] [--rounds 3] [--idle-seconds 30] [--rate 50] [--sockets 50]
"""

import argparse
import asyncio
import multiprocessing
import random
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

import httpx
import msgspec
import psutil

from benchmarks.load import WRONG_INBOXES
from benchmarks.schedules import Wrong, api_key, print_surroundings, until, web
from benchmarks.servers import Servers, consumer, private_servers
from benchmarks.singles import Arrival, Pace, Singles, p99, print_phases
from notifications.stream import keys
from notify_project.local.children import manage

SHARD: Final = 0
BLOCK: Final = 1000
# In every block so many ids stand twice: they are one recipient each, and are told to be duplicates.
TWICE: Final = 1
POLL_SECONDS: Final = 0.2
SAMPLE_SECONDS: Final = 0.1
ANSWER_SECONDS: Final = 600.0
# The first requests of a web that has just started are slow.
WARM_UP_SECONDS: Final = 3.0
MIB: Final = 2**20

NOTIFICATION: Final = {
    "type": "bulk.benchmark",
    "title": "Our terms change on the first of next month",
    "body": "Whoever does not agree may leave us by the end of this month; you find the new terms, and what is new"
    " in them, on our pages.",
    "data": {"url": "/terms/7", "version": 7},
}

TRUTH: Final = """
    SELECT count(*), count(DISTINCT recipient), extract(epoch FROM max(stored_at) - min(stored_at))
    FROM notifications_notification WHERE source_id = %s
"""


class Site(NamedTuple):
    """A deployment: where its web is, a key to it, and its processes by their names."""

    servers: Servers
    url: str
    key: str
    pids: Mapping[str, int]

    @property
    def headers(self) -> dict[str, str]:
        """What a producer sends with each request."""
        return {"Authorization": f"Bearer {self.key}"}


class Upload(NamedTuple):
    """A list that was sent: the job, when the request began and when it was answered (Unix seconds)."""

    job_id: str
    began: float
    answered: float


def million(total: int, workers: int, samples: int) -> None:
    """Send one notification to `total` recipients; print how long it took and the memory of everybody."""
    with private_servers() as servers, deployment(servers, workers) as site, Peaks(site.pids) as peaks:
        upload = send(site.url, site.key, "user", total)
        print(f"{total:,} recipients uploaded, sorted and queued in {upload.answered - upload.began:.1f} s", flush=True)
        job = wait_until_over(site, upload.job_id)
        done = time.time()
        memory: Any = servers.valkey.info("memory")
        verify(site, job, total)
        sampled = verify_unread(site, total, samples)
        seconds = seconds_of(job)
        print(f"all are rows, counted, and the job done {done - upload.answered:.1f} s after that")
        print(f"from its start to its end: {seconds:.1f} s, {total / seconds:,.0f} events a second")
        print(f"from the first byte of the list to the end: {done - upload.began:.1f} s")
        print(f"rows: {total:,}, each recipient one; unread right on {sampled:,} sampled recipients")
        shown = ", ".join(f"{name} {size / MIB:,.0f} MiB" for name, size in peaks.shown().items())
        print(f"peak memory (RSS): {shown}")
        print(f"Valkey's own data: at most {memory['used_memory_peak'] / MIB:,.1f} MiB")
        print_surroundings(servers)


def isolation(total: int, rounds: int, idle_seconds: int, rate: int, sockets: int, workers: int) -> None:
    """Send single notifications all the time, idle and during a bulk of `total` in turn; print how long they took."""
    with private_servers() as servers, deployment(servers, workers) as site:
        phases = asyncio.run(_isolation(site, total, rounds, idle_seconds, Pace(rate, sockets)))
        print_phases("all rounds", {name: [one for each in kept for one in each] for name, kept in phases.items()})
        ratios = [p99(bulk) / p99(idle) for idle, bulk in zip(phases[IDLE], phases[BULK], strict=True)]
        print(f"p99 during the bulk / idle, round by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
        print(f"the median of these: {statistics.median(ratios):.2f}")
        print_surroundings(servers)


IDLE: Final = "idle"
UPLOADING: Final = "while the list comes in"
BULK: Final = "during the bulk"

Phases = dict[str, list[list[Arrival]]]


async def _isolation(site: Site, total: int, rounds: int, idle_seconds: int, pace: Pace) -> Phases:
    phases: Phases = {IDLE: [], UPLOADING: [], BULK: []}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:
        elsewhere.submit(time.time).result()
        async with Singles(site.url, site.headers, pace) as singles:
            for number in range(rounds):
                await asyncio.to_thread(site.servers.settle_down)
                await asyncio.sleep(WARM_UP_SECONDS)
                idle_from = time.time()
                await asyncio.sleep(idle_seconds)
                sending = elsewhere.submit(send, site.url, site.key, f"round-{number}", total)
                upload = await asyncio.wrap_future(sending)
                job = await singles.job_over(upload.job_id)
                over = time.time()
                await singles.all_arrived(over)
                phases[IDLE].append(singles.between(idle_from, upload.began))
                phases[UPLOADING].append(singles.between(upload.began, upload.answered))
                phases[BULK].append(singles.between(upload.answered, over))
                took = f"uploaded in {upload.answered - upload.began:.1f} s, done in {over - upload.answered:.1f} s"
                print_phases(f"round {number + 1} ({took})", {name: kept[-1] for name, kept in phases.items()})
                await asyncio.to_thread(verify, site, job, total)
    return phases


class Peaks:
    """The most memory that each process was seen to use, from a thread that looks again and again."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._most: dict[str, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def shown(self) -> dict[str, int]:
        """Bytes by name; of PostgreSQL, its largest process, of which a part is what all of them share."""
        return self._most

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            for name, pid in self._pids.items():
                with suppress(psutil.NoSuchProcess):
                    self._most[name] = max(self._most.get(name, 0), _rss(pid))


def _rss(pid: int) -> int:
    process = psutil.Process(pid)
    sizes = [process.memory_info().rss]
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            sizes.append(child.memory_info().rss)
    return max(sizes)


@contextmanager
def deployment(servers: Servers, workers: int) -> Iterator[Site]:
    """A web, a bulk worker and workers, all of them at work."""
    commands = {"bulk worker": manage("bulk_worker")}
    commands |= {f"worker {number + 1}": manage("worker") for number in range(workers)}
    with ExitStack() as processes:
        started = {
            name: processes.enter_context(consumer(servers, name, command)) for name, command in commands.items()
        }
        url = processes.enter_context(web(servers))
        for name in started:
            log = servers.folder / f"{name}.log"
            until(lambda log=log: "process.started" in log.read_text(errors="replace"))  # type: ignore[misc]
        pids = {"web": _listener(url), **{name: process.pid for name, process in started.items()}, **servers.pids}
        yield Site(servers, url, api_key(servers), pids)


def _listener(url: str) -> int:
    """The process of ours that serves an address."""
    port = httpx.URL(url).port
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in process.net_connections()):
                return process.pid
    raise Wrong("nobody listens")


def send(url: str, key: str, prefix: str, total: int) -> Upload:
    """Send a list of `total` recipients as NDJSON, a block at a time, and wait for the answer."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
    began = time.time()
    answer = httpx.post(
        f"{url}/api/bulk", content=lines(prefix, total), headers=headers, timeout=ANSWER_SECONDS, trust_env=False
    )
    if answer.status_code != 202:
        raise Wrong(f"{answer.status_code}: {answer.text}")
    accepted = answer.json()
    if accepted["total"] != total:
        raise Wrong(f"accepted with {accepted}")
    return Upload(accepted["id"], began, time.time())


def lines(prefix: str, total: int) -> Iterator[bytes]:
    """A body: the notification, and an id a line, the last of each block twice."""
    yield msgspec.json.encode(NOTIFICATION) + b"\n"
    for start in range(0, total, BLOCK):
        ids = [f'"{recipient(prefix, number)}"\n' for number in range(start, min(start + BLOCK, total))]
        yield "".join(ids + ids[-TWICE:]).encode()


def recipient(prefix: str, number: int) -> str:
    """One of a list."""
    return f"{prefix}-{number:07d}"


def wait_until_over(site: Site, job_id: str) -> dict[str, Any]:
    """The job, once it is over."""
    with httpx.Client(base_url=site.url, headers=site.headers, timeout=ANSWER_SECONDS, trust_env=False) as client:
        while True:
            job: dict[str, Any] = client.get(f"/api/bulk/{job_id}").raise_for_status().json()
            if job["finished_at"]:
                return job
            time.sleep(POLL_SECONDS)


def verify(site: Site, job: Mapping[str, Any], total: int) -> None:
    """Raise Wrong unless everybody has one row, every count says so, and nothing is left."""
    database, valkey = site.servers.database, site.servers.valkey
    rows: Any = database.execute(TRUTH, [job["id"]]).fetchone()
    wrong: Any = database.execute(WRONG_INBOXES).fetchone()
    duplicates = -(-total // BLOCK) * TWICE
    found = {
        "status": job["status"],
        **{name: job[name] for name in ("total", "fanned_out", "stored", "failed", "duplicates", "rejected")},
        "rows": rows[0],
        "recipients": rows[1],
        "wrong inboxes": wrong[0],
        "entries in the lane": valkey.xlen(keys.lane(SHARD, "bulk")),
    }
    expected = dict.fromkeys(found, total) | {"status": "done", "failed": 0, "duplicates": duplicates, "rejected": 0}
    expected |= {"wrong inboxes": 0, "entries in the lane": 0}
    if found != expected:
        raise Wrong(f"expected {expected}, found {found}")


def verify_unread(site: Site, total: int, samples: int) -> int:
    """Raise Wrong unless each of some recipients has one unread notification by the API; how many were asked for."""
    chosen = random.Random(1).sample(range(total), min(samples, total))
    with httpx.Client(base_url=site.url, headers=site.headers, timeout=ANSWER_SECONDS, trust_env=False) as client:
        for number in chosen:
            answer = client.get(f"/api/recipients/{recipient('user', number)}/unread").raise_for_status().json()
            if answer != {"unread": 1}:
                raise Wrong(f"{recipient('user', number)}: {answer}")
    return len(chosen)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    much = commands.add_parser("million", help="one notification to very many")
    much.set_defaults(measure=million)
    much.add_argument("--samples", type=int, default=1000, help="recipients whose unread is asked for (%(default)s)")
    apart = commands.add_parser("isolation", help="single notifications meanwhile")
    apart.set_defaults(measure=isolation)
    apart.add_argument("--rounds", type=int, default=3, help="idle and bulk, in turn (%(default)s)")
    apart.add_argument("--idle-seconds", type=int, default=30, help="how long it is idle each time (%(default)s)")
    apart.add_argument("--rate", type=int, default=50, help="POST /api/notify a second (%(default)s)")
    apart.add_argument("--sockets", type=int, default=50, help="recipients of these, each online (%(default)s)")
    for command in (much, apart):
        command.add_argument("--count", dest="total", metavar="N", type=int, default=1_000_000, help="(%(default)s)")
        command.add_argument("--workers", type=int, default=1, help="worker processes (%(default)s)")
    options = vars(parser.parse_args())
    options.pop("measure")(**options)


def seconds_of(job: Mapping[str, Any]) -> float:
    """From a job's start to its end."""
    return (datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["started_at"])).total_seconds()


if __name__ == "__main__":
    main()
