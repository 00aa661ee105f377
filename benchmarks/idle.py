"""An idle system: what everything that `make up` starts uses of a core while nothing comes in (see README.md).

python -m benchmarks.idle [--rounds 5] [--seconds 60]
"""

import argparse
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Final

import psutil

from benchmarks import figures
from benchmarks.figures import Figure, Goal
from benchmarks.measure import Spread
from benchmarks.schedules import HOST, READY_SECONDS, until
from benchmarks.servers import end
from notify_project.configuration import Configuration, variable_name
from notify_project.local.children import PROJECT, kinds, manage
from notify_project.local.processes import spawn
from notify_project.local.web import Address

NAME: Final = "idle"
SECONDS: Final = 60
# What follows a start (mirrors, first comparisons, collections) is over by then.
SETTLE_SECONDS: Final = 20.0
LITTLE: Final = Goal(at_most=3)
READY: Final = "Notify is running."
SERVERS: Final = {"postgres": "PostgreSQL", "valkey-server": "Valkey"}

Spent = Mapping[str, float]


def measure(rounds: int, seconds: int = SECONDS) -> list[Figure]:
    """Start everything once, and look at it for so many times so many seconds."""
    with running() as up:
        time.sleep(SETTLE_SECONDS)
        looks = [look(up, seconds, number) for number in range(rounds)]
    names = sorted({name for spent in looks for name in spent}, key=lambda name: -_median_of(looks, name))
    parts = [Figure(NAME, f"of it: {name}", "% of a core", _spread(looks, name)) for name in names]
    total = Spread.of(sum(spent.values()) for spent in looks)
    return [Figure(NAME, f"all processes, over {seconds} s", "% of a core", total, goal=LITTLE), *parts]


def look(up: psutil.Process, seconds: int, number: int) -> Spent:
    """Percents of a core by kind of process."""
    before, began = spent_by(up), time.monotonic()
    time.sleep(seconds)
    after, took = spent_by(up), time.monotonic() - began
    used: dict[str, float] = defaultdict(float)
    for process, (name, spent) in after.items():
        # One that began meanwhile, a backend of PostgreSQL's, has done all of its work here.
        used[name] += 100 * (spent - before.get(process, (name, 0.0))[1]) / took
    told = ", ".join(f"{name} {percents:.2f}" for name, percents in used.items())
    print(f"look {number}: {sum(used.values()):.2f} %: {told}", flush=True)
    return dict(used)


def spent_by(up: psutil.Process) -> dict[psutil.Process, tuple[str, float]]:
    """Each process of a deployment: what it is, and its seconds of CPU so far."""
    found = {}
    for process in (up, *up.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            # Those of its own that are gone are the processes that PostgreSQL begins and ends all the time.
            ended = times.children_user + times.children_system
            found[process] = _kind(process), times.user + times.system + ended
    return found


@contextmanager
def running() -> Iterator[psutil.Process]:
    """`manage.py up`, with its data in a temporary folder and a free port."""
    folder = Path(tempfile.mkdtemp(prefix="notify-idle-"))
    with Address(HOST, 0).listener() as listener:
        port = listener.getsockname()[1]
    known = {variable_name(field) for field in Configuration.__struct_fields__}
    environment = {name: value for name, value in os.environ.items() if name not in known}
    command = manage("up", "--port", str(port), "--data-dir", str(folder / "data"))
    log = folder / "up.log"
    with log.open("wb") as output:
        process = spawn(command, environment=environment, folder=PROJECT, output=output)
    try:
        until(lambda: READY in log.read_text(errors="replace"), READY_SECONDS)
        yield psutil.Process(process.pid)
    finally:
        end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _kind(process: psutil.Process) -> str:
    command = process.cmdline() or [process.name()]
    for program, label in SERVERS.items():
        if program in Path(command[0]).name or program in process.name():
            return label
    known = {kind.command[1:3]: kind.name for kind in kinds(host=HOST, port=0, workers=1)}
    return known.get(tuple(command[1:3]), "up itself")


def _spread(looks: list[Spent], name: str) -> Spread:
    return Spread.of(spent.get(name, 0.0) for spent in looks)


def _median_of(looks: list[Spent], name: str) -> float:
    return median(spent.get(name, 0.0) for spent in looks)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="looks (%(default)s)")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="how long each (%(default)s)")
    options = parser.parse_args()
    print(figures.table(measure(options.rounds, options.seconds), {}))


if __name__ == "__main__":
    main()
