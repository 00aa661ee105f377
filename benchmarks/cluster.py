"""What shards and nodes cost: an event, and a system in which nothing happens (see README.md).

python -m benchmarks.cluster [events] [idle] [--rounds 5] [--events 50000] [--seconds 20] [--json FILE]
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import report
from benchmarks.figures import Figure, Goal, table, write_json
from benchmarks.growing.lanes import Lanes
from benchmarks.load import Load
from benchmarks.measure import Round, cpu_seconds, one_round
from benchmarks.servers import REDIS_SECONDS, Servers, consumer, private_servers
from benchmarks.worker import WORKER
from notifications.events import Event
from notifications.stream import keys
from notifications.stream.client import connect
from notify_project.local.children import manage
from notify_project.local.cluster import Cluster
from notify_project.local.valkey import Valkey

NAME: Final = "cluster"
PARTS: Final = ("events", "idle")
EVENTS: Final = 50_000
RECIPIENTS: Final = 50_000
NODES: Final = 3
SETTLE_SECONDS: Final = 10.0
SECONDS: Final = 20
# Who waits for work of every shard.
WAITING: Final = ("worker", "scheduler", "dlq_worker")
ALIKE: Final = Goal(at_most=1.15)


class Layout(NamedTuple):
    """So many nodes and shards."""

    nodes: int
    shards: int

    def __str__(self) -> str:
        nodes = "one server" if self.nodes == 1 else f"a cluster of {self.nodes}"
        return f"{nodes}, {self.shards} shard{'s'[: self.shards - 1]}"


ALONE: Final = Layout(1, 1)
LAYOUTS: Final = (ALONE, Layout(1, 4), Layout(1, 16), Layout(1, 64), Layout(3, 16), Layout(3, 64))
IDLE: Final = (ALONE, Layout(1, 64), Layout(3, 64))


class ClusterLanes(Lanes):
    """The lanes of a cluster. A rename rings no bell, so it is rung here."""

    def __init__(self, servers: Servers, *, shards: int) -> None:
        super().__init__(servers, shards=shards)
        self._heard = [keys.lane(shard, "live") for shard in range(shards)]

    def awaited(self) -> bool:
        """Whether somebody listens to every lane."""
        pipe = self._servers.valkey.pipeline(transaction=False)
        for lane in self._heard:
            # An empty lane is looked at in vain, and that is all.
            pipe.spublish(lane, "")
        return all(pipe.execute())

    def release(self) -> None:
        """Put the load in place, and ring."""
        pipe = self._servers.valkey.pipeline(transaction=False)
        for lane in self._heard:
            pipe.rename(f"{lane}:parked", lane)
            pipe.spublish(lane, "")
        pipe.execute()


def measure(rounds: int, parts: Sequence[str] = PARTS, events: int = EVENTS, seconds: int = SECONDS) -> list[Figure]:
    """Both rows."""
    found: list[Figure] = []
    with private_servers() as alone, clustered(alone) as cluster:
        if "events" in parts:
            found += of_events(alone, cluster, rounds, events)
        if "idle" in parts:
            found += of_idleness(alone, cluster, rounds, seconds)
    return found


def of_events(alone: Servers, cluster: Servers, rounds: int, events: int) -> list[Figure]:
    """What an event costs all processes, from the lane to the row, against one server with one shard."""
    load = list(Load(events, RECIPIENTS))
    measured: dict[Layout, list[float]] = {layout: [] for layout in LAYOUTS}
    rates: dict[Layout, list[float]] = {layout: [] for layout in LAYOUTS}
    for number in range(rounds + 1):
        for layout in LAYOUTS[number % len(LAYOUTS) :] + LAYOUTS[: number % len(LAYOUTS)]:
            result = _drained(alone if layout.nodes == 1 else cluster, layout, load)
            cost = sum(map(result.cpu_per_1000, result.cpu_seconds))
            shares = ", ".join(f"{whose} {result.cpu_per_1000(whose) * 1000:.1f}" for whose in result.cpu_seconds)
            print(
                f"round {number}  {layout}: {result.rate:,.0f} events/s, {cost * 1000:.1f} µs each: {shares}",
                flush=True,
            )
            if number:
                measured[layout].append(cost)
                rates[layout].append(result.rate)
    found = []
    for layout in LAYOUTS[1:]:
        what = f"an event on {layout}"
        found.append(Figure.against(NAME, what, "CPU s/1000", measured[layout], str(ALONE), measured[ALONE], ALIKE))
        found.append(Figure.against(NAME, what, "events/s", rates[layout], str(ALONE), rates[ALONE]))
    return found


def of_idleness(alone: Servers, cluster: Servers, rounds: int, seconds: int) -> list[Figure]:
    """What a worker, a scheduler, a DLQ worker and the servers use of a core while nothing comes in."""
    used: dict[Layout, dict[str, list[float]]] = {layout: {} for layout in IDLE}
    for number in range(rounds):
        for layout in IDLE:
            for whose, percents in _idle(alone if layout.nodes == 1 else cluster, layout, seconds).items():
                used[layout].setdefault(whose, []).append(percents)
            told = ", ".join(f"{whose} {percents[-1]:.2f}" for whose, percents in used[layout].items())
            print(f"look {number}  {layout}: {told}", flush=True)
    return [
        Figure.against(
            NAME, f"idle on {layout}: {whose}", "% of a core", used[layout][whose], str(ALONE), used[ALONE][whose]
        )
        for layout in IDLE[1:]
        for whose in used[layout]
    ]


@contextmanager
def clustered(alone: Servers) -> Iterator[Servers]:
    """The same PostgreSQL, with a cluster in Valkey's place; frames go by that Valkey."""
    with ExitStack() as cleanup:
        nodes = Cluster(alone.folder / "cluster", NODES)
        cleanup.callback(nodes.stop)
        nodes.start()
        client = cleanup.enter_context(connect(nodes.url, timeout_seconds=REDIS_SECONDS))
        environment = {
            **alone.environment,
            "REDIS_URL": nodes.url,
            "CHANNEL_REDIS_URL": alone.environment["REDIS_URL"],
        }
        pids = {whose: pid for whose, pid in alone.pids.items() if whose != Valkey.label}
        pids |= {f"node {number}": node.process.pid for number, node in enumerate(nodes.nodes) if node.process}
        yield replace(alone, valkey=client, environment=environment, pids=pids)


def main() -> None:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (%(default)s)")
    parser.add_argument("--events", type=int, default=EVENTS, help="of a drain (%(default)s)")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of a look at idle processes (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to this file too")
    options = parser.parse_args()
    if wrong := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(wrong)}")
    found = measure(options.rounds, options.parts or PARTS, options.events, options.seconds)
    with private_servers() as servers:
        around = report.surroundings(servers)
    print(table(found, around))
    if options.json:
        write_json(options.json, found, around)


def _drained(servers: Servers, layout: Layout, load: list[Event]) -> Round:
    sharded = _sharded(servers, layout)
    lanes = Lanes if layout.nodes == 1 else ClusterLanes
    work = lanes(sharded, shards=layout.shards)
    work.take(load)
    return one_round(sharded, work, WORKER, events=len(load))


def _idle(servers: Servers, layout: Layout, seconds: int) -> dict[str, float]:
    """Percents of a core, by whose they are; all nodes of a cluster together."""
    servers.valkey.flushall()
    sharded = _sharded(servers, layout)
    with ExitStack() as cleanup:
        pids = {name: [cleanup.enter_context(consumer(sharded, name, manage(name))).pid] for name in WAITING}
        pids["Valkey"] = [
            pid for whose, pid in servers.pids.items() if whose == Valkey.label or whose.startswith("node")
        ]
        time.sleep(SETTLE_SECONDS)
        before = {whose: sum(map(cpu_seconds, several)) for whose, several in pids.items()}
        time.sleep(seconds)
        return {
            whose: 100 * (sum(map(cpu_seconds, several)) - before[whose]) / seconds for whose, several in pids.items()
        }


def _sharded(servers: Servers, layout: Layout) -> Servers:
    return replace(servers, environment={**servers.environment, "NOTIFY_SHARDS": str(layout.shards)})


if __name__ == "__main__":
    main()
