"""Options of the command, and where a run's files go."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from tests.chaos.run import Run, plan_of

BROKEN = 1
INTERRUPTED = 130


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    minutes: float
    seed: int
    shards: int
    report: Path | None
    keep: bool

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> "Options":
        """Read the command line."""
        parser = argparse.ArgumentParser(
            prog="python -m tests.chaos",
            description="Send numbered events through a deployment that is killed, stopped and frozen at random; "
            "then compare what was promised with what is there.",
        )
        shards = int(os.environ.get("NOTIFY_SHARDS") or 1)
        parser.add_argument("--minutes", type=_positive, default=10, help="how long faults go on (%(default)s)")
        parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10_000), help="of the plan (random)")
        parser.add_argument("--shards", type=int, default=shards, help="of the deployment (%(default)s)")
        parser.add_argument("--report", type=Path, metavar="FILE", help="the report as JSON; as text beside it, .txt")
        parser.add_argument("--keep", action="store_true", help="keep the ledger and all logs of a good run, too")
        return cls(**vars(parser.parse_args(arguments)))


def main() -> int:
    """Run, print and write the report; 0 when every promise was kept."""
    options = Options.parse()
    folder = Path(tempfile.mkdtemp(prefix="notify-chaos-"))
    say(f"chaos: seed {options.seed}, {options.minutes:g} minutes, in {folder}")
    kept = False
    try:
        report = Run(folder, plan_of(options.seed, options.minutes * 60), options.shards, say).carry_out()
        kept = report.kept
        report.write(folder / "report.json")
        if options.report:
            report.write(options.report)
        say(f"\n{report.text()}")
    except KeyboardInterrupt:
        say("interrupted: everything that was started has ended")
        return INTERRUPTED
    finally:
        if kept and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"The ledger, all logs and the report are in {folder}")
    return 0 if kept else BROKEN


def say(words: str) -> None:
    """To standard output, at once."""
    print(words, file=sys.stdout, flush=True)


def _positive(text: str) -> float:
    minutes = float(text)
    if minutes <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return minutes
