"""Finding notifications by id, recipient or type, wherever they are: rows, in flight, dead letters, schedules."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from django.db import DatabaseError, connection
from django.db.models import QuerySet

from bulk.models import visible
from dlq import lookup as letters
from dlq.models import DeadLetter
from notifications import events, lookup, representation, wiring
from notifications.exceptions import Invalid
from notifications.models import Notification
from notifications.stream import states
from notifications.stream.states import InFlight
from notify_project.dashboard.deadline import limited
from notify_project.dashboard.timeline import Link, link
from scheduler import schedule
from scheduler.models import Schedule

Kind = Literal["id", "recipient", "type"]
KINDS: Final[tuple[Kind, ...]] = ("id", "recipient", "type")

MAX_RESULTS: Final = 50
# No index knows types: it would cost every notification an insert, for the sake of a rare look. So many are looked at.
MAX_LOOKED_AT: Final = 50_000
# Of each of a shard's queues; of several shards, so many together.
MAX_IN_FLIGHT: Final = 2_000
# For a whole search.
TIMEOUT_MS: Final = 2_000

SHOWN: Final = (
    "id",
    "recipient",
    "type",
    "title",
    "status",
    "accepted_at",
    "stored_at",
    "read_at",
    "attempts",
    "last_error",
    "next_attempt_at",
    "source",
)

Life = dict[str, Any]


class Found(msgspec.Struct, frozen=True):
    """The answer: the newest first; by `kind`, after those in `tried`. `looked_at` is null where nothing was left out,
    else so many of the newest rows were looked at. `links` lead to what else has this id."""

    q: str
    kind: Kind
    tried: list[Kind]
    results: list[Life]
    looked_at: int | None
    links: list[Link]


class _Matches(NamedTuple):
    lives: list[Life]
    looked_at: int | None = None


def kinds_of(q: str) -> list[Kind]:
    """What a text can be: an id, a recipient, a type; none where it can be none of them."""
    fits = {"id": is_id(q), "recipient": events.fits(q, events.Recipient), "type": events.fits(q, events.EventType)}
    return [kind for kind in KINDS if fits[kind]]


def is_id(text: str) -> bool:
    """Whether a text is a UUID."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def find(q: str, kinds: Sequence[Kind]) -> Found:
    """The newest notifications that have this id, recipient or type, the first of `kinds` that any has.

    Raises TooSlow.
    """
    with limited(TIMEOUT_MS):
        return _find(q, kinds)


def _find(q: str, kinds: Sequence[Kind]) -> Found:
    matches, tried = _Matches([]), list[Kind]()
    for kind in kinds:
        tried.append(kind)
        matches = _LOOKS[kind](q)
        if matches.lives:
            break
    return Found(
        q=q,
        kind=tried[-1],
        tried=tried,
        results=[{name: life[name] for name in SHOWN} for life in matches.lives],
        looked_at=matches.looked_at,
        links=list(_links(q)) if "id" in kinds else [],
    )


def _by_id(q: str) -> _Matches:
    life = None
    # A schedule that this release cannot read is still told by its link.
    with suppress(Invalid):
        life = lookup.life(UUID(q))
    return _Matches([life] if life else [])


def _by_recipient(q: str) -> _Matches:
    moving = _in_flight([wiring.shards().of(q)], "recipient", q)
    rows = list(Notification.objects.filter(recipient=q).order_by("-seq")[:MAX_RESULTS])
    dead = list(letters.without_rows().filter(recipient=q).order_by("-pk")[:MAX_RESULTS])
    waiting = Schedule.objects.filter(recipient=q, recurs=False, status=Schedule.Status.SCHEDULED)
    return _Matches(_newest(rows, moving, dead, list(waiting.order_by("-pk")[:MAX_RESULTS])))


def _by_type(q: str) -> _Matches:
    moving = _in_flight(wiring.shards().each(), "type", q)
    newest = Notification.objects.order_by("-pk")
    rows = _of_type(newest, q)
    # What is found is the newest there is: only of what was not found may there be more.
    looked_at = None if len(rows) == MAX_RESULTS else newest.values("pk")[: MAX_LOOKED_AT + 1].count()
    lives = _newest(rows, moving, _of_type(letters.without_rows().order_by("-last_failed_at", "-pk"), q))
    return _Matches(lives, MAX_LOOKED_AT if looked_at and looked_at > MAX_LOOKED_AT else None)


def _of_type(newest: QuerySet[Any], wanted: str) -> list[Any]:
    """Those of a type among the newest rows, of which no more are looked at than MAX_LOOKED_AT."""
    # The types alone first: contents are read of what is found.
    looked_at = newest.values("id", "type")[:MAX_LOOKED_AT]
    table, values = looked_at.query.sql_with_params()
    with connection.cursor() as cursor:
        statement = f"SELECT id FROM ({table}) AS newest WHERE type = %s LIMIT {MAX_RESULTS}"  # noqa: S608 - constants
        cursor.execute(statement, [*values, wanted])
        ids = [row_id for (row_id,) in cursor.fetchall()]
    return list(newest.filter(pk__in=ids))


def _in_flight(shards: Iterable[int], field: Literal["recipient", "type"], wanted: str) -> list[Life]:
    listed = list(shards)
    found = (state for shard in listed for state in states.newest(wiring.shards(), shard, MAX_IN_FLIGHT // len(listed)))
    lives = (representation.life_of_event(state) for state in found)
    return [life for life in lives if life and life[field] == wanted]


def _newest(
    rows: list[Notification], moving: list[Life], dead: list[DeadLetter], waiting: Sequence[Schedule] = ()
) -> list[Life]:
    """The newest of all, each once: a row tells more than what is in flight, and that more than what it came from."""
    lives: list[Life] = [representation.life_of_row(row) for row in rows]
    lives += [*moving, *map(letters.life_of, dead), *filter(None, map(_life_of_schedule, waiting))]
    once: dict[str, Life] = {}
    for life in lives:
        once.setdefault(life["id"], life)
    return sorted(once.values(), key=lambda life: str(life["id"]), reverse=True)[:MAX_RESULTS]


def _life_of_schedule(row: Schedule) -> Life | None:
    due_ms = schedule.unix_ms(row.next_run_at) if row.next_run_at else None
    return representation.life_of_event(InFlight("scheduled", bytes(row.payload), due_ms=due_ms))


def _links(q: str) -> Iterator[Link]:
    """A schedule and a bulk job have ids, too, and who has one may look for it here."""
    # What is found in Redis is shown without PostgreSQL, too.
    with suppress(DatabaseError):
        if Schedule.objects.filter(pk=UUID(q)).exists():
            yield link("The schedule with this id", "scheduler_schedule", str(UUID(q)))
        if visible().filter(pk=UUID(q)).exists():
            yield link("The bulk job with this id", "bulk_bulkjob", str(UUID(q)))


_LOOKS: Final = {"id": _by_id, "recipient": _by_recipient, "type": _by_type}
