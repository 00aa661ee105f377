"""What every benchmark hands over: our figure, the other's of the same rounds, and the ratio; one table, one file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import msgspec

from benchmarks.measure import Spread

TITLES: Final = ("", "what", "unit", "Notify (min-max)", "the other", "its figure (min-max)", "ratio (min-max)", "goal")


@dataclass(frozen=True)
class Goal:
    """What a ratio, or our figure where there is no other, should at least or at most be."""

    at_least: float = -math.inf
    at_most: float = math.inf

    def __str__(self) -> str:
        return f">= {self.at_least:g}" if self.at_least > -math.inf else f"<= {self.at_most:g}"

    def met(self, value: float) -> bool:
        """Whether a value is in it."""
        return self.at_least <= value <= self.at_most


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    benchmark: str
    what: str
    unit: str
    ours: Spread
    other: str = ""
    theirs: Spread | None = None
    ratio: Spread | None = None
    """Ours by theirs, round by round: what slows the machine for a while slows both."""
    goal: Goal | None = None

    @classmethod
    def against(
        cls,
        benchmark: str,
        what: str,
        unit: str,
        ours: Sequence[float],
        other: str,
        theirs: Sequence[float],
        goal: Goal | None = None,
    ) -> Self:
        """Of values that were measured in the same rounds, pair by pair."""
        ratio = Spread.of(one / another for one, another in zip(ours, theirs, strict=True))
        return cls(benchmark, what, unit, Spread.of(ours), other, Spread.of(theirs), ratio, goal)

    def met(self) -> bool | None:
        """Whether the goal is reached by the median; None where there is no goal."""
        return self.goal.met((self.ratio or self.ours).median) if self.goal else None


def table(figures: Sequence[Figure], around: Mapping[str, Mapping[str, str]]) -> str:
    """Everything as text: the rows, and below them machine, versions and settings."""
    lines = [TITLES, *(_cells(figure) for figure in figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(TITLES))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    facts = [
        f"{topic}: " + ", ".join(f"{name} {value}" for name, value in values.items())
        for topic, values in around.items()
    ]
    return "\n".join(["", *rows, "", *facts])


def write_json(path: Path, figures: Sequence[Figure], around: Mapping[str, Mapping[str, str]]) -> None:
    """The same for machines; `goal` as text."""
    rows = [{**asdict(figure), "goal": str(figure.goal or ""), "met": figure.met()} for figure in figures]
    document = {"figures": rows, **around}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def _cells(figure: Figure) -> tuple[str, ...]:
    verdict = {None: "", True: " met", False: " MISSED"}[figure.met()]
    return (
        figure.benchmark,
        figure.what,
        figure.unit,
        _spread(figure.ours),
        figure.other,
        _spread(figure.theirs),
        _spread(figure.ratio),
        f"{figure.goal or ''}{verdict}",
    )


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{_number(spread.median)} ({_number(spread.lowest)}-{_number(spread.highest)})"


def _number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
