"""Clients who are online, and a producer that sends to them in its turns: a process for `latency.py`.

It takes orders as `crowd.py` does. All that is timed here is by this machine's clock, as everything else's is.
"""

import asyncio
import re
import sys
import time
from collections import deque
from typing import Any, Final

import msgspec

from benchmarks.crowd import Crowd, allow_many, serve

ARRIVAL_SECONDS: Final = 30.0
ID: Final = re.compile(rb'"id":"([0-9a-f-]{36})"')
LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ACCEPTED: Final = b"HTTP/1.1 202 "


class Producer(asyncio.Protocol):
    """A connection that stays open, with one request on its way at a time."""

    def __init__(self, free: "deque[Producer]") -> None:
        self._free = free
        self._received = b""
        self._answered: asyncio.Future[str] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, request: bytes) -> "asyncio.Future[str]":
        """Send a request; its answer is the id under which it was accepted."""
        assert self._transport
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        """A piece of the answer."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return
        self._received = b""
        assert self._answered
        found = ID.search(body)
        if found and head.startswith(ACCEPTED):
            self._answered.set_result(found[1].decode())
        else:
            self._answered.set_exception(RuntimeError(f"{head!r} {body!r}"))
        self._free.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The server closes what was idle for long; and nobody is to wait for an answer any more."""
        if self in self._free:
            self._free.remove(self)
        if self._answered and not self._answered.done():
            self._answered.set_exception(error or ConnectionError("closed"))


class Company(Crowd):
    """The clients, and the producer."""

    def __init__(self, host: str, port: int, tokens: list[str]) -> None:
        super().__init__(host, port, tokens)
        self._frames: dict[str, float] = {}
        self._free: deque[Producer] = deque()

    def arrived(self, event_id: str) -> None:
        """A notification has come to somebody."""
        self._frames[event_id] = time.time()
        super().arrived(event_id)

    async def send(self, url: str, key: str, recipients: list[str], rate: int, number: int) -> dict[str, Any]:
        """Send so many, each in its turn, whether those before it were answered or not; by id, what became of each.

        Raises TimeoutError where one never comes.
        """
        host, _, port = url.removeprefix("http://").partition(":")
        self._frames.clear()
        posted: list[asyncio.Task[tuple[str, float]]] = []
        first = time.time()
        async with asyncio.TaskGroup() as posts:
            for turn in range(number):
                due = first + turn / rate
                await asyncio.sleep(max(0.0, due - time.time()))
                request = _request(f"{host}:{port}", key, recipients[turn % len(recipients)], turn)
                posted.append(posts.create_task(self._post(host, int(port), request, due)))
        turns = [post.result() for post in posted]
        async with asyncio.timeout(ARRIVAL_SECONDS):
            while len(self._frames) < number:
                self._moved.clear()
                await self._moved.wait()
        return {
            event_id: {"due": due, "arrived": self._frames[event_id], "recipient": recipients[turn % len(recipients)]}
            for turn, (event_id, due) in enumerate(turns)
        }

    async def _post(self, host: str, port: int, request: bytes, due: float) -> tuple[str, float]:
        if not self._free:
            loop = asyncio.get_running_loop()
            _, producer = await loop.create_connection(lambda: Producer(self._free), host, port)
        else:
            producer = self._free.pop()
        async with asyncio.timeout(ARRIVAL_SECONDS):
            return await producer.ask(request), due


def _request(host: str, key: str, recipient: str, number: int) -> bytes:
    body = msgspec.json.encode(
        {
            "recipient": recipient,
            "type": "order.shipped",
            "title": "Your order is on its way",
            "body": "It left our house this morning and will be with you on the day after tomorrow, before noon.",
            "data": {"order": number, "url": f"/orders/{number}"},
        }
    )
    head = (
        f"POST /api/notify HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


if __name__ == "__main__":
    allow_many()
    asyncio.run(serve(Company, sys.argv[1], int(sys.argv[2])))
