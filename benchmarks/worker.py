"""How fast one worker drains a full stream: beside the floor, and beside other task queues (see README.md).

python -m benchmarks.worker [--events 100000] [--recipients 50000] [--rounds 5] [--peers huey,celery] [--json FILE]
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import figures, report
from benchmarks.figures import Figure, Goal
from benchmarks.load import Lane, Load
from benchmarks.measure import Contender, Round, Work, one_round
from benchmarks.peers import queues
from benchmarks.peers.queues import PEERS, Peer, Tasks
from benchmarks.servers import Servers, private_servers
from notify_project.local.children import manage

WORKER = Contender("worker", manage("worker"))
FLOOR = Contender("floor", (sys.executable, "-m", "benchmarks.floor"))

EVENTS: Final = 100_000
RECIPIENTS: Final = 50_000
# What processes have worked is told in hundredths of a second; less than one is taken for one, as nothing has no ratio.
TICK_SECONDS: Final = 0.01
FLOOR_GOAL: Final = Goal(at_least=0.75)


@dataclass(frozen=True)
class Entrant:
    """A contender, what it is given to do, and what it is called in the table."""

    contender: Contender
    work: Work
    events: int
    label: str = ""
    goal: Goal | None = None

    def run(self, servers: Servers, number: int) -> Round:
        """One round; `number` 0 is the one that is not counted."""
        result = one_round(servers, self.work, self.contender, events=self.events)
        rate = f"{result.rate:>8,.0f} events/s  {self.events:,} in {result.seconds:.2f} s"
        label = f"round {number}" if number else "warm-up"
        print(f"{label}  {self.contender.name:<12} {rate}  others {result.others:.1f} cores", flush=True)
        return result


def measure(
    rounds: int, *, events: int = EVENTS, recipients: int = RECIPIENTS, peers: Sequence[Peer] = PEERS
) -> list[Figure]:
    """The worker against each of the others: events a second, and CPU seconds per 1000 events by whose they are."""
    with private_servers() as servers:
        return measure_on(servers, rounds, Load(events, recipients), peers)


def measure_on(servers: Servers, rounds: int, load: Load, peers: Sequence[Peer]) -> list[Figure]:
    """The same on servers that run. Peers that are not installed are left out, and a line says so."""
    if peers and not queues.installed():
        print(f"left out, as {queues.HOME.name} is not there (make bench): {', '.join(peer.name for peer in peers)}")
        peers = ()
    lane = Lane(servers, load)
    ours = Entrant(WORKER, lane, load.events)
    others = [
        Entrant(FLOOR, lane, load.events, "floor", FLOOR_GOAL),
        *(_entrant(servers, peer, load) for peer in peers),
    ]
    measured = _in_turn(servers, (ours, *others), rounds)
    return [figure for other in others for figure in _figures(measured[WORKER.name], other, measured)]


def _entrant(servers: Servers, peer: Peer, load: Load) -> Entrant:
    """A peer with as many of the load's events as it gets."""
    part = Load(min(peer.events, load.events), load.recipients, load.seed)
    label = f"{peer.label()}, {part.events:,} events"
    return Entrant(peer.contender, Tasks(servers, peer, part), part.events, label, peer.goal)


def _in_turn(servers: Servers, entrants: Sequence[Entrant], rounds: int) -> dict[str, list[Round]]:
    """Everybody once a round, and once before that is not counted; who begins, alternates."""
    measured: dict[str, list[Round]] = {entrant.contender.name: [] for entrant in entrants}
    for number in range(rounds + 1):
        for entrant in entrants if number % 2 else reversed(entrants):
            result = entrant.run(servers, number)
            if number:
                measured[entrant.contender.name].append(result)
    return measured


def _figures(ours: Sequence[Round], other: Entrant, measured: Mapping[str, Sequence[Round]]) -> Iterable[Figure]:
    theirs = measured[other.contender.name]
    rates = [one.rate for one in ours], [one.rate for one in theirs]
    yield Figure.against("worker", "drain", "events/s", rates[0], other.label, rates[1], other.goal)
    for whose in ours[0].cpu_seconds:
        spent = [
            [max(one.cpu_per_1000(whose), 1000 * TICK_SECONDS / one.events) for one in rounds]
            for rounds in (ours, theirs)
        ]
        yield Figure.against("worker", f"CPU of {whose}", "CPU s/1000", spent[0], other.label, spent[1])


def main() -> None:
    """Measure, print the table, write the file."""
    options = _options()
    peers = [peer for peer in PEERS if peer.name in options.peers]
    with private_servers() as servers:
        found = measure_on(servers, options.rounds, Load(options.events, options.recipients), peers)
        around = report.surroundings(servers)
    print(figures.table(found, around))
    if options.json:
        figures.write_json(options.json, found, around)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=_positive, default=EVENTS, help="events in the stream (%(default)s)")
    parser.add_argument(
        "--recipients", type=_positive, default=RECIPIENTS, help="recipients they are drawn from (%(default)s)"
    )
    parser.add_argument("--rounds", type=_positive, default=5, help="counted rounds of each (%(default)s)")
    names = [peer.name for peer in PEERS]
    parser.add_argument(
        "--peers", type=_names, default=names, metavar="NAMES", help=f"of {','.join(names)}; none: '' (all)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to this file too")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := set(names) - {peer.name for peer in PEERS}:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    main()
