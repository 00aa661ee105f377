"""Accepting: `POST /api/notify`, one event a request and a hundred, beside others that accept (see README.md).

python -m benchmarks.accept [--rounds 5] [--requests 6000] [--batches 300] [--clients 32] [--json result.json]
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import report
from benchmarks.accepting.client import Order
from benchmarks.accepting.contenders import DRF, EXPRESS_IN_REDIS, Door, notify, others, standing
from benchmarks.figures import Figure, Goal, table, write_json
from benchmarks.load import WrongResult
from benchmarks.measure import Spread, Stuck, cpu_seconds, foreign_seconds
from benchmarks.servers import Servers, private_servers
from notify_project.local.children import PROJECT, manage

NAME: Final = "accept"
REQUESTS: Final = 6000
BATCHES: Final = 300
CLIENTS: Final = 32
BATCH: Final = 100
US: Final = 1_000_000
# Enough for a round at once, and so little a second that what was taken is still to be seen after it.
RATE: Final = "10000000/d"

ONE_GOALS: Final = {DRF: Goal(at_least=0.95), EXPRESS_IN_REDIS: Goal(at_least=0.5)}
BATCH_GOAL: Final = Goal(at_least=15)
# Express takes one event a request; what it could do with a batch of its own is shown, too.
EXPRESS_GOAL: Final = Goal(at_least=4)


class Clients:
    """The process with the clients (accepting/client.py)."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, line: str) -> "Answered":
        """Give an order and wait until it is done. Raises Stuck where it never will be."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        if answer := self._process.stdout.readline():
            return msgspec.json.decode(answer, type=Answered)
        raise Stuck("the clients' process ended")


class Answered(msgspec.Struct):
    """What the clients say of a run: its time, their own CPU, answers by status."""

    seconds: float
    cpu_seconds: float
    statuses: dict[str, int]


@dataclass(frozen=True)
class Load:
    """So many requests of so many events each; 0: one, by itself."""

    title: str
    requests: int
    size: int
    clients: int

    @property
    def warm_up(self) -> int:
        """Requests that nobody counts: every thread of the contender has its connections after them."""
        return max(self.clients, self.requests // 10)

    @property
    def events(self) -> int:
        """Events on the clock."""
        return self.requests * max(1, self.size)


@dataclass(frozen=True)
class Shot:
    """What one contender took: events a second; µs of CPU a request of the web and of Valkey; cores of all else."""

    rate: float
    web_us: float
    valkey_us: float
    clients: float
    others: float


def measure(rounds: int, requests: int = REQUESTS, batches: int = BATCHES, clients: int = CLIENTS) -> list[Figure]:
    """Every figure of accepting."""
    with private_servers() as servers:
        return of(servers, rounds, requests, batches, clients)


def of(servers: Servers, rounds: int, requests: int, batches: int, clients: int) -> list[Figure]:
    """The same, with servers that run already."""
    one = Load("one at a time", requests, 0, clients)
    hundred = Load(f"in batches of {BATCH}", batches, BATCH, clients)
    with ExitStack() as cleanup, crowd() as process:
        key = api_key(servers)
        doors = [
            cleanup.enter_context(standing(servers, contender)) for contender in (notify(servers.folder), *others())
        ]
        shots = {load.title: in_turn(servers, process, key, doors, load, rounds) for load in (one, hundred)}
    return [*_one(shots[one.title]), *_batches(shots[hundred.title], shots[one.title])]


def api_key(servers: Servers) -> str:
    """A fresh API key with a rate that refuses nothing, and counts."""
    command = manage("create_api_key", "benchmark", "--rate", RATE)
    made = subprocess.run(
        command, env=servers.environment, cwd=PROJECT, check=True, capture_output=True, text=True
    ).stdout
    return next(word for word in made.split() if word.startswith("nk_"))


@contextmanager
def crowd() -> Iterator[Clients]:
    """The clients' process."""
    command = (sys.executable, "-m", "benchmarks.accepting.client")
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Clients(process)
        finally:
            process.kill()


def in_turn(
    servers: Servers, clients: Clients, key: str, doors: Sequence[Door], load: Load, rounds: int
) -> dict[str, list[Shot]]:
    """Every contender once a round; who begins, alternates. One round before them is not counted."""
    shots: dict[str, list[Shot]] = {door.contender.name: [] for door in doors}
    for number in range(rounds + 1):
        for door in doors if number % 2 else reversed(doors):
            order = Order(door.port, key, load.size, load.requests, load.clients, load.warm_up, seed=number + 1)
            shot = one_shot(servers, clients, door, order, load)
            print(_line(number, door.contender.name, load, shot), flush=True)
            if number:
                shots[door.contender.name].append(shot)
    return shots


def one_shot(servers: Servers, clients: Clients, door: Door, order: Order, load: Load) -> Shot:
    """From nothing: warm up, measure, and see whether all of it was accepted. Raises WrongResult."""
    servers.valkey.flushall()
    servers.settle_down()
    clients.ask(json.dumps(msgspec.to_builtins(order)))
    pids = {"web": door.process.pid, "Valkey": servers.pids["Valkey"]}
    before = {whose: cpu_seconds(pid) for whose, pid in pids.items()}
    busy = foreign_seconds()
    answered = clients.ask("go")
    busy = foreign_seconds() - busy
    spent = {whose: cpu_seconds(pid) - before[whose] for whose, pid in pids.items()}
    _verify(servers, door, load, answered)
    known = sum(spent.values()) + answered.cpu_seconds
    return Shot(
        rate=load.events / answered.seconds,
        web_us=spent["web"] / load.requests * US,
        valkey_us=spent["Valkey"] / load.requests * US,
        clients=answered.cpu_seconds / answered.seconds,
        others=max(0.0, busy - known) / answered.seconds,
    )


def _verify(servers: Servers, door: Door, load: Load, answered: Answered) -> None:
    contender, requests = door.contender, load.requests + load.warm_up
    found = contender.look(servers.valkey)
    expected = contender.expected(requests, requests * max(1, load.size))
    if answered.statuses != {"202": load.requests} or found != expected:
        raise WrongResult(f"{contender.name}: {answered.statuses}; expected {expected}, found {found}")


def _one(shots: Mapping[str, Sequence[Shot]]) -> list[Figure]:
    """One event a request: the rate, and the CPU behind it, which does not depend on who else shares the cores."""
    return [
        *_against("one at a time", "events/s", shots, lambda shot: shot.rate, ONE_GOALS),
        *_against("one at a time, CPU of the web", "µs/request", shots, lambda shot: shot.web_us),
        *_against("one at a time, CPU of Valkey", "µs/request", shots, lambda shot: shot.valkey_us),
        *_clients("one at a time", shots),
    ]


def _batches(shots: Mapping[str, Sequence[Shot]], one: Mapping[str, Sequence[Shot]]) -> list[Figure]:
    """A hundred events a request, against one a request, and against the others in both ways."""
    what = f"in batches of {BATCH}"
    ours, *rest = shots
    rates = [shot.rate for shot in shots[ours]]

    def against(other: str, goal: Goal) -> Figure:
        theirs = [shot.rate for shot in one[other]]
        return Figure.against(NAME, what, "events/s", rates, f"{other}, one at a time", theirs, goal)

    return [
        against(ours, BATCH_GOAL),
        *(against(other, EXPRESS_GOAL) for other in rest if other == EXPRESS_IN_REDIS),
        *_against(what, "events/s", shots, lambda shot: shot.rate),
        *_against(f"{what}, CPU of the web", "µs/request", shots, lambda shot: shot.web_us),
        *_against(f"{what}, CPU of Valkey", "µs/request", shots, lambda shot: shot.valkey_us),
        *_clients(what, shots),
    ]


def _against(
    what: str,
    unit: str,
    shots: Mapping[str, Sequence[Shot]],
    of_shot: Callable[[Shot], float],
    goals: Mapping[str, Goal] | None = None,
) -> list[Figure]:
    """Ours against each of the others; where theirs is nothing (Valkey without work), ours alone."""
    ours, *others = shots
    values = [of_shot(shot) for shot in shots[ours]]
    found = []
    for other in others:
        theirs = [of_shot(shot) for shot in shots[other]]
        if all(value > 1 for value in theirs):
            found.append(Figure.against(NAME, what, unit, values, other, theirs, (goals or {}).get(other)))
    return found


def _clients(what: str, shots: Mapping[str, Sequence[Shot]]) -> list[Figure]:
    """What the load generator itself took, with the contender that gave it most to do."""
    busiest = max(shots.values(), key=lambda known: max(shot.clients for shot in known))
    spread = Spread.of(shot.clients * 100 for shot in busiest)
    return [Figure(NAME, f"{what}, the clients themselves at most", "% of a core", spread)]


def _line(number: int, name: str, load: Load, shot: Shot) -> str:
    label = f"round {number}" if number else "warm-up"
    cpu = f"web {shot.web_us:,.0f} µs, Valkey {shot.valkey_us:,.0f} µs a request"
    shares = f"clients {shot.clients:.2f}, others {shot.others:.1f} cores"
    return f"{label}  {name:<26} {load.title:<18} {shot.rate:>8,.0f} events/s  {cpu}; {shares}"


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accept", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="that count; one more before them does not (%(default)s)")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of one event each (%(default)s)")
    parser.add_argument("--batches", type=int, default=BATCHES, help=f"of {BATCH} events each (%(default)s)")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="connections at a time (%(default)s)")
    parser.add_argument("--json", type=Path, help="a file for the result")
    options = parser.parse_args()
    with private_servers() as servers:
        found = of(servers, options.rounds, options.requests, options.batches, options.clients)
        around = report.surroundings(servers)
    print(table(found, around))
    if options.json:
        write_json(options.json, found, around)


if __name__ == "__main__":
    main()
