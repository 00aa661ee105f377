"""What a run found, as text for people and as JSON for machines."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from tests.chaos.facts import Facts, Row
from tests.chaos.faults import Done
from tests.chaos.findings import Finding, Wrong
from tests.chaos.ledger import LATER, Line, What
from tests.chaos.plan import Kind

SHOWN_FINDINGS: Final = 100
SHOWN_FAULTS: Final = 5


class Delay(msgspec.Struct, frozen=True):
    """From an ordinary event's 202 to its row, in seconds; the worst one's number, and when it was accepted."""

    events: int
    p50: float
    p99: float
    worst: float
    number: int
    accepted_at: float
    meanwhile: list[str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A run. `wrong` counts findings of each kind, all of them 0 in a good run.

    `silence`: the longest time without a 202, in seconds. Nothing is lost where nothing is accepted.
    """

    seed: int
    minutes: float
    layout: str
    wrong: dict[str, int]
    findings: list[str]
    traffic: dict[str, int]
    sockets: dict[str, int]
    silence: float
    delay: Delay | None
    slowest_stops: dict[str, float]
    faults: dict[str, dict[str, int]]
    ended_by_themselves: dict[str, dict[str, int]]
    fault_log: list[Done]

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not any(self.wrong.values())

    def text(self) -> str:
        """All of it, for people."""
        done = sum(map(sum, (counts.values() for counts in self.faults.values())))
        sections = [
            f"chaos: seed {self.seed}, {self.minutes:g} minutes, {self.layout}",
            "\n".join([f"{done} faults", *_table(self.faults)]),
            "\n".join(["ended by themselves", *_table(self.ended_by_themselves)]) if self.ended_by_themselves else "",
            "\n".join(["traffic", *_columns(self.traffic)]),
            "\n".join(["sockets", *_columns(self.sockets)]),
            f"longest time without a 202: {self.silence:.1f} s",
            self._timing(),
            self._stops(),
            "\n".join(["verdict", *_columns(self.wrong)]),
            self._findings(),
            "Every promise was kept." if self.kept else "PROMISES WERE BROKEN.",
        ]
        return "\n\n".join(filter(None, sections))

    def write(self, path: Path) -> None:
        """The JSON to `path`, the text beside it."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
        path.with_suffix(".txt").write_text(self.text() + "\n")

    def _timing(self) -> str:
        if self.delay is None:
            return "no ordinary event was stored"
        delay = self.delay
        lines = [
            f"from 202 to row, {delay.events} ordinary events",
            f"  median {delay.p50:.3f} s, p99 {delay.p99:.1f} s, worst {delay.worst:.1f} s",
            f"  the worst: event {delay.number}, accepted at {delay.accepted_at:.1f} s; meanwhile",
            *(f"    {fault}" for fault in delay.meanwhile[:SHOWN_FAULTS]),
        ]
        more = len(delay.meanwhile) - SHOWN_FAULTS
        return "\n".join(lines + ([f"    and {more} more"] if more > 0 else []))

    def _stops(self) -> str:
        stops = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in sorted(self.slowest_stops.items()))
        return f"slowest end after it was asked to stop: {stops}" if stops else ""

    def _findings(self) -> str:
        shown = [f"  {words}" for words in self.findings[:SHOWN_FINDINGS]]
        more = len(self.findings) - len(shown)
        return "\n".join(shown + ([f"  and {more} more, all in the JSON report"] if more else []))


def told(findings: Iterable[Finding]) -> list[str]:
    """Each finding in a line; one that came several times, once, with how often."""
    times = Counter(f"{finding.wrong}: {finding.words}" for finding in findings)
    return [words if count == 1 else f"{words} ({count} times)" for words, count in times.items()]


def counts_of(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings of each kind."""
    counted = Counter(finding.wrong for finding in findings)
    return {str(wrong): counted[wrong] for wrong in Wrong}


def outcomes(lines: Sequence[Line], there: Facts) -> dict[str, int]:
    """What became of events whose answer was not a 202, and what was left as dead letters."""
    stored = {row.number for row in there.rows}
    unsure = {what: {line.number for line in lines if line.what is what} for what in (What.UNKNOWN, What.REFUSED)}
    by_reason = Counter(f"letters: {letter.status}, {letter.reason}" for letter in there.letters)
    return {
        "rows": len(there.rows),
        **{f"events {what}, and there": len(numbers & stored) for what, numbers in unsure.items()},
        **dict(sorted(by_reason.items())),
    }


def silence_of(lines: Iterable[Line], begun: float, seconds: float) -> float:
    """The longest time without a 202, of a run that `begun` (Unix time) and lasted so many seconds; in seconds."""
    now = [line.when for line in lines if line.what is What.ACCEPTED and line.detail != LATER]
    times = sorted(when for when in now if begun < when < begun + seconds)
    return max(later - sooner for sooner, later in pairwise([begun, *times, begun + seconds]))


def delay_of(lines: Iterable[Line], rows: Iterable[Row], begun: float, faults: Sequence[Done]) -> Delay | None:
    """The delays of ordinary events that are rows."""
    accepted: dict[str, Line] = {}
    for line in lines:
        if line.what is What.ACCEPTED and line.kind == Kind.PLAIN:
            accepted.setdefault(line.id, line)
    waits = sorted((_seconds(row.stored_at, accepted[row.id]), row.id) for row in rows if row.id in accepted)
    if not waits:
        return None
    worst, worst_id = waits[-1]
    at = accepted[worst_id].when - begun
    return Delay(
        events=len(waits),
        p50=waits[len(waits) // 2][0],
        p99=waits[math.ceil(len(waits) * 0.99) - 1][0],
        worst=worst,
        number=accepted[worst_id].number,
        accepted_at=at,
        meanwhile=[
            str(fault) for fault in faults if fault.done and fault.at < at + worst and fault.at + fault.seconds > at
        ],
    )


def _seconds(stored_at: datetime, line: Line) -> float:
    """The wait; a row may be there before its producer has the answer."""
    return max(0.0, stored_at.timestamp() - line.when)


def _columns(counts: Mapping[str, int]) -> list[str]:
    width = max(map(len, counts), default=0)
    return [f"  {name.ljust(width)}  {count}" for name, count in counts.items()]


def _table(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    width = max(map(len, counts), default=0)
    return [
        f"  {name.ljust(width)}  " + ", ".join(f"{count} {what}" for what, count in sorted(whats.items()))
        for name, whats in sorted(counts.items())
    ]
