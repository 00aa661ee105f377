"""Dead letters for tests, and a DLQ worker in the test's own process."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from dlq import deaths, records
from dlq.models import DeadLetter, Passage
from dlq.recorder import Recorder
from notifications import events
from notifications.events import Event
from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.letters import Letter, LetterReader

FAILED_MS = 1_800_000_000_000


def event(recipient: str = "alice", **fields: Any) -> Event:
    """An accepted event; any field may be named."""
    values = {"id": events.new_id(recipient), "type": "test.event", "title": "A title", **fields}
    return Event(recipient=recipient, **values)


def letter(dead: Event | bytes, **fields: Any) -> Letter:
    """What the recorder reads of an event, or of a payload that is none."""
    values: dict[str, Any] = {
        "shard": 0,
        "entry_id": b"1800000000000-0",
        "event_id": dead.id if isinstance(dead, Event) else events.outline(dead).id,
        "payload": events.encode(dead) if isinstance(dead, Event) else dead,
        "reason": "invalid",
        "error": "it is broken",
        "attempts": 1,
        "failed_ms": FAILED_MS,
        **fields,
    }
    return Letter(**values)


def record(dead: Event | bytes, **fields: Any) -> DeadLetter:
    """A letter as the recorder leaves it."""
    death = deaths.death_of(letter(dead, **fields))
    records.record([death])
    return DeadLetter.objects.get(pk=death.event_id)


def record_all(dead: Iterable[Event], **fields: Any) -> None:
    """Many letters."""
    records.record([deaths.death_of(letter(one, **fields)) for one in dead])


def bury(shards: Shards, dead: Event | bytes, **fields: Any) -> None:
    """Give an event up, as settle.lua does."""
    one = letter(dead, **fields)
    client: Any = shards.client
    shard = shards.of_id(one.event_id) if one.event_id else 0
    entry = client.xadd(
        keys.dead_letters(shard),
        {
            "event": one.payload,
            "id": one.event_id,
            "reason": one.reason,
            "error": one.error.encode(errors="replace"),
            "attempts": one.attempts,
            "failed_ms": one.failed_ms,
        },
    )
    if one.event_id:
        client.hset(keys.inflight(shard), one.event_id, b"dead dlq %s %d" % (entry, deaths.death_of(one).life))


def recorder(shards: Shards, name: str = "recorder-1", idle_ms: int = 10_000) -> Recorder:
    """A DLQ worker's duty."""
    return Recorder(LetterReader(shards, name, batch_size=200, claim_idle_ms=idle_ms))


def waiting(shards: Shards) -> int:
    """Dead letters that are not recorded yet."""
    client: Any = shards.client
    return sum(client.xlen(keys.dead_letters(shard)) for shard in shards.each())


def in_lane(shards: Shards, lane: keys.Lane) -> list[Event]:
    """The events that wait in a lane."""
    client: Any = shards.client
    found = [entry for shard in shards.each() for entry in client.xrange(keys.lane(shard, lane))]
    return [events.decode(fields[b"event"]) for _, fields in found]


def history(letter_id: UUID | str) -> list[str]:
    """What happened to a letter, in order."""
    return [
        Passage.Kind(kind).name
        for kind in Passage.objects.filter(letter=UUID(str(letter_id))).values_list("kind", flat=True)
    ]


def failed_at(unix_ms: int = FAILED_MS) -> datetime:
    """A time of failure."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC)
