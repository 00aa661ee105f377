"""When what recurs comes next: calendars, clocks and time zones. Pure, but for the zone files that Python reads.

cronsim tells which local times an expression names, without any zone; `daily` is an expression too, `30 2 * * *` for
"02:30". From a local time to an instant is our own step, the same for every zone:

- A local time that clocks skip (the gap when daylight saving begins) runs once, at the first minute after the gap.
  Several in one gap, or one that meets a regular time there, run once in all.
- A local time that comes twice (when it ends) runs once, the first time.
- An expression whose hour field is exactly `*` counts hours that pass, not hours that a clock shows: it runs in both
  passes of a doubled hour, and nothing is added at a gap. `*/15 * * * *` is every 15 minutes on any day.

Where day of month or day of week begins with `*`, a day has to fit both; otherwise one is enough (Vixie's cron).
"""

import copy
import re
import zoneinfo
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

import msgspec
from cronsim import CronSim, CronSimError

MAX_CRON_LENGTH: Final = 256
# datetime ends with the year 9999; a search may look 50 years ahead.
LAST_YEAR: Final = 9000
MINUTE: Final = timedelta(minutes=1)

DAILY_RULE: Final = "must be HH:MM, from 00:00 to 23:59"
BOTH_RULE: Final = "must not be given together with daily"
NEITHER_RULE: Final = "must be given where daily is not"
LENGTH_RULE: Final = f"must be at most {MAX_CRON_LENGTH} characters"
FIELDS_RULE: Final = "must be five fields: minute, hour, day of month, month and day of week"
CHARACTERS_RULE: Final = "must be of digits, names of days and months, and * , - / # L W"
SINGLE_RULE: Final = "must not step through a range of one, such as 5-5/2"
NEVER_RULE: Final = "must name a time that comes within 50 years"
TIMEZONE_RULE: Final = "must be the IANA name of a time zone, such as Europe/Berlin"
# By the library's own message, which is the only place where it names the field.
FIELD_RULES: Final = {
    "Bad minute": "must have a valid minute (0 to 59)",
    "Bad hour": "must have a valid hour (0 to 23)",
    "Bad day-of-month": "must have a valid day of month (1 to 31, L or LW) that its months have",
    "Bad month": "must have a valid month (1 to 12, or JAN to DEC)",
    "Bad day-of-week": "must have a valid day of week (0 to 7, or SUN to SAT)",
}
# Files beside the zones, not names of a place: they mean another time on another machine, or none.
NOT_ZONES: Final = frozenset({"localtime", "posixrules", "Factory"})


class Recurrence(msgspec.Struct, frozen=True):
    """Times that come again: `daily` ("HH:MM") or `cron` (five fields), exactly one, in an IANA time zone."""

    daily: str | None = None
    cron: str | None = None
    timezone: str = "UTC"


class BadRecurrence(ValueError):
    """A recurrence that breaks a rule: which field, and the rule."""

    def __init__(self, field: Literal["daily", "cron", "timezone"], rule: str) -> None:
        self.field = field
        self.rule = rule
        super().__init__(f"{field} {rule}")


class _Rule(msgspec.Struct, frozen=True):
    """An expression as it was parsed, and whether its hour field is exactly `*`."""

    simulation: CronSim
    every_hour: bool


def check(recurrence: Recurrence) -> None:
    """Raises BadRecurrence where a rule is broken, or where the recurrence names a time that never comes."""
    # Dates and weekdays come again within 40 years at most (29 February, a Monday), so any moment tells.
    if next_after(recurrence, datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise BadRecurrence("cron", NEVER_RULE)


def next_after(recurrence: Recurrence, moment: datetime) -> datetime | None:
    """The first time of a recurrence strictly later than an aware moment, 1970 or later: in UTC, to the minute.

    None when it does not come within 50 years, or not before the year 9001. Raises BadRecurrence as `check` does,
    ValueError when the moment is naive.
    """
    rule, zone = _rule(recurrence.daily, recurrence.cron), _zone(recurrence.timezone)
    if moment.tzinfo is None:
        raise ValueError("the moment must be aware of its time zone")
    if moment.year > LAST_YEAR:
        return None
    following = (_next_passing if rule.every_hour else _next_once)(rule.simulation, zone, moment)
    return None if following is None or following.year > LAST_YEAR else following


def upcoming(recurrence: Recurrence, after: datetime, count: int) -> list[datetime]:
    """The next `count` times, rising, each as `next_after` tells it; fewer when no more come."""
    times: list[datetime] = []
    while len(times) < count and (following := next_after(recurrence, times[-1] if times else after)):
        times.append(following)
    return times


def _next_once(simulation: CronSim, zone: zoneinfo.ZoneInfo, moment: datetime) -> datetime | None:
    """The next instant where each local time runs once."""
    here = moment.astimezone(zone).replace(tzinfo=None, fold=0)
    instants = (_once(local, zone) for local in _local_times(simulation, here))
    # In the second pass of a doubled hour, the local times ahead have had their instant.
    return next((instant for instant in instants if instant > moment), None)


def _next_passing(simulation: CronSim, zone: zoneinfo.ZoneInfo, moment: datetime) -> datetime | None:
    """The next instant where each local time runs as often as a clock shows it."""
    aware = moment.astimezone(zone)
    here = aware.replace(tzinfo=None, fold=0)
    # In the first pass of a doubled hour, local times that are over come again; by as much, the clock goes back.
    going_back = aware.replace(fold=1).astimezone(UTC) - aware.astimezone(UTC)
    found: list[datetime] = []
    for local in _local_times(simulation, here - going_back):
        found += [instant for instant in _instants(local, zone) if instant > moment]
        if found and local > here:
            break
    return min(found, default=None)


def _local_times(simulation: CronSim, after: datetime) -> Iterator[datetime]:
    """The naive local times that an expression names, strictly later than a naive one; it ends after 50 empty years."""
    # A copy is six times as fast as to parse again, and the parsed sets in it are never written to.
    times = copy.copy(simulation)
    times.dt = after.replace(microsecond=0)
    return times


def _once(local: datetime, zone: zoneinfo.ZoneInfo) -> datetime:
    """The instant at which a local time runs once: the first of two; after the gap where it is skipped."""
    return (_instants(local, zone) or _instants(_after_gap(local, zone), zone))[0]


def _instants(local: datetime, zone: zoneinfo.ZoneInfo) -> list[datetime]:
    """The instants at which clocks show a local time, in UTC, rising: none, one or two."""
    both = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return sorted({instant for instant in both if instant.astimezone(zone).replace(tzinfo=None) == local})


def _after_gap(local: datetime, zone: zoneinfo.ZoneInfo) -> datetime:
    """The first minute that clocks show after the gap in which a local time lies."""
    # Of a time in a gap, fold 0 has the offset before the gap and fold 1 the one after it (PEP 495).
    length = local.replace(tzinfo=zone).astimezone(UTC) - local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    minutes = range(length // MINUTE + 1)
    return local + bisect_left(minutes, 1, key=lambda ahead: len(_instants(local + ahead * MINUTE, zone))) * MINUTE


@lru_cache(maxsize=1024)
def _rule(daily: str | None, cron: str | None) -> _Rule:
    if daily is None:
        return _parse(cron)
    if cron is not None:
        raise BadRecurrence("cron", BOTH_RULE)
    if not re.fullmatch("(?:[01][0-9]|2[0-3]):[0-5][0-9]", daily):
        raise BadRecurrence("daily", DAILY_RULE)
    hour, minute = daily.split(":")
    return _parse(f"{minute} {hour} * * *")


def _parse(cron: str | None) -> _Rule:
    if cron is None:
        raise BadRecurrence("cron", NEITHER_RULE)
    if len(cron) > MAX_CRON_LENGTH:
        raise BadRecurrence("cron", LENGTH_RULE)
    if not re.fullmatch(r"[0-9A-Za-z*,/#\- \t]*", cron):
        raise BadRecurrence("cron", CHARACTERS_RULE)
    fields = cron.split()
    # The library would take a sixth field for seconds, and `5-5/2` for `5/2`.
    if re.search(r"\b([0-9A-Z]+)-\1/", cron.upper()):
        raise BadRecurrence("cron", SINGLE_RULE)
    if len(fields) != 5:
        raise BadRecurrence("cron", FIELDS_RULE)
    try:
        simulation = CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC).replace(tzinfo=None))
    except CronSimError as error:
        raise BadRecurrence("cron", FIELD_RULES.get(str(error), FIELDS_RULE)) from None
    return _Rule(simulation, fields[1] == "*")


@lru_cache(maxsize=1024)
def _zone(name: str) -> zoneinfo.ZoneInfo:
    # A name goes to the file system only if it is a known one, to the letter.
    if name not in _zone_names():
        raise BadRecurrence("timezone", TIMEZONE_RULE)
    return zoneinfo.ZoneInfo(name)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones() - NOT_ZONES)
