"""Clients of `POST /api/notify` in one process, told what to do by lines of JSON (see accept.py).

They keep their connections, and each sends its next request when the answer to the one before is there. Requests are
made before the clock starts, and of an answer no more is read than its status and where it ends: a client must not be
what is measured. What it takes of a core is part of the result.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from benchmarks.load import Load

RECIPIENTS: Final = 50_000
LENGTH: Final = b"content-length:"
LAST_CHUNK: Final = b"0\r\n\r\n"


class Sent(msgspec.Struct):
    """An event as a producer writes it."""

    recipient: str
    type: str
    title: str
    body: str
    data: msgspec.Raw


class Order(msgspec.Struct):
    """What to do: `requests` of `size` events each (0: one, by itself) from `clients`, after `warm_up` others."""

    port: int
    key: str
    size: int
    requests: int
    clients: int
    warm_up: int
    seed: int


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the starting shot."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self) -> None:
        """Send the next request, if one is left."""
        assert self._transport
        if (request := self._run.next()) is not None:
            self._transport.write(request)

    def close(self) -> None:
        """Hang up."""
        assert self._transport
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """An answer, or a part of one; when it is whole, send the next request."""
        self._received += data
        if _is_whole(self._received):
            status, self._received = self._received[9:12], b""
            self._run.answered(status)
            self.send()

    def connection_lost(self, _: Exception | None) -> None:
        """A server that hangs up has not kept its part."""
        self._run.lost()


class Run:
    """So many requests, until all are answered."""

    def __init__(self, requests: list[bytes]) -> None:
        self.statuses = Counter[bytes]()
        self._requests = iter(requests)
        self._left = len(requests)
        self._over = asyncio.get_running_loop().create_future()

    def next(self) -> bytes | None:
        """The next request; None: there is none."""
        return next(self._requests, None)

    def answered(self, status: bytes) -> None:
        """One is answered."""
        self.statuses[status] += 1
        self._left -= 1
        if not self._left:
            self._over.set_result(None)

    def lost(self) -> None:
        """A connection is lost; nothing is made up for that."""
        if not self._over.done():
            self._over.set_exception(ConnectionError("a connection was lost"))

    async def over(self) -> None:
        """Wait until all are answered."""
        await self._over


class Crowd:
    """All clients, and what they will send."""

    def __init__(self, order: Order) -> None:
        self._order = order
        made = _requests(order)
        self._warm_up = list(islice(made, order.warm_up))
        self._requests = list(made)

    async def run(self, requests: list[bytes]) -> dict[str, Any]:
        """Connect, send all, hang up; the time and CPU that the middle of it took, and the answers by status."""
        run, loop = Run(requests), asyncio.get_running_loop()
        opened = [
            await loop.create_connection(lambda: Connection(run), "127.0.0.1", self._order.port)
            for _ in range(min(self._order.clients, len(requests)))
        ]
        began, worked = time.perf_counter(), time.process_time()
        for _, connection in opened:
            connection.send()
        await run.over()
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - worked
        for _, connection in opened:
            connection.close()
        statuses = {status.decode(): number for status, number in run.statuses.items()}
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "statuses": statuses}

    async def warm_up(self) -> dict[str, Any]:
        """What is not on the clock."""
        return await self.run(self._warm_up)

    async def measured(self) -> dict[str, Any]:
        """What is."""
        return await self.run(self._requests)


def _is_whole(received: bytes) -> bool:
    """Whether all of an answer is there: as long as its head says, or up to its last chunk."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    at = head.lower().find(LENGTH)
    if at < 0:
        return body.endswith(LAST_CHUNK)
    return len(body) >= int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0])


def _requests(order: Order) -> Iterator[bytes]:
    """Requests of a producer that gives each a key of its own, so that it can send it again."""
    number = order.warm_up + order.requests
    chance = random.Random()
    events = (
        msgspec.json.encode(Sent(event.recipient, event.type, event.title, event.body, event.data))
        for event in Load(number * (order.size or 1), RECIPIENTS, order.seed)
    )
    for _ in range(number):
        body = b'{"notifications":[' + b",".join(islice(events, order.size)) + b"]}" if order.size else next(events)
        path = "/api/notify/batch" if order.size else "/api/notify"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{order.port}\r\nUser-Agent: benchmark\r\nAccept: */*\r\n"
            f"Authorization: Bearer {order.key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"Idempotency-Key: {chance.getrandbits(128):032x}\r\n\r\n"
        )
        yield head.encode() + body


async def main() -> None:
    """Read what to do, line by line, and answer each line with another."""
    loop, crowd = asyncio.get_running_loop(), None
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if line.startswith("{"):
            crowd = Crowd(msgspec.json.decode(line, type=Order))
            answer = await crowd.warm_up()
        else:
            assert crowd
            answer = await crowd.measured()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
