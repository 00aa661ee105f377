"""Schedules: very many that are due in one second, and what very many cost that wait (see README.md).

python -m benchmarks.schedules due [--count 10000] [--spread-ms 1000] [--workers 1] [--rate 50]
python -m benchmarks.schedules waiting [--count 1000000] [--idle-seconds 20]
"""

import argparse
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks import report
from benchmarks.load import WRONG_INBOXES, Load
from benchmarks.meanwhile import posting, print_answers
from benchmarks.measure import cpu_seconds
from benchmarks.servers import Servers, consumer, private_servers
from notifications.events import Draft
from notifications.stream import delayed, keys
from notifications.stream.client import Shards
from notifications.stream.clock import ServerClock
from notifications.stream.schedules import FIRE_AT_ONCE, Kept, Schedules
from notify_project.local.children import PROJECT, kinds, manage
from notify_project.local.web import Address
from scheduler import schedule
from scheduler.schedule import About

SHARD: Final = 0
HOST: Final = "127.0.0.1"
# They accept schedules together.
CLIENTS: Final = 20
SCHEDULER: Final = manage("scheduler")
PATIENCE_MS: Final = 30_000
CHUNK: Final = 1000
POLL_SECONDS: Final = 0.005
READY_SECONDS: Final = 60.0
LONGEST_SECONDS: Final = 1800.0
# Before the storm: to plan and record so many a second, and to have a quiet time besides.
AHEAD_PER_SECOND: Final = 2000
QUIET_SECONDS: Final = 10.0
DAY_MS: Final = 24 * 3600 * 1000
LOOKS: Final = 1000
ROUNDS: Final = 20

# Lateness in ms: of the firing, by Redis' clock, and of the row, by the worker's on the same machine.
LATENESS: Final = """
    WITH planned AS (
        SELECT id, status, extract(epoch FROM last_run_at) * 1000 AS ran,
            (convert_from(about, 'UTF8')::jsonb ->> 'at_ms')::bigint AS due
        FROM scheduler_schedule
    ), late AS (
        SELECT ran - due AS fired, extract(epoch FROM stored_at) * 1000 - due AS stored
        FROM planned JOIN notifications_notification USING (id)
        WHERE planned.status = 1
    )
    SELECT count(*), count(*) FILTER (WHERE fired < 0),
        percentile_disc(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY fired),
        percentile_disc(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY stored)
    FROM late
"""


class Wrong(Exception):
    """Something was lost, doubled or early, or never came; the numbers are worth nothing."""


class Late(NamedTuple):
    """By how many ms the middle one, the 99th of a hundred and the last one were late."""

    p50: float
    p99: float
    worst: float

    def __str__(self) -> str:
        return f"p50 {self.p50:,.0f} ms, p99 {self.p99:,.0f} ms, worst {self.worst:,.0f} ms"


def due(total: int, spread_ms: int, workers: int, rate: int) -> tuple[Late, Late]:
    """Fire `total` in one second with two schedulers, one of them killed half-way; how late they fired and were rows.

    All that it found is printed, too.
    """
    with private_servers() as servers, ExitStack() as processes:
        bench = Bench(servers)
        url = processes.enter_context(web(servers))
        for number in range(workers):
            processes.enter_context(consumer(servers, f"worker-{number}", manage("worker")))
        doomed, _ = (processes.enter_context(consumer(servers, f"scheduler-{n}", SCHEDULER)) for n in range(2))
        first_ms = bench.schedules.now_ms() + int(1000 * (QUIET_SECONDS + total / AHEAD_PER_SECOND))
        bench.plan(kepts(total, lambda number: first_ms + (number * spread_ms // total if spread_ms else 0)))
        until(lambda: not bench.unrecorded())
        ahead = first_ms / 1000 - time.time()
        print(f"{total:,} planned and recorded {ahead:.1f} s before the first is due", flush=True)
        with posting(url, api_key(servers), rate) as answers:
            # The first answers of a web that has just started are slow.
            until(lambda: len(answers) >= 2 * rate)
            began = time.time()
            until(lambda: bench.fired() >= total // 2)
            doomed.kill()
            halfway = bench.fired()
            until(lambda: bench.fired() >= total)
            over = time.time()
            until(lambda: not bench.unrecorded() and bench.rows() >= total)
            drained = time.time()
        until(lambda: not servers.valkey.hlen(keys.inflight(SHARD)))
        bench.verify(total, len(answers))
        print(
            f"one of two schedulers killed when {halfway:,} had fired; all had {over - first_ms / 1000:.2f} s after the"
        )
        print(f"first was due, all were rows, and recorded as fired, {drained - first_ms / 1000:.2f} s after it")
        fired, stored = lateness(servers, total)
        print(f"each fired once, none early; late by: fired {fired}; stored {stored}")
        phases = {"quiet": (began, first_ms / 1000), "firing": (first_ms / 1000, over), "storing": (over, drained)}
        print_answers(answers, phases)
        print_surroundings(servers)
    return fired, stored


def waiting(total: int, idle_seconds: int) -> None:
    """Let `total` wait; print what that costs in memory, in a tick, at rest, and to compare and restore."""
    with private_servers() as servers:
        bench = Bench(servers)
        with consumer(servers, "scheduler", SCHEDULER) as process:
            until(lambda: not bench.schedules.lost())
            print(f"0 waiting: {idle_cpu(process, idle_seconds)}", flush=True)
        print(bench.tick(), flush=True)
        bench.empty()
        before, began = bench.memory(), time.perf_counter()
        soonest_ms, chance = bench.schedules.now_ms() + DAY_MS, random.Random(1)
        bench.plan(kepts(total, lambda _: soonest_ms + chance.randrange(365 * DAY_MS)))
        print(f"{total:,} planned, {total / (time.perf_counter() - began):,.0f} a second")
        print(f"Redis, not recorded yet: {(bench.memory() - before) / total:,.0f} bytes each", flush=True)
        began = time.perf_counter()
        with consumer(servers, "scheduler", SCHEDULER) as process:
            until(lambda: not bench.unrecorded())
            print(f"recorded in {time.perf_counter() - began:.1f} s, the scheduler's start included")
            print(f"Redis, recorded: {(bench.memory() - before) / total:,.0f} bytes each")
            print(f"PostgreSQL: {bench.table_bytes() / total:,.0f} bytes each, with indexes", flush=True)
            until(lambda: not bench.schedules.lost())
            servers.settle_down()
            print(f"{total:,} waiting: {idle_cpu(process, idle_seconds)}", flush=True)
            servers.valkey.delete(keys.compared(SHARD))
            print(f"compared, nothing lost, in {bench.comparison_seconds():.1f} s", flush=True)
            servers.valkey.flushall()
            seconds = bench.comparison_seconds()
            if servers.valkey.zcard(keys.scheduled(SHARD)) != total:
                raise Wrong("not all of them came back")
            print(f"compared, all of them lost and put back, in {seconds:.1f} s", flush=True)
        print(bench.tick())
        print_surroundings(servers)


class Bench:
    """One shard's schedules, and both servers as they see them."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._valkey: Any = servers.valkey
        self.schedules = Schedules(Shards(servers.valkey, 1), ServerClock(servers.valkey), patience_ms=PATIENCE_MS)

    def plan(self, planned: Iterator[Kept]) -> None:
        """Accept schedules as the API does; several at a time, so that they share a sync of the disk."""
        with ThreadPoolExecutor(CLIENTS) as several:
            while chunk := list(islice(planned, CHUNK)):
                list(several.map(self.schedules.plan, chunk))

    def fired(self) -> int:
        """How many firings Redis counted."""
        return int(self._valkey.hget(keys.counters(SHARD), "fired") or 0)

    def unrecorded(self) -> int:
        """How many changes PostgreSQL does not have yet."""
        return int(self._valkey.xlen(keys.changes(SHARD)))

    def rows(self) -> int:
        """How many notifications came of schedules."""
        return self._number("SELECT count(*) FROM notifications_notification WHERE source = 1")

    def empty(self) -> None:
        """Begin anew. Redis frees what it had in a thread of its own."""
        self._valkey.flushall()
        until(lambda: not self._valkey.info("memory")["lazyfree_pending_objects"])

    def memory(self) -> int:
        """Bytes that Redis uses."""
        return int(self._valkey.info("memory")["used_memory"])

    def table_bytes(self) -> int:
        """Bytes of the table and all that belongs to it."""
        return self._number("SELECT pg_total_relation_size('scheduler_schedule')")

    def comparison_seconds(self) -> float:
        """How long a comparison takes that a scheduler is about to begin."""
        until(lambda: self._valkey.get(keys.compared(SHARD)))
        began = time.perf_counter()
        until(lambda: not self.schedules.lost())
        return time.perf_counter() - began

    def tick(self) -> str:
        """What one look costs Redis, with nothing due and with as many as one look takes."""
        nothing = [self._timed(self.schedules.fire) for _ in range(LOOKS)]
        retries = [self._timed(lambda: delayed.move_due(self.schedules.shards)) for _ in range(LOOKS)]
        full = []
        for _ in range(ROUNDS):
            past_ms = self.schedules.now_ms() - 1000
            self.plan(kepts(FIRE_AT_ONCE, lambda _, past_ms=past_ms: past_ms))  # type: ignore[misc]
            full.append(self._timed(self.schedules.fire))
        shown = {"a look for schedules": nothing, "a look for retries": retries, f"{FIRE_AT_ONCE} due": full}
        return "\n".join(f"  {what}: {_us(costs)}" for what, costs in shown.items())

    def verify(self, total: int, posts: int) -> None:
        """Raise Wrong unless each schedule is fired, recorded and one notification, and so is each POST."""
        found = {
            "fired": self.fired(),
            "rows of schedules": self._number(ROWS_OF_THEIR_OWN),
            "rows": self._number("SELECT count(*) FROM notifications_notification"),
            "recorded as fired": self._number("SELECT count(*) FROM scheduler_schedule WHERE status = 1"),
            "wrong inboxes": self._number(WRONG_INBOXES),
            "waiting": self._valkey.zcard(keys.scheduled(SHARD)),
            "kept": self._valkey.hlen(keys.schedules(SHARD)),
            "unrecorded": self.unrecorded(),
        }
        expected = dict.fromkeys(found, 0) | dict.fromkeys(list(found)[:4], total) | {"rows": total + posts}
        if found != expected:
            raise Wrong(f"expected {expected}, found {found}")

    def _timed(self, call: Callable[[], object]) -> tuple[float, float]:
        """Seconds that a call took, and what of them was the server's in a script."""
        before, began = self._script_seconds(), time.perf_counter()
        call()
        seconds = time.perf_counter() - began
        return seconds, self._script_seconds() - before

    def _script_seconds(self) -> float:
        shown = self._valkey.info("commandstats")
        return float(sum(shown.get(f"cmdstat_{name}", {}).get("usec", 0) for name in ("evalsha", "eval"))) / 1e6

    def _number(self, query: str) -> int:
        row = self._servers.database.execute(query).fetchone()
        return int(str(row[0])) if row else 0


# A one-shot schedule's id is its notification's.
ROWS_OF_THEIR_OWN: Final = """
    SELECT count(*) FROM scheduler_schedule AS planned JOIN notifications_notification AS stored
        ON stored.id = planned.id AND stored.source_id = planned.id
"""


def kepts(total: int, due_ms: Callable[[int], int]) -> Iterator[Kept]:
    """Schedules that fire once, for the recipients and with the texts of the worker's load."""
    for number, event in enumerate(Load(total, max(total // 10, 1))):
        draft = Draft(
            recipient=event.recipient,
            type=event.type,
            title=event.title,
            body=event.body,
            data=msgspec.json.decode(event.data),
        )
        due = due_ms(number)
        yield schedule.to_kept(schedule.new(draft, About(at_ms=due, by="benchmark", changed_ms=due), due))


@contextmanager
def web(servers: Servers) -> Iterator[str]:
    """The web, on a free port; its address."""
    with Address(HOST, 0).listener() as listener:
        address = Address(HOST, listener.getsockname()[1])
    command = next(kind.command for kind in kinds(host=HOST, port=address.port, workers=0) if kind.name == "web")
    with consumer(servers, "web", command):
        until(lambda: _alive(address), READY_SECONDS)
        yield address.url


def api_key(servers: Servers) -> str:
    """A fresh API key."""
    made = subprocess.run(
        manage("create_api_key", "benchmark", "--rate", "999999999/s"),
        env=servers.environment,
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    )
    return next(word for word in made.stdout.split() if word.startswith("nk_"))


def idle_cpu(process: "subprocess.Popen[bytes]", seconds: int) -> str:
    """What an idle scheduler uses of a core."""
    # What it did before is over, but for what it collects and closes.
    time.sleep(2)
    before = cpu_seconds(process.pid)
    time.sleep(seconds)
    return f"an idle scheduler uses {(cpu_seconds(process.pid) - before) / seconds:.2%} of a core"


def until(condition: Callable[[], object], seconds: float = LONGEST_SECONDS) -> None:
    """Wait for a condition. Raises Wrong when it never comes."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if condition():
            return
        if began > deadline:
            raise Wrong("it never came")
        # To look is work, too, for those who are measured: the more it is, the more rarely it is done.
        time.sleep(max(POLL_SECONDS, 5 * (time.monotonic() - began)))


def lateness(servers: Servers, total: int) -> tuple[Late, Late]:
    """How late they fired and were stored. Raises Wrong where one was early."""
    found: Any = servers.database.execute(LATENESS).fetchone()
    number, early, fired, stored = found
    if (number, early) != (total, 0):
        raise Wrong(f"{number} of {total} fired and stored, {early} of them early")
    return Late(*map(float, fired)), Late(*map(float, stored))


def print_surroundings(servers: Servers) -> None:
    """Machine, versions and settings."""
    for topic, values in report.surroundings(servers).items():
        print(f"{topic}: " + ", ".join(f"{name} {value}" for name, value in values.items()))


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedules", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    storm = commands.add_parser("due", help="many due in one second")
    storm.set_defaults(measure=due)
    storm.add_argument("--count", dest="total", metavar="N", type=int, default=10_000, help="schedules (%(default)s)")
    storm.add_argument("--spread-ms", type=int, default=1000, help="due within so many ms; 0: at once (%(default)s)")
    storm.add_argument("--workers", type=int, default=1, help="workers that store them (%(default)s)")
    storm.add_argument("--rate", type=int, default=50, help="POST /api/notify a second meanwhile (%(default)s)")
    rest = commands.add_parser("waiting", help="many that wait")
    rest.set_defaults(measure=waiting)
    rest.add_argument("--count", dest="total", metavar="N", type=int, default=1_000_000, help="schedules (%(default)s)")
    rest.add_argument("--idle-seconds", type=int, default=20, help="how long to look at an idle one (%(default)s)")
    options = vars(parser.parse_args())
    options.pop("measure")(**options)


def _alive(address: Address) -> bool:
    try:
        return address.get("/healthz", HOST)[0] == 200
    except OSError:
        return False


def _us(costs: Sequence[tuple[float, float]]) -> str:
    took, server = (sorted(column) for column in zip(*costs, strict=True))
    middle = (
        f"{statistics.median(server) * 1e6:,.0f} µs in Redis, {statistics.median(took) * 1e6:,.0f} µs there and back"
    )
    return f"{middle} (worst {took[-1] * 1e6:,.0f} µs)"


if __name__ == "__main__":
    main()
