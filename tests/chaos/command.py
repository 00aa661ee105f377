"""Options of the command, and where a run's files go."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from tests.chaos.hosts import HOSTS, Hosts
from tests.chaos.layout import CLUSTER_SHARDS, Layout
from tests.chaos.network import Network
from tests.chaos.run import Run

BROKEN = 1
INTERRUPTED = 130


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    minutes: float
    seed: int
    shards: int | None
    cluster: bool
    hosts: bool
    accept_replicas: int
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
        parser.add_argument("--minutes", type=_positive, default=10, help="how long faults go on (%(default)s)")
        parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10_000), help="of the plan (random)")
        parser.add_argument("--shards", type=int, help=f"of the deployment (1; {CLUSTER_SHARDS} on a cluster)")
        parser.add_argument(
            "--cluster", action="store_true", help="three primaries with a replica each, that take over"
        )
        parser.add_argument("--hosts", action="store_true", help="the same on three hosts, cut off in turn; needs root")
        parser.add_argument(
            "--accept-replicas",
            type=int,
            default=1,
            metavar="N",
            help="NOTIFY_ACCEPT_REPLICAS of a cluster (%(default)s)",
        )
        parser.add_argument("--report", type=Path, metavar="FILE", help="the report as JSON; as text beside it, .txt")
        parser.add_argument("--keep", action="store_true", help="keep the ledger and all logs of a good run, too")
        return cls(**vars(parser.parse_args(arguments)))

    @contextmanager
    def layout(self) -> Iterator[Layout]:
        """What the run is made of; hosts are there for as long as the block."""
        given = self.shards or int(os.environ.get("NOTIFY_SHARDS") or 0)
        if self.hosts:
            with Network(HOSTS) as network:
                yield Hosts(given or CLUSTER_SHARDS, True, self.accept_replicas, network=network)
        else:
            shards = given or (CLUSTER_SHARDS if self.cluster else 1)
            yield Layout(shards, self.cluster, self.accept_replicas if self.cluster else 0)


def main() -> int:
    """Run, print and write the report; 0 when every promise was kept."""
    options = Options.parse()
    folder = Path(tempfile.mkdtemp(prefix="notify-chaos-"))
    say(f"chaos: seed {options.seed}, {options.minutes:g} minutes, in {folder}")
    kept = False
    try:
        with options.layout() as layout:
            plan = layout.plan(options.seed, options.minutes * 60)
            report = Run(folder, plan, layout, say).carry_out()
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
