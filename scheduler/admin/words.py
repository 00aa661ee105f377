"""Times as people read them."""

from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.utils import timezone

from scheduler import schedule as schedules
from scheduler import shapes
from scheduler.recurrence import BadRecurrence
from scheduler.schedule import Schedule

NEXT_SHOWN: Final = 5
LATE: Final = timedelta(seconds=5)
UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def when(schedule: Schedule) -> str:
    """“once, at 2026-12-24 18:00:00 UTC”, “daily at 08:00 Europe/Berlin”, “cron */5 * * * * UTC”."""
    rule, at_ms = schedule.about.recurrence, schedule.about.at_ms
    if rule is None:
        return "once" if at_ms is None else f"once, at {moment_ms(at_ms)}"
    return f"{f'daily at {rule.daily}' if rule.daily else f'cron {rule.cron}'} {rule.timezone}"


def moment(at: datetime) -> str:
    """A moment to the second, by the clock of its own zone: `2026-12-24 18:00:00`."""
    return at.replace(tzinfo=None).isoformat(" ", "seconds")


def moment_ms(unix_ms: int) -> str:
    """Unix ms as a moment: `2026-12-24 18:00:00 UTC`."""
    return f"{moment(schedules.moment(unix_ms))} UTC"


def local(schedule: Schedule, unix_ms: int) -> str:
    """The same by the schedule's own clock; empty where that is UTC, or is a zone that this machine does not know."""
    zone = shapes.zone_of(schedule)
    if zone == "UTC":
        return ""
    try:
        return f"{moment(schedules.moment(unix_ms).astimezone(ZoneInfo(zone)))} {zone}"
    except ZoneInfoNotFoundError:
        return ""


def distance(unix_ms: int) -> str:
    """How far off that is, in one unit: “in 4 min”, “3 d ago”."""
    seconds = (schedules.moment(unix_ms) - timezone.now()).total_seconds()
    for name, unit in UNITS:
        if (count := int(abs(seconds) // unit)) > 0:
            return f"in {count} {name}" if seconds > 0 else f"{count} {name} ago"
    return "now"


def is_late(unix_ms: int) -> bool:
    """Whether that is over for so long that no scheduler can be running."""
    return schedules.moment(unix_ms) < timezone.now() - LATE


def next_runs(schedule: Schedule) -> list[dict[str, str]]:
    """The next NEXT_SHOWN times as rows of a table; none where its time zone is gone from this machine."""
    try:
        times = schedules.upcoming(schedule, NEXT_SHOWN, schedules.unix_ms(timezone.now()))
    except BadRecurrence:
        return []
    return [_row(schedule, schedules.unix_ms(at)) for at in times]


def _row(schedule: Schedule, unix_ms: int) -> dict[str, str]:
    return {"utc": moment_ms(unix_ms), "local": local(schedule, unix_ms), "distance": distance(unix_ms)}
