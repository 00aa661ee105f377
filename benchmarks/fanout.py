"""Fan-out: one notification to very many, and one each to thousands who are online (see README.md).

python -m benchmarks.fanout [--rounds 5] [--sockets 5000] [--bulk 200000] [--json result.json]
"""

import argparse
import resource
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import bulk, figures
from benchmarks.fanning.sides import Sockets, sides
from benchmarks.figures import Figure, Goal
from benchmarks.measure import Spread, cpu_seconds
from benchmarks.schedules import Wrong
from benchmarks.servers import Servers, private_servers
from benchmarks.sockets import OTHER_FILES

SOCKETS: Final = 5000
BULK: Final = 200_000
# The first is not counted: each socket's first frame makes what later ones find.
WAVES: Final = 4
NAME: Final = "fan-out"
FRAME: Final = Goal(at_most=0.25)
MEMORY: Final = Goal(at_most=35)
# Whom the goal names: the server that the gateway is made of.
COMPARED: Final = "Daphne"


class Cost(NamedTuple):
    """What one server's sockets cost it: kB (1000 bytes) each, and µs of CPU a frame."""

    kilobytes: float
    frame_us: float


def measure(rounds: int, number: int = SOCKETS, total: int = BULK) -> list[Figure]:
    """The rows of this benchmark."""
    number = min(number, _raise_limit() - OTHER_FILES)
    with private_servers() as servers:
        rates = bulks(servers, rounds, total)
        costs = frames(servers, rounds, number)
    ours = costs.pop("Notify")
    shown = [Figure(NAME, f"a bulk of {total:,}", "events/s", Spread.of(rates))]
    for name, theirs in costs.items():
        shown.append(
            Figure.against(
                NAME,
                f"one each to {number:,} sockets",
                "CPU µs/frame",
                [cost.frame_us for cost in ours],
                f"group_send, {name}",
                [cost.frame_us for cost in theirs],
                FRAME if name == COMPARED else None,
            )
        )
    for name, theirs in costs.items():
        shown.append(
            Figure.against(
                NAME,
                "memory of a socket",
                "kB",
                [cost.kilobytes for cost in ours],
                f"plain, {name}",
                [cost.kilobytes for cost in theirs],
            )
        )
    shown.append(Figure(NAME, "memory of a socket", "kB", Spread.of(cost.kilobytes for cost in ours), goal=MEMORY))
    return shown


def bulks(servers: Servers, rounds: int, total: int) -> list[float]:
    """Events a second of one notification to `total` recipients, others in each round; the first is not counted."""
    rates = []
    with bulk.deployment(servers, workers=1) as site:
        for number in range(rounds + 1):
            servers.settle_down()
            upload = bulk.send(site.url, site.key, f"round-{number}", total)
            job = bulk.wait_until_over(site, upload.job_id)
            bulk.verify(site, job, total)
            rates.append(total / bulk.seconds_of(job))
            print(f"bulk {number}: {rates[-1]:,.0f} events/s", flush=True)
    return rates[1:]


def frames(servers: Servers, rounds: int, number: int) -> dict[str, list[Cost]]:
    """What sockets cost each side, in turn; who begins, alternates, and the first round is not counted."""
    known = sides(servers)
    costs: dict[str, list[Cost]] = {side.name: [] for side in known}
    for turn in range(rounds + 1):
        for side in known if turn % 2 else reversed(known):
            recipients = [f"round-{turn}-reader-{one:05}" for one in range(number)]
            with side.start(recipients) as sockets:
                cost = cost_of(sockets, number)
            print(f"round {turn}  {side.name:<8} {cost.frame_us:.1f} µs/frame  {cost.kilobytes:.1f} kB", flush=True)
            if turn:
                costs[side.name].append(cost)
    return costs


def cost_of(sockets: Sockets, number: int) -> Cost:
    """Open them all, send each a frame a few times, and look at the server meanwhile. Raises Wrong for a lost one."""
    before = memory(sockets)
    opened = sockets.clients.ask("open")
    if opened["refused"]:
        raise Wrong(f"refused: {opened['refused']}")
    held = memory(sockets) - before
    spent = 0.0
    for seq in range(1, WAVES + 1):
        used = cpu_seconds(sockets.process.pid)
        sockets.send(seq)
        heard = sockets.clients.ask("heard", seq)
        if heard["resumes"]:
            print(f"{heard['resumes']} resumed", flush=True)
        if seq > 1:
            spent += cpu_seconds(sockets.process.pid) - used
    return Cost(held / number / 1000, spent / number / (WAVES - 1) * 1e6)


def memory(sockets: Sockets) -> int:
    """Bytes of a server's processes."""
    processes = [sockets.process, *sockets.process.children(recursive=True)]
    return sum(process.memory_info().rss for process in processes)


def _raise_limit() -> int:
    """Let servers that do not do so themselves have as many files as this system gives them; how many that are."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fanout", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (%(default)s)")
    parser.add_argument("--sockets", type=int, default=SOCKETS, help="one a recipient (%(default)s)")
    parser.add_argument("--bulk", type=int, default=BULK, help="recipients of the bulk (%(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the result, too")
    options = parser.parse_args(arguments)
    found = measure(options.rounds, options.sockets, options.bulk)
    print(figures.table(found, {}))
    if options.json:
        figures.write_json(options.json, found, {})


if __name__ == "__main__":
    main()
