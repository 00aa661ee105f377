"""What holds for any recurrence in any zone, against somebody who looks at a clock on the wall, minute by minute."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from scheduler.recurrence import MINUTE, BadRecurrence, Recurrence, check, next_after, upcoming

pytestmark = pytest.mark.one_shard_is_enough

WINDOW: Final = timedelta(days=3)
# Enough to pass a change from two hours before it, even for an expression that is due each minute.
MOST_TIMES: Final = 200
# Since 1990 no zone has put its clock back by more (Antarctica/Vostok in 1994: 7 hours).
LONGEST_REPEAT: Final = timedelta(hours=8)
LAST: Final = -1
MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
ODD_ZONES: Final = (
    "Africa/Cairo", "Africa/Casablanca", "America/Asuncion", "America/Havana", "America/Nuuk", "America/Santiago",
    "America/Sao_Paulo", "America/St_Johns", "Antarctica/Troll", "Asia/Amman", "Asia/Beirut", "Asia/Gaza",
    "Asia/Kathmandu", "Asia/Pyongyang", "Asia/Tehran", "Atlantic/Azores", "Australia/Lord_Howe", "Europe/Berlin",
    "Europe/Dublin", "Europe/Volgograd", "Pacific/Apia", "Pacific/Chatham", "Pacific/Kwajalein",
)  # fmt: skip
ALL_ZONES: Final = sorted(zoneinfo.available_timezones() - {"Factory", "localtime"})


class Field(msgspec.Struct, frozen=True):
    """One field as it is written, and what it names: numbers, LAST, or (weekday, which of the month)."""

    text: str
    values: frozenset[int | tuple[int, int]]


class Expression(msgspec.Struct, frozen=True):
    """The five fields, and what they mean."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field
    daily: bool = False

    def recurrence(self, zone: str) -> Recurrence:
        if self.daily:
            return Recurrence(daily=f"{int(self.hour.text):02}:{int(self.minute.text):02}", timezone=zone)
        fields = (self.minute, self.hour, self.day, self.month, self.weekday)
        return Recurrence(cron=" ".join(field.text for field in fields), timezone=zone)

    def names(self, local: datetime) -> bool:
        return local.minute in self.minute.values and local.hour in self.hour.values and self.names_date(local.date())

    def names_date(self, day: date) -> bool:
        if day.month not in self.month.values:
            return False
        last = (day + timedelta(days=1)).month != day.month
        by_day = day.day in self.day.values or (last and LAST in self.day.values)
        number, last_week = day.isoweekday() % 7, (day + timedelta(days=7)).month != day.month
        of_month = {number, (number, (day.day + 6) // 7), (number, LAST if last_week else 0)}
        by_weekday = bool(of_month & self.weekday.values)
        if self.day.text.startswith("*") or self.weekday.text.startswith("*"):
            return by_day and by_weekday
        return by_day or by_weekday


def single(value: int) -> Field:
    return Field(str(value), frozenset({value}))


def terms(low: int, high: int, names: tuple[str, ...] = (), first: int = 0) -> st.SearchStrategy[Field]:
    """One term of a field: a number or a name, a range, a step."""
    number = st.integers(low, high)
    step = st.integers(1, high)

    def named(index: int) -> Field:
        return Field(names[index], frozenset({index + first}))

    def ranged(ends: tuple[int, int], by: int | None) -> Field:
        start, end = sorted(ends)
        text = f"{start}-{end}" + (f"/{by}" if by and start < end else "")
        return Field(text, frozenset(value for value in range(start, end + 1) if (value - start) % (by or 1) == 0))

    def stepped(by: int) -> Field:
        return Field(f"*/{by}", frozenset(value for value in range(low, high + 1) if (value - low) % by == 0))

    kinds = [
        number.map(single),
        st.builds(ranged, st.tuples(number, number), st.none() | step),
        step.map(stepped),
    ]
    if names:
        kinds.append(st.integers(0, len(names) - 1).map(named))
    return st.one_of(kinds)


def fields(term: st.SearchStrategy[Field], everything: range, stars: int) -> st.SearchStrategy[Field]:
    """A field: a list of terms, or, so many times out of ten, `*`."""

    def together(parts: list[Field]) -> Field:
        return Field(",".join(part.text for part in parts), frozenset().union(*(part.values for part in parts)))

    star = st.just(Field("*", frozenset(everything)))
    listed = st.lists(term, min_size=1, max_size=3).map(together)
    return st.integers(1, 10).flatmap(lambda number: star if number <= stars else listed)


def nth_weekdays() -> st.SearchStrategy[Field]:
    def nth(weekday: int, which: int) -> Field:
        text = f"{weekday}L" if which == LAST else f"{WEEKDAYS[weekday]}#{which}"
        return Field(text, frozenset({(weekday, which)}))

    return st.builds(nth, st.integers(0, 6), st.sampled_from([1, 2, 3, 4, 5, LAST]))


MINUTES: Final = fields(terms(0, 59), range(60), stars=2)
# Clocks change in the small hours almost everywhere.
HOURS: Final = fields(terms(0, 23) | st.integers(0, 3).map(single), range(24), stars=5)
LAST_DAY: Final = st.just(Field("L", frozenset({LAST})))
# A date that is rare leaves nothing to see at a change.
DAYS: Final = fields(terms(1, 31) | LAST_DAY, range(1, 32), stars=9)
MONTH_FIELDS: Final = fields(terms(1, 12, MONTHS, first=1), range(1, 13), stars=9)
WEEKDAY_FIELDS: Final = fields(terms(0, 6, WEEKDAYS) | nth_weekdays(), range(7), stars=9)
CRONS: Final = st.builds(Expression, MINUTES, HOURS, DAYS, MONTH_FIELDS, WEEKDAY_FIELDS)


def at_one_time(minute: int, hour: int, dates: Expression, *, daily: bool) -> Expression:
    """Once a day, at this time: on the expression's dates, or every day."""
    clock = (single(minute), single(hour))
    if daily:
        day, month, weekday = (Field("*", frozenset(values)) for values in (range(1, 32), range(1, 13), range(7)))
        return Expression(*clock, day, month, weekday, daily=True)
    return Expression(*clock, dates.day, dates.month, dates.weekday)


ONCE_A_DAY: Final = st.builds(
    at_one_time, st.integers(0, 59), st.integers(0, 3) | st.integers(0, 23), CRONS, daily=st.booleans()
)
EXPRESSIONS: Final = CRONS | ONCE_A_DAY
# The same fields without so many stars.
RARE: Final = st.builds(
    Expression,
    MINUTES,
    HOURS,
    fields(terms(1, 31) | LAST_DAY, range(1, 32), stars=4),
    fields(terms(1, 12, MONTHS, first=1), range(1, 13), stars=4),
    fields(terms(0, 6, WEEKDAYS) | nth_weekdays(), range(7), stars=4),
)
ZONES: Final = st.integers(1, 4).flatmap(lambda number: st.sampled_from(ODD_ZONES if number < 4 else ALL_ZONES))


@lru_cache(maxsize=1024)
def changes(zone: zoneinfo.ZoneInfo, year: int) -> list[datetime]:
    """The instants at which a zone's offset changes in a year, to the minute."""
    found = []
    instant, minutes = datetime(year, 1, 1, tzinfo=UTC), 24 * 60
    for _ in range(365):
        before = instant.astimezone(zone).utcoffset()
        low, high = 0, minutes
        if (instant + timedelta(days=1)).astimezone(zone).utcoffset() != before:
            while high - low > 1:
                middle = (low + high) // 2
                same = (instant + middle * MINUTE).astimezone(zone).utcoffset() == before
                low, high = (middle, high) if same else (low, middle)
            found.append(instant + high * MINUTE)
        instant += timedelta(days=1)
    return found


@st.composite
def moments(draw: st.DrawFn, zone: str) -> datetime:
    """A moment from 1990 to 2100, near a change of the zone's clocks if there has been one."""
    years = (draw(st.integers(1990, 2100)), draw(st.integers(2005, 2030)), 2010, 2000, 1993)
    near = next(filter(None, (changes(zoneinfo.ZoneInfo(zone), year) for year in years)), None)
    event("near a change" if near else "in a zone without changes")
    start = draw(st.sampled_from(near)) if near else datetime(years[0], 2, 28, tzinfo=UTC)
    before = draw(st.integers(-26 * 60, 60) | st.integers(-130, 130))
    return start + before * MINUTE + draw(st.sampled_from([timedelta(0), timedelta(seconds=59, microseconds=999999)]))


def clock_on_the_wall(zone: zoneinfo.ZoneInfo, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Each minute that passes, and what a clock shows then."""
    instant = start.replace(second=0, microsecond=0)
    while instant <= end:
        yield instant, instant.astimezone(zone).replace(tzinfo=None)
        instant += MINUTE


def watched(expression: Expression, zone: zoneinfo.ZoneInfo, moment: datetime, end: datetime) -> Iterator[datetime]:
    """When an expression is due, as told by looking at the clock each minute: later than a moment, up to the end."""
    seen = set()
    expected: datetime | None = None
    for instant, shown in clock_on_the_wall(zone, moment - LONGEST_REPEAT, end):
        is_due = expression.names(shown)
        if expression.hour.text != "*":
            is_due &= shown not in seen
            while expected is not None and expected < shown:
                is_due |= expression.names(expected)
                expected += MINUTE
        if is_due and instant > moment:
            yield instant
        seen.add(shown)
        expected = shown + MINUTE


@given(expression=EXPRESSIONS, zone=ZONES, data=st.data())
@settings(max_examples=300)
def test_a_recurrence_is_due_exactly_when_the_clock_on_the_wall_says_so(
    expression: Expression, zone: str, data: st.DataObject
) -> None:
    moment = data.draw(moments(zone), label="moment")
    end = moment + WINDOW
    expected = list(islice(watched(expression, zoneinfo.ZoneInfo(zone), moment, end), MOST_TIMES))
    event("due in the window" if expected else "not due in the window")
    times = upcoming(expression.recurrence(zone), moment, MOST_TIMES)
    assert [time for time in times if time <= end] == expected


@given(expression=EXPRESSIONS, zone=ZONES, data=st.data())
@settings(max_examples=200)
def test_times_rise_come_once_and_are_what_was_asked_for_except_after_a_gap(
    expression: Expression, zone: str, data: st.DataObject
) -> None:
    moment = data.draw(moments(zone), label="moment")
    here = zoneinfo.ZoneInfo(zone)
    times = upcoming(expression.recurrence(zone), moment, 40)
    assert all(earlier < later for earlier, later in zip([moment, *times], times, strict=False))
    assert all(time.tzinfo is UTC and (time.second, time.microsecond) == (0, 0) for time in times)
    shown = [time.astimezone(here).replace(tzinfo=None) for time in times]
    if expression.hour.text != "*":
        assert len(set(shown)) == len(shown)
    for time, local in zip(times, shown, strict=True):
        after_a_gap = (time - MINUTE).astimezone(here).replace(tzinfo=None) < local - MINUTE
        assert expression.names(local) or (after_a_gap and expression.hour.text != "*")


@given(expression=RARE, year=st.integers(1990, 2100))
@settings(max_examples=200)
def test_no_date_is_left_out_however_rare_it_is(expression: Expression, year: int) -> None:
    moment = datetime(year, 6, 15, 23, 59, tzinfo=UTC)
    recurrence = expression.recurrence("UTC")
    days = (moment.date() + timedelta(days=ahead) for ahead in range(1, 50 * 365))
    expected = next((day for day in days if expression.names_date(day)), None)
    try:
        check(recurrence)
    except BadRecurrence:
        assert expected is None
    else:
        following = next_after(recurrence, moment)
        assert (following and following.date()) == expected


@given(expression=ONCE_A_DAY, zone=ZONES, data=st.data())
@settings(max_examples=100)
def test_the_next_time_is_the_same_from_any_moment_before_it(
    expression: Expression, zone: str, data: st.DataObject
) -> None:
    recurrence = expression.recurrence(zone)
    moment = data.draw(moments(zone), label="moment")
    following = next_after(recurrence, moment)
    if following is None:
        return
    percent = data.draw(st.integers(0, 99), label="percent of the way")
    assert next_after(recurrence, moment + (following - moment) // 100 * percent) == following
