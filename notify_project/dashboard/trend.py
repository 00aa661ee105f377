"""What changed lately: rates, how long nothing moved, what grows. From a row of facts, or from the history's slices."""

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Final, NamedTuple

from notifications.stream.gauges import Gauges, Totals
from notifications.stream.register import SPAN_SECONDS, Slice
from notify_project.dashboard.facts import Facts

RATE_SECONDS: Final = 2.0
# A rate of a shorter time would be chance.
LEAST_SECONDS: Final = 0.4
GROWTH_SECONDS: Final = 5.0
# What is older is of no use to anything here.
MEMORY_SECONDS: Final = 15.0


class Trend(NamedTuple):
    """Rates per second; None where nobody knows yet.

    `still`: for how many seconds work has waited and none was settled, by a row, another attempt or a death.
    `fan_still`: the same of bulk jobs. `growth`: entries a second by which the lanes grow (below 0: they shrink).
    """

    accepted: float | None = None
    stored: float | None = None
    failed: float | None = None
    dead: float | None = None
    fired: float | None = None
    fanned: float | None = None
    still: float = 0.0
    fan_still: float = 0.0
    growth: float = 0.0
    lately_live: bool = False
    lately_bulk: bool = False


def of_facts(row: Sequence[Facts]) -> Trend:
    """The trend in facts of the last seconds, oldest first, at least one."""
    known = [facts for facts in row if facts.gauges]
    if not known or known[-1] is not row[-1]:
        return Trend()
    recent = _last(known, RATE_SECONDS)
    return Trend(
        accepted=_rate(recent, lambda totals: totals.accepted),
        stored=_rate(recent, lambda totals: totals.stored),
        failed=_rate(recent, lambda totals: totals.retried),
        dead=_rate(recent, lambda totals: totals.dead),
        fired=_rate(recent, lambda totals: totals.fired),
        fanned=_fanned(_last(row, 2 * RATE_SECONDS)),
        still=_still(known),
        fan_still=_fan_still(row),
        growth=_growth(_last(known, GROWTH_SECONDS)),
        lately_live=any(_gauges(facts).live.entries for facts in recent),
        lately_bulk=any(_gauges(facts).bulk.entries for facts in recent),
    )


def of_slices(facts: Facts, slices: Sequence[Slice]) -> Trend:
    """The trend for who looks only once: from the slices that are over, oldest first."""
    if not slices:
        return Trend()
    last = slices[-1]
    quiet = takewhile(lambda one: not (one.stored or one.failed or one.dead), reversed(slices))
    return Trend(
        accepted=last.accepted / SPAN_SECONDS,
        stored=last.stored / SPAN_SECONDS,
        failed=last.failed / SPAN_SECONDS,
        dead=last.dead / SPAN_SECONDS,
        fired=last.fired / SPAN_SECONDS,
        still=min(facts.waited_ms / 1000, float(SPAN_SECONDS * sum(1 for _ in quiet))) if facts.work else 0.0,
        lately_live=bool(facts.gauges and facts.gauges.live.entries),
        lately_bulk=bool(facts.gauges and facts.gauges.bulk.entries),
    )


def _last(row: Sequence[Facts], seconds: float) -> Sequence[Facts]:
    """The facts of the last so many seconds."""
    return [facts for facts in row if row[-1].at - facts.at <= seconds + LEAST_SECONDS / 2]


def _gauges(facts: Facts) -> Gauges:
    assert facts.gauges is not None  # noqa: S101 - the caller has left out the others
    return facts.gauges


def _rate(recent: Sequence[Facts], total: Callable[[Totals], int]) -> float | None:
    seconds = recent[-1].at - recent[0].at
    if seconds < LEAST_SECONDS:
        return None
    # A Redis that was emptied begins again from nothing.
    return max(0, total(_gauges(recent[-1]).totals) - total(_gauges(recent[0]).totals)) / seconds


def _fanned(recent: Sequence[Facts]) -> float | None:
    told = [facts for facts in recent if facts.kept]
    if not told or told[-1].kept_at - told[0].kept_at < LEAST_SECONDS:
        return None
    return _more_fanned(told[0], told[-1]) / (told[-1].kept_at - told[0].kept_at)


def _more_fanned(before: Facts, now: Facts) -> int:
    """By how many recipients the jobs went on that are in both."""
    if before.kept is None or now.kept is None:
        return 0
    old = before.kept.jobs.fanned
    return sum(max(0, reached - old.get(job, reached)) for job, reached in now.kept.jobs.fanned.items())


def _settled(facts: Facts) -> int:
    totals = _gauges(facts).totals
    return totals.stored + totals.retried + totals.dead


def _still(known: Sequence[Facts]) -> float:
    now = known[-1]
    same = takewhile(lambda facts: facts.work and _settled(facts) == _settled(now), reversed(known))
    return max((now.at - facts.at for facts in same), default=0.0)


def _fan_still(row: Sequence[Facts]) -> float:
    now = row[-1]
    same = takewhile(
        lambda facts: facts.kept and facts.kept.jobs.hurried and not _more_fanned(facts, now), reversed(row)
    )
    # Tables that are not looked at for a while stand still for nobody.
    return max((now.kept_at - facts.kept_at for facts in same), default=0.0)


def _growth(recent: Sequence[Facts]) -> float:
    seconds = recent[-1].at - recent[0].at
    return (recent[-1].work - recent[0].work) / seconds if seconds >= GROWTH_SECONDS / 2 else 0.0
