"""What grows: the table, an inbox, the number of workers, webs and shards (see README.md).

python -m benchmarks.growth [tables] [inboxes] [workers] [doors] [--rounds 5] [--millions 1 10] [--days 365]
    [--events 300000] [--json FILE]
"""

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

from benchmarks import report
from benchmarks.figures import Figure, Goal, table, write_json
from benchmarks.growing.doors import doors
from benchmarks.growing.lanes import Lanes
from benchmarks.growing.readers import readers
from benchmarks.growing.tables import DAYS, PRESENT_MS, RECIPIENTS, Table, filled
from benchmarks.load import Load
from benchmarks.measure import Contender, Round, one_round
from benchmarks.servers import Servers, private_servers
from benchmarks.worker import WORKER

T = TypeVar("T")

NAME: Final = "growth"
MILLIONS: Final = (1, 10)
# About as many as fit between two checkpoints: after each, a page is logged whole when it is first written to, and of a
# large table nearly every event finds such a page at first. Fewer events would be measured in that time alone.
EVENTS: Final = 300_000
WARM_UP: Final = 10
# Longer than a round's load took to be accepted: what comes later is younger.
ROUND_MS: Final = 60_000
CREW_EVENTS: Final = 50_000
CREW_RECIPIENTS: Final = 50_000
# Workers, shards.
ALONE: Final = (1, 1)
CREWS: Final = (ALONE, (2, 1), (4, 1), (2, 2), (1, 4), (2, 4), (4, 4))
# Two workers, a back end of PostgreSQL for each, and Valkey.
ENOUGH_CORES: Final = 5

PARTS: Final = ("tables", "inboxes", "workers", "doors")


def measure(
    rounds: int,
    parts: Sequence[str] = PARTS,
    millions: Sequence[int] = MILLIONS,
    events: int = EVENTS,
    days: int = DAYS,
) -> list[Figure]:
    """The row `growth`. It needs 10 GB of disk for ten million rows, and gives them back."""
    found: list[Figure] = []
    with private_servers() as servers, ExitStack() as cleanup:
        if "workers" in parts:
            found += crews(servers, rounds)
        if "doors" in parts:
            found += doors(servers, rounds, NAME)
        if {"tables", "inboxes"} & set(parts):
            tables = [Table(0, servers), *(cleanup.enter_context(filled(servers, size, days)) for size in millions)]
            if "inboxes" in parts:
                found += inboxes(tables[-1], rounds)
            if "tables" in parts:
                found += drains(tables, rounds, events)
    return found


def drains(tables: Sequence[Table], rounds: int, events: int) -> list[Figure]:
    """One worker's rate in each table. A round's load is new to all of them, and stays in those that are filled."""
    work = {one.rows: Lanes(one.servers, keeps_rows=bool(one.rows)) for one in tables}
    measured: dict[int, list[Round]] = {one.rows: [] for one in tables}
    for number in range(rounds + 1):
        first_ms = PRESENT_MS + number * ROUND_MS
        load = list(Load(events if number else events // WARM_UP, RECIPIENTS, seed=number + 1, first_ms=first_ms))
        for one in _turned(tables, number):
            work[one.rows].take(load)
            result = one_round(one.servers, work[one.rows], WORKER, events=len(load))
            _say(number, one.name, result)
            if number:
                measured[one.rows].append(result)
    empty, *full = tables
    found = []
    for one in full:
        goal = Goal(at_least=0.8) if one is full[-1] else None
        found += _against(f"drain into {one.name}", measured[one.rows], empty.name, measured[0], rate_goal=goal)
    return found


def inboxes(large: Table, rounds: int) -> list[Figure]:
    """What a reader of an inbox waits for, large and small."""
    measured: dict[str, list[tuple[list[float], list[float]]]] = defaultdict(list)
    large.servers.valkey.flushall()
    large.servers.settle_down()
    with readers(large) as calls:
        for number in range(rounds + 1):
            print(f"round {number}  inboxes are read" if number else "warm-up", flush=True)
            for what, took in calls.round().items():
                if number:
                    measured[what].append(took)
    ours, other = f"with {large.rows // 100:,}", "with 10 notifications"
    found = []
    for what, rounds_of in measured.items():
        for share, of, goal in (("p50", median, Goal(at_most=1.5)), ("p99", p99, None)):
            here, there = ([of(took[side]) for took in rounds_of] for side in range(2))
            found.append(Figure.against(NAME, f"{what} {ours}, {share}", "ms", here, other, there, goal))
    return found


def crews(servers: Servers, rounds: int) -> list[Figure]:
    """The rate of several workers on several shards, and the CPU that an event costs all processes together."""
    load = list(Load(CREW_EVENTS, CREW_RECIPIENTS))
    measured: dict[tuple[int, int], list[Round]] = {crew: [] for crew in CREWS}
    for number in range(rounds + 1):
        for crew in _turned(CREWS, number):
            workers, shards = crew
            sharded = replace(servers, environment={**servers.environment, "NOTIFY_SHARDS": str(shards)})
            lanes = Lanes(sharded, shards=shards, consumers=workers)
            lanes.take(load)
            result = one_round(sharded, lanes, _crew(workers), events=len(load))
            _say(number, _crew_name(crew), result)
            if number:
                measured[crew].append(result)
    found = []
    for crew in CREWS[1:]:
        rate_goal, cpu_goal = _crew_goals() if crew == (2, 2) else (None, None)
        found += _against(
            f"drain by {_crew_name(crew)}", measured[crew], _crew_name(ALONE), measured[ALONE], rate_goal, cpu_goal
        )
    return found


def main() -> None:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (%(default)s)")
    parser.add_argument("--millions", type=int, nargs="+", default=MILLIONS, help="rows in the tables (%(default)s)")
    parser.add_argument("--days", type=int, default=DAYS, help="that the rows are spread over (%(default)s)")
    parser.add_argument("--events", type=int, default=EVENTS, help="of a drain into a table (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to this file too")
    options = parser.parse_args()
    if wrong := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(wrong)}")
    found = measure(options.rounds, options.parts or PARTS, options.millions, options.events, options.days)
    with private_servers() as servers:
        around = report.surroundings(servers)
    print(table(found, around))
    if options.json:
        write_json(options.json, found, around)


def p99(values: Sequence[float]) -> float:
    """The 99th percentile."""
    return sorted(values)[len(values) * 99 // 100]


def _against(
    what: str,
    ours: Sequence[Round],
    other: str,
    theirs: Sequence[Round],
    rate_goal: Goal | None = None,
    cpu_goal: Goal | None = None,
) -> list[Figure]:
    """Rate and CPU of the same rounds."""
    rates = [[one.rate for one in rounds] for rounds in (ours, theirs)]
    cpu = [[sum(map(one.cpu_per_1000, one.cpu_seconds)) for one in rounds] for rounds in (ours, theirs)]
    return [
        Figure.against(NAME, what, "events/s", rates[0], other, rates[1], rate_goal),
        Figure.against(NAME, f"{what}: all processes", "CPU s/1000", cpu[0], other, cpu[1], cpu_goal),
    ]


def _crew(workers: int) -> Contender:
    return Contender("crew", (sys.executable, "-m", "benchmarks.growing.crew", str(workers)))


def _crew_name(crew: tuple[int, int]) -> str:
    workers, shards = crew
    return f"{workers} worker{'s'[: workers - 1]} on {shards} shard{'s'[: shards - 1]}"


def _crew_goals() -> tuple[Goal | None, Goal | None]:
    """Where there are no cores for a second worker, that an event costs no more shows the same."""
    enough = (os.cpu_count() or 1) >= ENOUGH_CORES
    return (Goal(at_least=1.5), None) if enough else (None, Goal(at_most=1.1))


def _turned(things: Sequence[T], number: int) -> list[T]:
    """In another order each round, so that each begins as often."""
    turn = number % len(things)
    return [*things[turn:], *things[:turn]]


def _say(number: int, what: str, result: Round) -> None:
    label = f"round {number}" if number else "warm-up"
    print(f"{label}  {what:<24} {result.rate:>8,.0f} events/s  others {result.others:.1f} cores", flush=True)


if __name__ == "__main__":
    main()
