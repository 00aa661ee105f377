"""The clock: rounds of several contenders in turn, each from the same state, with everybody's CPU time."""

import statistics
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import psutil

from benchmarks.servers import Servers, consumer

POLL_SECONDS = 0.005
READY_SECONDS = 60.0
ROUND_SECONDS = 600.0
CONSUMER = "consumer"


class Stuck(Exception):
    """A contender did not get ready, or not to the end."""


@dataclass(frozen=True)
class Contender:
    """Who is measured: a process that consumes."""

    name: str
    command: tuple[str, ...]


class Work(Protocol):
    """What contenders are given to do."""

    def fill(self) -> None:
        """Begin from nothing, and prepare the work out of everybody's reach."""

    def awaited(self) -> bool:
        """Whether a consumer is up and waits for work."""

    def release(self) -> None:
        """Put the work within reach."""

    def left(self) -> int:
        """How much is not done."""

    def verify(self) -> None:
        """Raise where what was done is wrong."""


@dataclass(frozen=True)
class Round:
    """One contender's time for the whole work; CPU seconds by whose they are."""

    events: int
    seconds: float
    cpu_seconds: Mapping[str, float]
    others: float
    """Cores that whatever else runs here kept busy meanwhile; much above 0, the time is not the contender's own."""

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    def cpu_per_1000(self, whose: str) -> float:
        """CPU seconds that 1000 events cost."""
        return self.cpu_seconds[whose] * 1000 / self.events


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The spread of at least one value."""
        known = list(values)
        return cls(statistics.median(known), min(known), max(known))


def in_turn(
    servers: Servers, work: Work, contenders: Sequence[Contender], *, events: int, rounds: int
) -> dict[str, list[Round]]:
    """Measure every contender once a round, so that what disturbs the machine disturbs all; who begins, alternates.

    One round before them is not counted: the servers make files in it that they use again in all others.
    """
    measured: dict[str, list[Round]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        order = contenders if number % 2 else tuple(reversed(contenders))
        for contender in order:
            result = one_round(servers, work, contender, events=events)
            print(_line(number, contender, result), flush=True)
            if number:
                measured[contender.name].append(result)
    return measured


def one_round(servers: Servers, work: Work, contender: Contender, *, events: int) -> Round:
    """Fill, wait until the contender waits, let it go, stop the clock when nothing is left, and check the result."""
    work.fill()
    servers.settle_down()
    with consumer(servers, contender.name, contender.command) as process:
        _until(work.awaited, process, READY_SECONDS)
        pids = {CONSUMER: process.pid, **servers.pids}
        before = {whose: cpu_seconds(pid) for whose, pid in pids.items()}
        busy = foreign_seconds()
        began = time.perf_counter()
        work.release()
        _until(lambda: not work.left(), process, ROUND_SECONDS)
        seconds = time.perf_counter() - began
        busy = foreign_seconds() - busy
        spent = {whose: cpu_seconds(pid) - before[whose] for whose, pid in pids.items()}
        work.verify()
    return Round(events, seconds, spent, max(0.0, busy - sum(spent.values())) / seconds)


def ratios(measured: Sequence[Round], reference: Sequence[Round]) -> Spread:
    """How many times as fast as the reference, pair by pair: what slows the machine for a while, slows both."""
    return Spread.of(one.rate / other.rate for one, other in zip(measured, reference, strict=True))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of all that it started, and of those among them that are gone."""
    process = psutil.Process(pid)
    total = process.cpu_times().children_user + process.cpu_times().children_system
    for member in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system
    return total


def foreign_seconds() -> float:
    """What all cores have worked so far for all but this process, and for the neighbours of a virtual machine."""
    everybody, here = psutil.cpu_times(), psutil.Process().cpu_times()
    resting = everybody.idle + getattr(everybody, "iowait", 0.0)
    # A guest's time is part of the user's.
    guests = getattr(everybody, "guest", 0.0) + getattr(everybody, "guest_nice", 0.0)
    return float(sum(everybody) - resting - guests - here.user - here.system)


def _until(condition: "Condition", process: "subprocess.Popen[bytes]", seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise Stuck(f"it ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise Stuck(f"it was not done within {seconds:.0f} s")
        time.sleep(POLL_SECONDS)


class Condition(Protocol):
    """Something that is true at last."""

    def __call__(self) -> bool: ...


def _line(number: int, contender: Contender, result: Round) -> str:
    label = f"round {number}" if number else "warm-up"
    rate = f"{result.rate:>8,.0f} events/s  {result.seconds:.2f} s"
    return f"{label}  {contender.name:<12} {rate}  others {result.others:.1f} cores"
