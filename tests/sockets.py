"""A WebSocket client for tests: what a careful client of the contract's section 3 does, and no more."""

import json
import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

Frame = dict[str, Any]

PROTOCOLS = ("notify.v1",)
RECEIVE_SECONDS = 15
# RFC 6455, section 7.1.5: the connection was lost without a close frame.
NO_CODE = 1006


class Socket:
    """One open socket; `expect` waits for a frame of a kind and keeps what came before it out of the way."""

    def __init__(self, url: str, token: str | None, **headers: str) -> None:
        offered = [*PROTOCOLS, *([f"bearer.{token}"] if token else [])]
        address = url.replace("http", "ws", 1) + "/ws/inbox/"
        self._cleanup = ExitStack()
        self.connection: ClientConnection = self._cleanup.enter_context(
            connect(
                address,
                subprotocols=[Subprotocol(name) for name in offered],
                additional_headers=headers or None,
                proxy=None,
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def send(self, **message: Any) -> None:
        """Send a frame."""
        self.connection.send(json.dumps(message))

    def receive(self, timeout: float = RECEIVE_SECONDS) -> Frame:
        """The next frame."""
        frame: Frame = json.loads(self.connection.recv(timeout))
        return frame

    def expect(self, kind: str, timeout: float = RECEIVE_SECONDS) -> Frame:
        """The next frame of a kind; what comes before it is dropped."""
        deadline = time.monotonic() + timeout
        while True:
            frame = self.receive(max(0.01, deadline - time.monotonic()))
            if frame["type"] == kind:
                return frame

    def close_code(self, timeout: float = RECEIVE_SECONDS) -> int:
        """The code that the server closes with; frames before it are dropped."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self.connection.recv(max(0.01, deadline - time.monotonic()))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else NO_CODE


class Reader:
    """A recipient's client in a thread: keeps what it got by `seq`, and resumes after each disconnect."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token
        self.seen: list[int] = []
        self.resumes = 0
        self._over = threading.Event()
        self._connection: ClientConnection | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def last(self) -> int:
        """The greatest `seq` up to which nothing is missing."""
        return len(self.seen)

    def cut(self) -> None:
        """Lose the connection without a word, as a train in a tunnel does."""
        connection = self._connection
        if connection is not None:
            # The other end sees the end of the stream, and no close frame.
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self.cut()
        self._thread.join(RECEIVE_SECONDS)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with Socket(self._url, self._token) as opened:
                    self._connection = opened.connection
                    self._follow(opened)
            except (ConnectionClosed, OSError, TimeoutError, EOFError):
                self._over.wait(0.05)

    def _follow(self, opened: Socket) -> None:
        while not self._over.is_set():
            self._take(opened, opened.receive(60))

    def _take(self, opened: Socket, frame: Frame) -> None:
        match frame["type"]:
            case "notification":
                seq = frame["notification"]["seq"]
                if seq == self.last + 1:
                    self.seen.append(seq)
                elif seq > self.last + 1:
                    self._resume(opened)
            case "hello" | "sync" if frame["seq"] > self.last:
                self._resume(opened)
            case "resumed" if not frame["complete"]:
                self._resume(opened)

    def _resume(self, opened: Socket) -> None:
        self.resumes += 1
        opened.send(type="resume", after=self.last)
