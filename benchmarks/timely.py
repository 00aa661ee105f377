"""How late schedules fire of which ten thousand are due in one second (schedules.py `due`; see README.md).

python -m benchmarks.timely [--rounds 5] [--json FILE]
"""

import argparse
from pathlib import Path
from typing import Final

from benchmarks import report, schedules
from benchmarks.figures import Figure, table, write_json
from benchmarks.measure import Spread
from benchmarks.schedules import Late
from benchmarks.servers import private_servers

NAME: Final = "time"
TOTAL: Final = 10_000
SPREAD_MS: Final = 1000
WORKERS: Final = 1
# Notifications that are sent meanwhile, a second.
RATE: Final = 50


def measure(rounds: int) -> list[Figure]:
    """The row `time`: how late they fired, and were rows. Each round begins with new servers."""
    found = [schedules.due(TOTAL, SPREAD_MS, WORKERS, RATE) for _ in range(rounds)]
    figures = []
    for what, late in zip(("fired", "stored"), zip(*found, strict=True), strict=True):
        for share, values in zip(Late._fields, zip(*late, strict=True), strict=True):
            figures.append(Figure(NAME, f"{TOTAL:,} due in a second: {what} late by, {share}", "ms", Spread.of(values)))
    return figures


def main() -> None:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timely", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how many (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to this file too")
    options = parser.parse_args()
    found = measure(options.rounds)
    with private_servers() as servers:
        around = report.surroundings(servers)
    print(table(found, around))
    if options.json:
        write_json(options.json, found, around)


if __name__ == "__main__":
    main()
