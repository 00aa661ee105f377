"""taskiq with its Redis Streams broker: asyncio, one task an event, as many at once as there are connections.

Tried: 8, 16 and 32 tasks at once, 100 and 1000 entries a read. Entries that it acknowledged stay in the stream.
"""

import asyncio
import os
from collections.abc import Iterable
from typing import Any, Final, Self

import psycopg
import redis.asyncio
import uvloop
from taskiq.acks import AcknowledgeType
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from benchmarks.peers.effects import STORE, TELL, telling, values
from notifications.events import decode

TASKS: Final = 16
READ_COUNT: Final = 1000

broker = RedisStreamBroker(os.environ["REDIS_URL"], xread_count=READ_COUNT, protocol=2)


class Session:
    """effects.Session for asyncio."""

    def __init__(self, database: "psycopg.AsyncConnection[tuple[Any, ...]]", valkey: redis.asyncio.Redis) -> None:
        self._cursor = psycopg.AsyncCursor(database)
        self._valkey = valkey
        self._digest = ""

    @classmethod
    async def open(cls) -> Self:
        """Connect to both."""
        database = await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True)
        valkey = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], protocol=2, single_connection_client=True)
        session = cls(database, valkey)
        session._digest = await valkey.script_load(TELL)
        return session

    async def deliver(self, payload: str) -> None:
        """Do what the event in a payload does."""
        event = decode(payload.encode())
        await self._cursor.execute(STORE, values(event), prepare=True, binary=True)
        state = await self._cursor.fetchone()
        assert state is not None
        await self._valkey.evalsha(self._digest, *telling({event.recipient: state}))


free: asyncio.LifoQueue[Session] = asyncio.LifoQueue()


async def notify(payload: str) -> None:
    """The task."""
    session = await free.get()
    try:
        await session.deliver(payload)
    finally:
        free.put_nowait(session)


task = broker.task(task_name="notify")(notify)


def enqueue(payloads: Iterable[str]) -> None:
    """A message for each."""
    asyncio.run(_enqueue(payloads))


async def _enqueue(payloads: Iterable[str]) -> None:
    await broker.startup()
    for payload in payloads:
        await task.kiq(payload)
    await broker.shutdown()


def work() -> None:
    """Run taskiq's receiver, as its command does in each of its processes, until SIGTERM."""
    uvloop.run(_work())


async def _work() -> None:
    for _ in range(TASKS):
        free.put_nowait(await Session.open())
    await broker.startup()
    await run_receiver_task(
        broker,
        validate_params=False,
        max_async_tasks=TASKS,
        max_prefetch=TASKS,
        ack_time=AcknowledgeType.WHEN_EXECUTED,
    )
