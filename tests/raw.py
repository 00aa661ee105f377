"""Clients that do as they please: bytes over a connection, and what comes back, whether or not it is HTTP."""

import base64
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

SECONDS = 20.0
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


@contextmanager
def connection(url: str, receive_buffer: int = 0) -> Iterator[socket.socket]:
    """A connection to the web at `url`; `receive_buffer` in bytes, where the kernel's own is too large."""
    parts = urlsplit(url)
    with socket.socket() as opened:
        if receive_buffer:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        opened.settimeout(SECONDS)
        opened.connect((parts.hostname, parts.port))
        yield opened


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    """A request as bytes; every header is stated, but for Host."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode("latin-1") + body


def until_closed(opened: socket.socket, seconds: float = SECONDS) -> bytes:
    """All that comes until the other side closes; fails with what came when it does not."""
    deadline, received = time.monotonic() + seconds, b""
    while True:
        opened.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            block = opened.recv(65536)
        except ConnectionError:
            return received
        except TimeoutError:
            raise AssertionError(f"not closed within {seconds} s, after {received[-500:]!r}") from None
        if not block:
            return received
        received += block


def answer(opened: socket.socket, seconds: float = SECONDS) -> tuple[int, dict[str, str], bytes]:
    """The status, the headers by their names in lower case, and the body of one answer."""
    deadline, received = time.monotonic() + seconds, b""
    while b"\r\n\r\n" not in received:
        received += _more(opened, deadline, received)
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += _more(opened, deadline, body)
    return int(first.split()[1]), headers, body


def problem(opened: socket.socket, seconds: float = SECONDS) -> tuple[int, str]:
    """The status and the detail of an answer that is a problem."""
    status, headers, body = answer(opened, seconds)
    assert headers["content-type"] == "application/problem+json", (status, headers, body)
    told: dict[str, Any] = json.loads(body)
    assert told["status"] == status
    return status, told["detail"]


def handshake(token: str, path: str = "/ws/inbox/") -> bytes:
    """The request for a WebSocket."""
    return request(
        "GET",
        path,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        f"Sec-WebSocket-Protocol: notify.v1, bearer.{token}",
    )


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    length = len(payload)
    if length < 126:
        size = struct.pack("!B", 0x80 | length)
    elif length < 65536:
        size = struct.pack("!BH", 0x80 | 126, length)
    else:
        size = struct.pack("!BQ", 0x80 | 127, length)
    return bytes([(0x80 if fin else 0) | opcode]) + size + bytes(4) + payload


def frames(received: bytes) -> Iterator[tuple[int, bytes]]:
    """The opcode and the payload of each whole frame that the server sent."""
    while len(received) >= 2:
        opcode, length, at = received[0] & 15, received[1] & 127, 2
        if length == 126:
            length, at = struct.unpack("!H", received[2:4])[0], 4
        elif length == 127:
            length, at = struct.unpack("!Q", received[2:10])[0], 10
        if len(received) < at + length:
            return
        yield opcode, received[at : at + length]
        received = received[at + length :]


def close_code(received: bytes) -> int | None:
    """The code that the server closed with, in all that it sent after its handshake; None without a close frame."""
    closing = [payload for opcode, payload in frames(received) if opcode == CLOSE]
    return struct.unpack("!H", closing[-1][:2])[0] if closing else None


def _more(opened: socket.socket, deadline: float, received: bytes) -> bytes:
    opened.settimeout(max(0.01, deadline - time.monotonic()))
    block = opened.recv(65536)
    assert block, f"closed after {received!r}"
    return block
