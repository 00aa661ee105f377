"""A load over the lanes of any number of shards, for a table that is emptied before it, or keeps what it holds."""

from collections.abc import Sequence

from benchmarks.load import PATIENCE_MS, WRITE_SIZE, WrongResult
from benchmarks.servers import Servers
from notifications.events import Event
from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.clock import ServerClock
from notifications.stream.writer import Writer

# A load's rows are younger than all that a table held before.
LOADED_ROWS = "SELECT count(*) FROM notifications_notification WHERE id >= %s"

# Of the load's recipients: inboxes whose count, or whose row of sequence numbers 1, 2, 3 …, is not that of their rows.
WRONG_INBOXES = """
    SELECT count(*)
    FROM unnest(%s::text[]) AS loaded (recipient)
    LEFT JOIN notifications_inbox AS inbox USING (recipient)
    CROSS JOIN LATERAL (
        SELECT count(*) AS arrived, max(seq) AS last, min(seq) AS first
        FROM notifications_notification AS row WHERE row.recipient = loaded.recipient
    ) AS rows
    WHERE (inbox.seq, inbox.unread, rows.first, rows.last)
        IS DISTINCT FROM (rows.arrived, rows.arrived, 1::bigint, rows.arrived)
"""


class Lanes:
    """The `live` lanes of a Redis, and the tables that their load ends up in (a Work of measure.py)."""

    def __init__(self, servers: Servers, *, shards: int = 1, consumers: int = 1, keeps_rows: bool = False) -> None:
        self._servers = servers
        self._shards = Shards(servers.valkey, shards)
        self._consumers = consumers
        self._keeps_rows = keeps_rows
        self._lanes = [keys.lane(shard, "live") for shard in self._shards.each()]
        self._load: list[Event] = []

    def take(self, load: list[Event]) -> None:
        """The events of the next rounds. A table that keeps its rows takes none twice."""
        self._load = load

    def fill(self) -> None:
        """Flush Redis, write the load, and put it aside; empty the tables where they are to be empty."""
        if not self._keeps_rows:
            self._servers.database.execute("TRUNCATE notifications_notification, notifications_inbox")
        self._servers.valkey.flushall()
        if self._loaded_rows():
            raise WrongResult("the table has rows that are as young as the load's")
        writer = Writer(
            self._shards,
            # Of all shards together.
            max_backlog=len(self._load) * self._shards.count,
            clock=ServerClock(self._servers.valkey),
            patience_ms=PATIENCE_MS,
        )
        for start in range(0, len(self._load), WRITE_SIZE):
            writer.add(self._load[start : start + WRITE_SIZE])
        for lane in self._lanes:
            self._servers.valkey.xgroup_create(lane, keys.GROUP, id="0", mkstream=True)
            self._servers.valkey.rename(lane, _parked(lane))

    def awaited(self) -> bool:
        """Whether all consumers block on the lanes."""
        return int(self._servers.valkey.info("clients")["blocked_clients"]) >= self._consumers

    def release(self) -> None:
        """Put the load in place, all lanes at once."""
        pipe = self._servers.valkey.pipeline(transaction=True)
        for lane in self._lanes:
            pipe.rename(_parked(lane), lane)
        pipe.execute()

    def left(self) -> int:
        """How many entries are not settled yet."""
        return sum(self._servers.valkey.xlen(lane) for lane in self._lanes)

    def verify(self) -> None:
        """Raise WrongResult unless every event is one more row, counted once, and nothing is left in Redis."""
        valkey = self._servers.valkey
        recipients = list({event.recipient for event in self._load})
        found = {
            "rows": self._loaded_rows(),
            "counted": sum(int(valkey.hget(keys.counters(shard), "stored") or 0) for shard in self._shards.each()),
            "wrong inboxes": self._number(WRONG_INBOXES, [recipients]),
            "stream": self.left(),
            "pending": sum(valkey.xpending(lane, keys.GROUP)["pending"] for lane in self._lanes),
            "in flight": sum(valkey.hlen(keys.inflight(shard)) for shard in self._shards.each()),
        }
        expected = dict.fromkeys(found, 0) | {"rows": len(self._load), "counted": len(self._load)}
        if found != expected:
            raise WrongResult(f"expected {expected}, found {found}")

    def _loaded_rows(self) -> int:
        return self._number(LOADED_ROWS, [min(event.id for event in self._load)])

    def _number(self, query: str, values: Sequence[object]) -> int:
        row = self._servers.database.execute(query, values).fetchone()
        assert row is not None
        return int(str(row[0] or 0))


def _parked(lane: str) -> str:
    return f"{lane}:parked"
