"""How fast one worker drains a full stream, and how fast the floor does, side by side (see README.md).

python -m benchmarks.worker [--events 50000] [--recipients 50000] [--rounds 5] [--json FILE]
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report
from benchmarks.load import Lane, Load
from benchmarks.measure import Contender, in_turn
from benchmarks.servers import private_servers
from notify_project.local.children import manage

WORKER = Contender("worker", manage("worker"))
FLOOR = Contender("floor", (sys.executable, "-m", "benchmarks.floor"))


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    events: int
    recipients: int
    rounds: int
    json: Path | None

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> "Options":
        """Read the command line."""
        parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__.splitlines()[0])
        parser.add_argument("--events", type=_positive, default=50_000, help="events in the stream (%(default)s)")
        parser.add_argument(
            "--recipients", type=_positive, default=50_000, help="recipients they are drawn from (%(default)s)"
        )
        parser.add_argument("--rounds", type=_positive, default=5, help="counted rounds of each (%(default)s)")
        parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to this file too")
        return cls(**vars(parser.parse_args(arguments)))


def main() -> None:
    """Measure, print the table, write the file."""
    options = Options.parse()
    with private_servers() as servers:
        lane = Lane(servers, Load(options.events, options.recipients))
        measured = in_turn(servers, lane, (WORKER, FLOOR), events=options.events, rounds=options.rounds)
        around = report.surroundings(servers)
    found = report.rows(measured, reference=FLOOR.name)
    print(report.table(found, FLOOR.name, around))
    if options.json:
        numbers = {name: value for name, value in vars(options).items() if isinstance(value, int)}
        report.write_json(options.json, found, around, measured, numbers)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    main()
