"""The load: the same events for every consumer, all of them in the stream before the clock starts.

The stream is filled under its own name by the project's Writer, so that in-flight states and counters are there, and
is then renamed away. A consumer starts, finds an empty lane and blocks on it. One RENAME gives it everything at once:
that is the starting shot, the same for all, and no consumer's start-up is on the clock.
"""

import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from benchmarks.servers import Servers
from notifications import events
from notifications.events import Event
from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.clock import ServerClock
from notifications.stream.writer import Writer

SHARD = 0
LANE = keys.lane(SHARD, "live")
PARKED = f"{LANE}:parked"
WRITE_SIZE = 500
PATIENCE_MS = 30_000
# Now: the rows are to be where new ones are.
FIRST_MS = time.time_ns() // 1_000_000
EVENTS_PER_MS = 20

TYPES = ("order.shipped", "comment.reply", "invoice.due", "login.new_device", "build.failed")
TEXT = (
    "Your order left our house this morning and will be with you on the day after tomorrow, between nine and "
    "twelve. Somebody has to be at home to sign for it; a neighbour will do, if you leave us a word about who. "
)


class WrongResult(Exception):
    """A consumer left something else behind than the load's events; its time is worth nothing."""


@dataclass(frozen=True)
class Load:
    """Events for recipients drawn at random, the same ones for the same seed; accepted from `first_ms` on."""

    events: int
    recipients: int
    seed: int = 1
    first_ms: int = FIRST_MS

    def __iter__(self) -> Iterator[Event]:
        chance = random.Random(self.seed)
        for number in range(self.events):
            recipient = f"user-{chance.randrange(self.recipients):07d}"
            yield Event(
                id=_id(chance, self.first_ms + number // EVENTS_PER_MS, recipient),
                recipient=recipient,
                type=chance.choice(TYPES),
                title=_excerpt(chance, 20, 50),
                body=_excerpt(chance, 60, 160),
                data=msgspec.Raw(_data(chance, number)),
            )


class Lane:
    """The `live` lane of a one-shard Redis with a load in it, and the tables that the load ends up in."""

    def __init__(self, servers: Servers, load: Load) -> None:
        self._servers = servers
        self._valkey = servers.valkey
        self._events = list(load)

    def fill(self) -> None:
        """Begin from nothing, write the load, and put it aside."""
        self._servers.database.execute("TRUNCATE notifications_notification, notifications_inbox")
        self._valkey.flushall()
        writer = Writer(
            Shards(self._valkey, 1),
            max_backlog=len(self._events),
            clock=ServerClock(self._valkey),
            patience_ms=PATIENCE_MS,
        )
        for start in range(0, len(self._events), WRITE_SIZE):
            writer.add(self._events[start : start + WRITE_SIZE])
        self._valkey.xgroup_create(LANE, keys.GROUP, id="0")
        self._valkey.rename(LANE, PARKED)

    def awaited(self) -> bool:
        """Whether a consumer blocks on the lane."""
        return bool(self._valkey.info("clients")["blocked_clients"])

    def release(self) -> None:
        """Put the load in place: the starting shot."""
        self._valkey.rename(PARKED, LANE)

    def left(self) -> int:
        """How many entries are not settled yet."""
        return self._valkey.xlen(LANE)

    def verify(self) -> None:
        """Raise WrongResult unless every event is one row, counted once, and nothing is left in Redis."""
        found = {
            "rows": self._number("SELECT count(*) FROM notifications_notification"),
            "unread": self._number("SELECT sum(unread) FROM notifications_inbox"),
            "wrong inboxes": self._number(WRONG_INBOXES),
            "stream": self.left(),
            "pending": self._valkey.xpending(LANE, keys.GROUP)["pending"],
            "in flight": self._valkey.hlen(keys.inflight(SHARD)),
            "counted": int(self._valkey.hget(keys.counters(SHARD), "stored") or 0),
        }
        count = len(self._events)
        expected = dict.fromkeys(found, 0) | {"rows": count, "unread": count, "counted": count}
        if found != expected:
            raise WrongResult(f"expected {expected}, found {found}")

    def _number(self, query: str) -> int:
        row = self._servers.database.execute(query).fetchone()
        assert row is not None
        return int(str(row[0] or 0))


# Inboxes whose count, or whose row of sequence numbers 1, 2, 3 …, is not that of their notifications.
WRONG_INBOXES = """
    SELECT count(*)
    FROM notifications_inbox AS inbox
    FULL JOIN (
        SELECT recipient, count(*) AS arrived, max(seq) AS last, min(seq) AS first
        FROM notifications_notification GROUP BY recipient
    ) AS rows USING (recipient)
    WHERE (inbox.seq, inbox.unread, rows.first, rows.last)
        IS DISTINCT FROM (rows.arrived, rows.arrived, 1::bigint, rows.arrived)
"""


def _id(chance: random.Random, ms: int, recipient: str) -> str:
    """A UUIDv7 as events.new_id makes it, but from the seed."""
    value = ms << 80 | 0x7 << 76 | chance.getrandbits(12) << 64
    return str(uuid.UUID(int=value | 0x2 << 62 | chance.getrandbits(46) << 16 | events.route(recipient)))


def _excerpt(chance: random.Random, shortest: int, longest: int) -> str:
    start = chance.randrange(len(TEXT) - longest)
    return TEXT[start : start + chance.randint(shortest, longest)]


def _data(chance: random.Random, number: int) -> bytes:
    return msgspec.json.encode(
        {"order": number, "amount": chance.randrange(1, 100_000) / 100, "url": f"/orders/{number}"}
    )
