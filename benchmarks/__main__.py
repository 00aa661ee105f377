"""Everything that is measured side by side, as one table and one file (see README.md): `make bench`.

python -m benchmarks [--only worker,accept] [--rounds 5] [--json FILE]
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from benchmarks import accept, fanout, growth, idle, latency, timely, worker
from benchmarks.figures import Figure, table, write_json
from benchmarks.load import WrongResult
from benchmarks.measure import Stuck
from benchmarks.report import surroundings
from benchmarks.schedules import Wrong
from benchmarks.servers import private_servers

BENCHMARKS: Final[Mapping[str, Callable[[int], list[Figure]]]] = MappingProxyType(
    {
        "worker": worker.measure,
        "accept": accept.measure,
        "latency": latency.measure,
        "fan-out": fanout.measure,
        "time": timely.measure,
        "growth": growth.measure,
        "idle": idle.measure,
    }
)
FAILURES: Final = (Stuck, Wrong, WrongResult, AssertionError, OSError, subprocess.SubprocessError)
RESULT: Final = Path("benchmark.json")


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    only: list[str]
    rounds: int
    json: Path

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> "Options":
        """Read the command line."""
        parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
        parser.add_argument("--only", type=_names, default=list(BENCHMARKS), metavar="NAME,…", help="some of them")
        parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each (%(default)s)")
        parser.add_argument("--json", type=Path, default=RESULT, metavar="FILE", help="the result (%(default)s)")
        return cls(**vars(parser.parse_args(arguments)))


def main() -> int:
    """Measure one after the other; what fails is told, has no numbers, and keeps nobody else from having theirs."""
    options = Options.parse()
    figures: list[Figure] = []
    failed = []
    with private_servers() as servers:
        around = surroundings(servers)
    for name in options.only:
        print(f"\n{name}", flush=True)
        try:
            figures += BENCHMARKS[name](options.rounds)
        except FAILURES as error:
            failed.append(f"{name}: {error!r}")
        # Whoever ends a run of an hour before its end has what was measured.
        write_json(options.json, figures, around)
    print(table(figures, around))
    print(f"\nwritten to {options.json}")
    print(*(f"failed: {line}" for line in failed), sep="\n", end="\n" if failed else "")
    return 1 if failed else 0


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(BENCHMARKS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
