"""What one event does, for queues that take them one by one: the floor's two statements and what it asks of Redis.

The least that it can cost: both statements are one round trip and one transaction, prepared, their values bound by the
server, on connections that stay open. A second delivery breaks the primary key and changes nothing; as in the floor, it
is not the case here and ends the task with an error.
"""

import os
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any, Final

import psycopg
import redis

from benchmarks.floor import INBOX, ONLINE, SOURCES
from notifications.events import Event, decode

STORE: Final = """
    WITH counted AS (
        INSERT INTO notifications_inbox AS inbox (recipient, seq, unread, version) VALUES (%b, 1, 1, 1)
        ON CONFLICT (recipient) DO UPDATE SET
            seq = inbox.seq + 1, unread = inbox.unread + 1, version = inbox.version + 1
        RETURNING recipient, version, unread, seq
    ), stored AS (
        INSERT INTO notifications_notification
            (id, recipient, seq, type, title, body, data, stored_at, attempts, source, source_id)
        SELECT %b::text::uuid, recipient, seq, %b, %b, %b, %b::text::jsonb, now(), %b, %b, %b::text::uuid
        FROM counted
    )
    SELECT version, unread, seq FROM counted
"""

# KEYS: n mirrors, their n presences. ARGV: the mirrors' values joined by commas. Returns 1 for each recipient who is
# online. It is the floor's script without what acknowledges.
TELL: Final = """
local n = #KEYS / 2
local online = {}
if redis.call('EXISTS', unpack(KEYS)) > 0 then
  local i = 0
  for value in string.gmatch(ARGV[1], '[^,]+') do
    i = i + 1
    local mirror = redis.call('GET', KEYS[i])
    if mirror then
      local version = tonumber(string.match(mirror, '^%d+'))
      if not version then
        redis.call('DEL', KEYS[i])
      elseif tonumber(string.match(value, '^%d+')) > version then
        redis.call('SET', KEYS[i], value, 'KEEPTTL')
      end
    end
    online[i] = redis.call('EXISTS', KEYS[n + i])
  end
end
return online
"""


def values(event: Event) -> tuple[Any, ...]:
    """The parameters of STORE."""
    return (
        event.recipient,
        event.id,
        event.type,
        event.title,
        event.body,
        bytes(event.data).decode(),
        event.attempts + 1,
        SOURCES[event.source],
        event.source_id,
    )


def telling(inboxes: Mapping[str, tuple[Any, ...]]) -> tuple[Any, ...]:
    """What follows TELL's digest: number of keys, keys, arguments. Each inbox is its version, unread and seq."""
    mirrors = [INBOX + recipient for recipient in inboxes]
    presences = [ONLINE + recipient for recipient in inboxes]
    states = ",".join(["%d %d %d" % state for state in inboxes.values()])  # noqa: UP031 - faster
    return 2 * len(inboxes), *mirrors, *presences, states


class Session:
    """A connection to each server, for one event at a time."""

    def __init__(self) -> None:
        database = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        self._cursor = psycopg.Cursor(database)
        self._valkey = redis.Redis.from_url(os.environ["REDIS_URL"], protocol=2, single_connection_client=True)
        self._digest = self._valkey.script_load(TELL)

    def deliver(self, payload: str) -> None:
        """Do what the event in a payload does."""
        event = decode(payload.encode())
        state = self._cursor.execute(STORE, values(event), prepare=True, binary=True).fetchone()
        assert state is not None
        self._valkey.evalsha(self._digest, *telling({event.recipient: state}))


class Sessions:
    """As many sessions as there are threads, all open before the first event comes."""

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[Session] = SimpleQueue()
        for _ in range(count):
            self._free.put(Session())

    def deliver(self, payload: str) -> None:
        """Do it with a session that nobody has."""
        session = self._free.get()
        try:
            session.deliver(payload)
        finally:
            self._free.put(session)
