"""The floor: the worker's effects with nothing around them. What it reaches is what this design can reach.

    python -m benchmarks.floor          (DATABASE_URL and REDIS_URL from the environment; runs until SIGTERM)

One process, one loop: read a batch, decode it, one transaction of two statements, one script. The same entries, tables,
keys and guarantees as the worker's, in the happy case only: no claim, no retry, no dead letter, no outage, no second
delivery, one shard, one lane, no frame to anybody who is online, no log. What is not the case here ends it with an
error.

Tuned by hand. Measured to cost less CPU than the other: array parameters packed in this file, not by psycopg; `unnest`
in the insert's select list, not in FROM, and not one JSON document; no garbage collector, as the loop leaves no cycles;
one EXISTS before mirrors and presence are asked one by one. Taken without a measurement of its own: the number of rows,
not RETURNING; redis-py's connection without its client. Not tried here: psycopg's pipeline mode, MULTI without Lua.
"""

import gc
import os
import signal
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import psycopg
import redis
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from redis.connection import AbstractConnection

from notifications.events import Event, decode

BATCH: Final = 1000
BLOCK_MS: Final = 2000
READ_BYTES: Final = 1024 * 1024
GROUP: Final = "workers"
CONSUMER: Final = "floor"
LANE: Final = "notify:{0}:live"
INFLIGHT: Final = "notify:{0}:inflight"
COUNTERS: Final = "notify:{0}:counters"
INBOX: Final = "notify:{0}:inbox:"
ONLINE: Final = "notify:{0}:online:"
SOURCES: Final = {"api": 0, "schedule": 1, "bulk": 2}

UPSERT_INBOXES: Final = """
    INSERT INTO notifications_inbox AS inbox (recipient, seq, unread, version)
    SELECT recipient, arrived, arrived, 1
    FROM (SELECT unnest(%b::text[]) AS recipient, unnest(%b::bigint[]) AS arrived) AS batch
    ORDER BY recipient
    ON CONFLICT (recipient) DO UPDATE SET
        seq = inbox.seq + excluded.seq,
        unread = inbox.unread + excluded.unread,
        version = inbox.version + 1
    RETURNING recipient, version, unread, seq
"""

INSERT_NOTIFICATIONS: Final = """
    INSERT INTO notifications_notification
        (id, recipient, seq, type, title, body, data, stored_at, attempts, source, source_id)
    SELECT unnest(%b::text[])::uuid, unnest(%b::text[]), unnest(%b::bigint[]), unnest(%b::text[]), unnest(%b::text[]),
        unnest(%b::text[]), unnest(%b::text[])::jsonb, now(), unnest(%b::smallint[]), unnest(%b::smallint[]),
        unnest(%b::text[])::uuid
    ON CONFLICT (id) DO NOTHING
"""

# KEYS: lane, in-flight states, counters, n mirrors, their n presences. ARGV: group, number of entries, the mirrors'
# values joined by commas, entry ids, event ids. Returns 1 for each recipient who is online.
FINISH: Final = """
local entries, n = tonumber(ARGV[2]), (#KEYS - 3) / 2
local online = {}
if redis.call('EXISTS', unpack(KEYS, 4)) > 0 then
  local i = 0
  for value in string.gmatch(ARGV[3], '[^,]+') do
    i = i + 1
    local mirror = redis.call('GET', KEYS[3 + i])
    if mirror then
      local version = tonumber(string.match(mirror, '^%d+'))
      if not version then
        redis.call('DEL', KEYS[3 + i])
      elseif tonumber(string.match(value, '^%d+')) > version then
        redis.call('SET', KEYS[3 + i], value, 'KEEPTTL')
      end
    end
    online[i] = redis.call('EXISTS', KEYS[3 + n + i])
  end
end
local stored = redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 4, 3 + entries))
redis.call('XDEL', KEYS[1], unpack(ARGV, 4, 3 + entries))
redis.call('HDEL', KEYS[2], unpack(ARGV, 4 + entries))
redis.call('HINCRBY', KEYS[3], 'stored', stored)
return online
"""

_pack_array = struct.Struct(">iiIii").pack
_LENGTHS: Final = [struct.pack(">i", length) for length in range(65536)]
_NULL: Final = struct.pack(">i", -1)

Entries = list[tuple[bytes, list[bytes]]]
Inboxes = dict[str, tuple[int, int, int]]


class Packed:
    """A parameter that is in PostgreSQL's binary format already."""

    def __init__(self, packed: bytes) -> None:
        self.packed = packed


class PackedDumper(Dumper):
    """Hands a packed parameter on; its type is the cast in the statement."""

    format = Format.BINARY

    def dump(self, obj: Packed) -> Buffer:
        """The parameter as it goes to the server."""
        return obj.packed


def texts(values: Sequence[bytes]) -> Packed:
    """A text[] of UTF-8."""
    parts: list[bytes] = [b""] * (2 * len(values))
    parts[0::2] = [_LENGTHS[len(value)] for value in values]
    parts[1::2] = values
    return _array(25, len(values), b"".join(parts))


def optional_texts(values: Sequence[str | None]) -> Packed:
    """A text[] of which every one may be null."""
    if any(values):
        raise NotImplementedError("the floor's load has no source ids")
    return Packed(_pack_array(1, 1, 25, len(values), 1) + _NULL * len(values))


def integers(oid: int, code: str, values: Sequence[int]) -> Packed:
    """An array of integers; `code` is their struct format."""
    item = struct.Struct(f">i{code}")
    pack, size = item.pack, item.size - 4
    return _array(oid, len(values), b"".join([pack(size, value) for value in values]))


def _array(oid: int, count: int, items: bytes) -> Packed:
    return Packed(_pack_array(1, 0, oid, count, 1) + items)


def store(cursor: "psycopg.Cursor[tuple[Any, ...]]", batch: Sequence[Event]) -> Inboxes:
    """One transaction: give out sequence numbers, insert the rows. Returns version, unread and seq by recipient."""
    arrivals = Counter([event.recipient for event in batch])
    names = [recipient.encode() for recipient in arrivals]
    counts = integers(20, "q", list(arrivals.values()))
    rows = cursor.execute(UPSERT_INBOXES, (texts(names), counts), prepare=True, binary=True).fetchall()
    inboxes: Inboxes = {recipient: (version, unread, seq) for recipient, version, unread, seq in rows}
    inserted = cursor.execute(
        INSERT_NOTIFICATIONS, columns(batch, sequence(batch, arrivals, inboxes)), prepare=True
    ).rowcount
    if inserted != len(batch):
        raise NotImplementedError("the floor's load is delivered once")
    cursor.connection.commit()
    return inboxes


def sequence(batch: Sequence[Event], arrivals: dict[str, int], inboxes: Inboxes) -> list[int]:
    """Each event's place in its inbox."""
    last = {recipient: inboxes[recipient][2] - arrived for recipient, arrived in arrivals.items()}
    places = []
    for event in batch:
        recipient = event.recipient
        last[recipient] = place = last[recipient] + 1
        places.append(place)
    return places


def columns(batch: Sequence[Event], places: list[int]) -> tuple[Packed, ...]:
    """The batch as the parameters of the insert."""
    return (
        texts([event.id.encode() for event in batch]),
        texts([event.recipient.encode() for event in batch]),
        integers(20, "q", places),
        texts([event.type.encode() for event in batch]),
        texts([event.title.encode() for event in batch]),
        texts([event.body.encode() for event in batch]),
        texts([bytes(event.data) for event in batch]),
        integers(21, "h", [event.attempts + 1 for event in batch]),
        integers(21, "h", [SOURCES[event.source] for event in batch]),
        optional_texts([event.source_id for event in batch]),
    )


def finish_arguments(entries: Entries, batch: Sequence[Event], inboxes: Inboxes) -> Iterable[Any]:
    """What follows the script's digest: number of keys, keys, arguments."""
    yield 3 + 2 * len(inboxes)
    yield from (LANE, INFLIGHT, COUNTERS)
    yield from [INBOX + recipient for recipient in inboxes]
    yield from [ONLINE + recipient for recipient in inboxes]
    yield from (GROUP, len(batch), ",".join(["%d %d %d" % state for state in inboxes.values()]))  # noqa: UP031 - faster
    yield from [entry_id for entry_id, _ in entries]
    yield from [event.id for event in batch]


def call(connection: AbstractConnection, *command: Any) -> Any:  # noqa: ANN401 - any command, any answer
    """One command, without what redis-py's client does around it."""
    connection.send_command(*command, check_health=False)  # type: ignore[no-untyped-call]
    return connection.read_response()


def run(connection: AbstractConnection, cursor: "psycopg.Cursor[tuple[Any, ...]]") -> None:
    """Drain the lane, for ever."""
    digest = call(connection, "SCRIPT", "LOAD", FINISH)
    gc.disable()
    read = ("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT", BATCH, "BLOCK", BLOCK_MS, "STREAMS", LANE, ">")
    while True:
        answer = call(connection, *read)
        if answer:
            entries: Entries = answer[0][1]
            batch = [decode(fields[1]) for _, fields in entries]
            inboxes = store(cursor, batch)
            call(connection, "EVALSHA", digest, *finish_arguments(entries, batch, inboxes))


def main() -> None:
    """Connect to both servers and run until SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pool = redis.ConnectionPool.from_url(os.environ["REDIS_URL"], protocol=2, socket_read_size=READ_BYTES)
    connection = pool.get_connection()
    with psycopg.connect(os.environ["DATABASE_URL"]) as database:
        database.adapters.register_dumper(Packed, PackedDumper)
        create_group(connection)
        run(connection, psycopg.Cursor(database))


def create_group(connection: AbstractConnection) -> None:
    """Make the lane and its group where they are not there."""
    try:
        call(connection, "XGROUP", "CREATE", LANE, GROUP, "0", "MKSTREAM")
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


if __name__ == "__main__":
    main()
