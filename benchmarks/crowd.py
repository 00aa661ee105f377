"""Thousands of clients of `/ws/inbox/` in one process, told what to do by lines of JSON (see sockets.py).

They are as careful as the contract asks and no more: each resumes after the `seq` it has, and who is cut off comes back
after a while that is drawn at random and grows.
"""

import asyncio
import base64
import json
import os
import random
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

ADDRESSES: Final = [f"127.0.0.{number}" for number in range(1, 9)]
# How many are on their way in at a time, when nobody was cut off.
AT_ONCE: Final = 200
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 30.0
# What did not arrive by then, after the one before, is lost.
SILENT_SECONDS: Final = 60.0
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Shown(msgspec.Struct):
    """As much of a notification as counts here."""

    seq: int
    id: str = ""


class Frame(msgspec.Struct):
    """As much of a frame."""

    type: str
    seq: int = 0
    notification: Shown | None = None


decoder: Final = msgspec.json.Decoder(Frame)


class Client(asyncio.Protocol):
    """One recipient's, through all its connections."""

    def __init__(self, crowd: "Crowd", number: int, token: str) -> None:
        self.seq = 0
        self.opened = asyncio.Event()
        self._crowd, self._number, self._token = crowd, number, token
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._in_frames = False
        self._tries = 0
        self._resuming = False

    async def come(self) -> None:
        """Connect; what follows is told by the protocol."""
        local = ADDRESSES[self._number % len(ADDRESSES)], 0
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, self._crowd.host, self._crowd.port, local_addr=local)
        except OSError as error:
            self._crowd.refused[type(error).__name__] += 1
            self._come_later()

    def cut(self) -> None:
        """Lose the connection without a word."""
        self.opened.clear()
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._received = transport, b""
        self._in_frames = self._resuming = False
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /ws/inbox/ HTTP/1.1\r\nHost: {self._crowd.host}:{self._crowd.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Protocol: notify.v1, bearer.{self._token}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """The handshake's answer, and frames."""
        self._received += data
        if not self._in_frames:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._crowd.refused[head.split(b"\r\n")[0].decode()] += 1
            self._in_frames, self._received = True, rest
        while (found := _frame(self._received)) is not None:
            opcode, payload, self._received = found
            self._heard(opcode, payload)

    def connection_lost(self, _: Exception | None) -> None:
        """Come back, sooner or later."""
        self._transport = None
        self.opened.clear()
        if self._crowd.wanted:
            self._come_later()

    def _come_later(self) -> None:
        longest = min(FIRST_WAIT_SECONDS * 2**self._tries, LONGEST_WAIT_SECONDS)
        self._tries += 1
        wait = random.uniform(longest / 10, longest)
        asyncio.get_running_loop().call_later(wait, lambda: self._crowd.begin(self.come()))

    def _heard(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._say(payload, PONG)
        elif opcode == CLOSE:
            self._crowd.refused[f"closed with {struct.unpack('!H', payload[:2])[0]}"] += 1
        elif opcode == TEXT:
            self._take(decoder.decode(payload))

    def _take(self, frame: Frame) -> None:
        if frame.type == "hello":
            self._tries = 0
            self.opened.set()
        if frame.type == "resumed":
            self._resuming = False
        if frame.type in {"hello", "sync"} and frame.seq > self.seq:
            self._resume()
        if frame.notification is not None:
            if frame.notification.seq == self.seq + 1:
                self.seq += 1
                self._crowd.arrived(frame.notification.id)
            elif frame.notification.seq > self.seq:
                self._resume()

    def _resume(self) -> None:
        if self._resuming:
            return
        self._resuming = True
        self._crowd.resumes += 1
        self._say(json.dumps({"type": "resume", "after": self.seq}).encode(), TEXT)

    def _say(self, payload: bytes, opcode: int) -> None:
        if self._transport:
            self._transport.write(bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload)


class Crowd:
    """All of them, and what became of them."""

    def __init__(self, host: str, port: int, tokens: list[str]) -> None:
        self.host, self.port = host, port
        self.wanted = True
        self.refused = Counter[str]()
        self.resumes = 0
        self.first = self.last = 0.0
        self._moved = asyncio.Event()
        self._clients = [Client(self, number, token) for number, token in enumerate(tokens)]
        self._under_way = set[asyncio.Task[None]]()

    def begin(self, coming: Coroutine[Any, Any, None]) -> None:
        """Let something happen beside the rest."""
        task = asyncio.ensure_future(coming)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def arrived(self, _: str) -> None:
        """A notification has come to somebody, by its id."""
        self.last = time.time()
        self.first = self.first or self.last
        self._moved.set()

    async def open(self) -> dict[str, Any]:
        """Come in, some at a time; returns when all have been greeted."""
        began, doors = time.time(), asyncio.Semaphore(AT_ONCE)

        async def one(client: Client) -> None:
            async with doors:
                await client.come()
                await client.opened.wait()

        await asyncio.gather(*map(one, self._clients))
        return {"seconds": time.time() - began, "refused": self.refused}

    async def heard(self, seq: int) -> dict[str, Any]:
        """Return when everybody has every notification up to a `seq`. Raises TimeoutError where nothing more comes."""
        while any(client.seq < seq for client in self._clients):
            self._moved.clear()
            await asyncio.wait_for(self._moved.wait(), SILENT_SECONDS)
            # Others arrive meanwhile, and going through all of them takes a moment.
            await asyncio.sleep(0.1)
        told = {"first": self.first, "last": self.last, "resumes": self.resumes}
        self.first, self.resumes = 0.0, 0
        return told

    async def cut(self) -> dict[str, Any]:
        """Lose all connections at once; each client comes back by itself."""
        self.refused.clear()
        for client in self._clients:
            client.cut()
        return {"cut": time.time()}

    async def back(self) -> dict[str, Any]:
        """Return when all have been greeted again."""
        for client in self._clients:
            await client.opened.wait()
        return {"back": time.time(), "refused": self.refused}


def _frame(received: bytes) -> tuple[int, bytes, bytes] | None:
    """The first whole frame: opcode, payload, and what is behind it."""
    if len(received) < 2:
        return None
    length, at = received[1] & 127, 2
    if length == 126:
        if len(received) < 4:
            return None
        length, at = struct.unpack("!H", received[2:4])[0], 4
    if len(received) < at + length:
        return None
    return received[0] & 15, received[at : at + length], received[at + length :]


async def serve(kind: type[Crowd], host: str, port: int) -> None:
    """Read what to do, line by line, and answer each line with another."""
    loop = asyncio.get_running_loop()
    tokens = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    crowd = kind(host, port, tokens)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, *arguments = json.loads(line)
        print(json.dumps(await getattr(crowd, name)(*arguments)), flush=True)
    crowd.wanted = False


def allow_many() -> None:
    """Each client is an open file."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    allow_many()
    asyncio.run(serve(Crowd, sys.argv[1], int(sys.argv[2])))
