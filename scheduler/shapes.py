"""What users see of a schedule."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from notifications import events
from notifications.representation import timestamp, timestamp_ms
from scheduler import schedule as schedules
from scheduler.recurrence import BadRecurrence
from scheduler.schedule import Schedule


def shown(schedule: Schedule) -> dict[str, Any]:
    """A schedule, JSON-ready. Times are RFC 3339 UTC; `next_run_local` is `next_run_at` by the schedule's own clock."""
    event, about, rule = schedule.event, schedule.about, schedule.about.recurrence
    return {
        "id": schedule.id,
        "status": schedule.status,
        "revision": schedule.revision,
        "next_run_at": _time(schedule.due_ms),
        "next_run_local": None if schedule.due_ms is None else _local(schedule, schedules.moment(schedule.due_ms)),
        "at": _time(about.at_ms),
        "daily": rule.daily if rule else None,
        "cron": rule.cron if rule else None,
        "timezone": zone_of(schedule),
        "catch_up": about.catch_up if rule else None,
        "recipient": event.recipient,
        "type": event.type,
        "title": event.title,
        "body": event.body,
        "data": event.data,
        "runs": about.runs,
        "last_run_at": _time(about.last_run_ms),
        "created_at": timestamp_ms(events.accepted_ms(schedule.id)),
        "created_by": about.by,
        "changed_at": timestamp_ms(about.changed_ms),
    }


def next_runs(schedule: Schedule, count: int, now_ms: int) -> list[dict[str, str | None]]:
    """The next times, each in UTC and by the schedule's own clock."""
    try:
        times = schedules.upcoming(schedule, count, now_ms)
    except BadRecurrence:
        # As for `_local`.
        return []
    return [{"at": timestamp(when), "local": _local(schedule, when)} for when in times]


def zone_of(schedule: Schedule) -> str:
    """The zone whose clock a schedule goes by."""
    return schedule.about.recurrence.timezone if schedule.about.recurrence else "UTC"


def _local(schedule: Schedule, when: datetime) -> str | None:
    """A time by the schedule's own clock; None where its zone is gone from this machine since it was made."""
    zone = zone_of(schedule)
    try:
        return when.astimezone(UTC if zone == "UTC" else ZoneInfo(zone)).isoformat(timespec="milliseconds")
    except ZoneInfoNotFoundError:
        return None


def _time(unix_ms: int | None) -> str | None:
    return None if unix_ms is None else timestamp_ms(unix_ms)
