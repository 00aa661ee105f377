"""FastStream with a batch subscriber of a Redis stream: a handler gets up to 1000 events at once.

Tried: 1000 and 2000 events a batch; its own decoding, which goes through JSON three times, and, a fifth faster, a
parser and a decoder in its place that leave a body as it came. Entries are deleted as the worker's are, or the stream
would only grow.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import psycopg
import redis
import redis.asyncio
import uvloop
from faststream import FastStream
from faststream.redis import BinaryMessageFormatV1, RedisBroker, StreamSub

from benchmarks.floor import INSERT_NOTIFICATIONS, SOURCES, UPSERT_INBOXES, Inboxes, sequence
from benchmarks.peers.effects import TELL, telling
from notifications.events import Event, decode

BATCH: Final = 1000
STREAM: Final = "events"
GROUP: Final = "workers"

broker = RedisBroker(os.environ["REDIS_URL"], protocol=2, apply_types=False)


class Session:
    """A connection to each server, for one batch at a time."""

    def __init__(self) -> None:
        self._database = psycopg.connect(os.environ["DATABASE_URL"])
        self._cursor = psycopg.Cursor(self._database)
        self._valkey = redis.Redis.from_url(os.environ["REDIS_URL"], protocol=2, single_connection_client=True)
        self._digest = self._valkey.script_load(TELL)

    def deliver(self, payloads: Iterable[bytes]) -> None:
        """Do what the events in payloads do."""
        inboxes = self._store([decode(payload) for payload in payloads])
        self._valkey.evalsha(self._digest, *telling(inboxes))

    def _store(self, batch: Sequence[Event]) -> Inboxes:
        """One transaction of the floor's statements; their parameters are packed by psycopg."""
        arrivals = Counter([event.recipient for event in batch])
        counts = (list(arrivals), list(arrivals.values()))
        rows = self._cursor.execute(UPSERT_INBOXES, counts, prepare=True, binary=True).fetchall()
        inboxes: Inboxes = {recipient: (version, unread, seq) for recipient, version, unread, seq in rows}
        values = columns(batch, sequence(batch, arrivals, inboxes))
        inserted = self._cursor.execute(INSERT_NOTIFICATIONS, values, prepare=True).rowcount
        assert inserted == len(batch), "the load is delivered once"
        self._database.commit()
        return inboxes


def columns(batch: Sequence[Event], places: list[int]) -> tuple[list[Any], ...]:
    """The batch as the parameters of the insert."""
    return (
        [event.id for event in batch],
        [event.recipient for event in batch],
        places,
        [event.type for event in batch],
        [event.title for event in batch],
        [event.body for event in batch],
        [bytes(event.data).decode() for event in batch],
        [event.attempts + 1 for event in batch],
        [SOURCES[event.source] for event in batch],
        [event.source_id for event in batch],
    )


Message = Mapping[str, Any]
sessions: list[Session] = []


async def parse(message: Message, original: Callable[[Message], Awaitable[Any]]) -> object:
    """The batch with the first message's headers, as they are all alike; the bodies are for `decoded`."""
    parsed = await original({**message, "data": message["data"][:1]})
    parsed.raw_message = message
    return parsed


async def decoded(message: Any) -> list[bytes]:  # noqa: ANN401 - FastStream's
    """The bodies as they came."""
    return [BinaryMessageFormatV1.parse(fields[b"__data__"])[0] for fields in message.raw_message["data"]]


async def notify(payloads: list[bytes]) -> None:
    """The handler. One batch is handed over at a time, so nothing else waits for what blocks here."""
    sessions[0].deliver(payloads)
    await broker.context.get_local("message").delete()


def enqueue(payloads: Iterable[str]) -> None:
    """A message for each, and the group that reads them."""
    asyncio.run(_enqueue(payloads))


async def _enqueue(payloads: Iterable[str]) -> None:
    async with broker, redis.asyncio.Redis.from_url(os.environ["REDIS_URL"]) as client:
        pipeline = client.pipeline(transaction=False)
        for payload in payloads:
            await broker.publish(payload.encode(), stream=STREAM, pipeline=pipeline)
            if len(pipeline) == BATCH:
                await pipeline.execute()
        await pipeline.execute()
        await client.xgroup_create(STREAM, GROUP, id="0")


def work() -> None:
    """Run FastStream until SIGTERM; it acknowledges when the handler has returned."""
    sessions.append(Session())
    subscription = StreamSub(STREAM, group=GROUP, consumer="one", batch=True, max_records=BATCH, polling_interval=2000)
    broker.subscriber(stream=subscription, parser=parse, decoder=decoded)(notify)
    uvloop.run(FastStream(broker).run())
