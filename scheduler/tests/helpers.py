"""Schedules for tests: made past the door, due at any time; callers of the API; and what became of it all."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.db import OperationalError, connection
from django.test import Client

from notifications import events, wiring
from notifications.events import Draft, Event
from notifications.stream import keys
from notifications.stream.schedules import Kept, Schedules
from scheduler import records, schedule
from scheduler.comparison import Comparison
from scheduler.planner import Planner
from scheduler.recurrence import Recurrence
from scheduler.schedule import About, CatchUp, Schedule

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

EVENT: dict[str, Any] = {"recipient": "alice", "type": "report.due", "title": "Report"}
RUNNING = "* * * * *"


def ms(text: str) -> int:
    """A time in UTC as Unix ms, from "2026-03-29 01:00"."""
    return schedule.unix_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


def now_ms() -> int:
    """The server's time."""
    return wiring.schedules().now_ms()


def once(due_ms: int, recipient: str = "alice", title: str = "Report") -> Schedule:
    """A schedule that fires once."""
    draft = Draft(recipient=recipient, type="report.due", title=title)
    return schedule.new(draft, About(at_ms=due_ms, by="tests", changed_ms=due_ms), due_ms)


def recurring(
    due_ms: int, recipient: str = "alice", *, cron: str = RUNNING, zone: str = "UTC", catch_up: CatchUp = "once"
) -> Schedule:
    """A schedule that comes again."""
    rule = Recurrence(cron=cron, timezone=zone)
    about = About(recurrence=rule, catch_up=catch_up, by="tests", changed_ms=due_ms)
    return schedule.new(Draft(recipient=recipient, type="report.due", title="Report"), about, due_ms)


def plan(*made: Schedule) -> None:
    """Put schedules into Redis."""
    for each in made:
        wiring.schedules().plan(schedule.to_kept(each))


def replace(known: Schedule, new: Schedule) -> Schedule:
    """Change a schedule in Redis; returns what it is then."""
    assert wiring.schedules().change(schedule.to_kept(known), schedule.to_kept(new)) == "changed"
    return new


def retitle(known: Schedule, title: str) -> Schedule:
    """The same of its title alone."""
    draft = Draft(recipient=known.event.recipient, type="report.due", title=title)
    return replace(known, schedule.changed(known, draft, known.about, known.due_ms))


def cancel(known: Schedule) -> Schedule:
    """The same of its end."""
    return replace(known, schedule.cancelled(known, now_ms()))


def seen(made: Schedule | str) -> Kept:
    """A schedule as Redis has it."""
    kept = wiring.schedules().look(made if isinstance(made, str) else made.id)
    assert kept is not None
    return kept


def waits(made: Schedule | str) -> bool:
    """Whether Redis has a schedule that waits."""
    kept = wiring.schedules().look(made if isinstance(made, str) else made.id)
    return kept is not None and kept.due_ms is not None


def planner() -> Planner:
    """One scheduler's first duty."""
    return Planner(wiring.patient_schedules())


def fire(*, until: Callable[[], object] | None = None) -> None:
    """Step a planner once, or until a condition holds."""
    duty, deadline = planner(), time.monotonic() + 20
    duty.step()
    while until is not None and not until():
        assert time.monotonic() < deadline, "it never came"
        duty.step()


def record_all(schedules: Schedules | None = None) -> int:
    """Record every change that is logged; returns how many there were."""
    log_of = schedules or wiring.patient_schedules()
    recorded = 0
    for shard in log_of.shards.each():
        while count := records.record(log_of, shard):
            recorded += count
    return recorded


def compare() -> int:
    """Compare Redis with PostgreSQL, to the end; returns how many schedules were restored."""
    comparison = Comparison(wiring.patient_schedules())
    while comparison.step():
        pass
    return comparison.restored


def in_lanes() -> list[tuple[int, Event]]:
    """What waits for the workers: the time (Unix ms, Redis' clock) at which it was put there, and the event."""
    client: Any = wiring.shards().client
    return [
        (int(entry_id.split(b"-")[0]), events.decode(fields[b"event"]))
        for shard in wiring.shards().each()
        for entry_id, fields in client.xrange(keys.lane(shard, "live"))
    ]


def queued() -> list[Event]:
    """The events that wait for the workers, a shard after the other, each in its order."""
    return [event for _, event in in_lanes()]


def logged() -> int:
    """How many changes wait to be recorded."""
    client: Any = wiring.shards().client
    return sum(client.xlen(keys.changes(shard)) for shard in wiring.shards().each())


def total(counter: str) -> int:
    """A counter, over all shards."""
    client: Any = wiring.shards().client
    return sum(int(client.hget(keys.counters(shard), counter) or 0) for shard in wiring.shards().each())


def call(caller: Client, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """A request with a JSON body, or bytes as they are."""
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return caller.generic(method, path, sent, content_type="application/json", headers=headers)


def make(caller: Client, **fields: Any) -> dict[str, Any]:
    """Make a schedule over the API; its answer."""
    answer = call(caller, "POST", "/api/schedule", EVENT | fields)
    assert answer.status_code == 201, answer.content
    shown: dict[str, Any] = answer.json()
    return shown


@contextmanager
def postgresql_is_away() -> Iterator[None]:
    """No statement reaches PostgreSQL."""

    def fail(*_: object) -> None:
        raise OperationalError("the server is away")

    with connection.execute_wrapper(fail):
        yield
