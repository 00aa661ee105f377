"""Clients on sockets: each keeps what it got, and after whatever cut it off it resumes where it was."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.chaos.clock import Part
from tests.sockets import Frame, Socket

RETRY_SECONDS: Final = 0.3
# Heartbeats come every two seconds (deployment.py); who hears none for so long looks for another gateway.
SILENT_SECONDS: Final = 8.0
LOST: Final = (ConnectionClosed, InvalidHandshake, OSError, TimeoutError, EOFError)


class Follower(Part):
    """What a careful client of the contract's section 3 does; it takes the gateways in turn."""

    def __init__(self, recipient: str, token: str, gateways: Sequence[str]) -> None:
        super().__init__()
        self.recipient = recipient
        self.seen: dict[int, str] = {}
        self.contradictions: list[str] = []
        self.connections = 0
        self.last = 0  # up to here nothing is missing
        self._token = token
        self._gateways = gateways
        self._newest = 0
        self._resuming = False
        self._socket: Socket | None = None
        self._over = threading.Event()

    def play(self) -> None:
        """Follow until the end, whatever happens to the connection."""
        while not self._over.is_set():
            with suppress(*LOST), Socket(self._gateways[self.connections % len(self._gateways)], self._token) as opened:
                self._socket, self._resuming = opened, False
                while not self._over.is_set():
                    self._take(opened, opened.receive(SILENT_SECONDS))
            self.connections += 1
            self._over.wait(RETRY_SECONDS)

    def end(self) -> None:
        """Leave, and wait for no farewell."""
        self._over.set()

    def unread(self) -> int | None:
        """What another socket of the recipient is told of it, if it gets that far."""
        with suppress(*LOST), Socket(self._gateways[0], self._token) as other:
            unread: int = other.expect("hello")["unread"]
            return unread
        return None

    def mark_read(self, ids: list[str] | None) -> None:
        """Mark these read, or all (None), if there is a connection just now."""
        opened = self._socket
        if opened is not None:
            with suppress(*LOST):
                opened.send(type="read", **({"all": True} if ids is None else {"ids": ids}))

    def _take(self, opened: Socket, frame: Frame) -> None:
        match frame["type"]:
            case "notification":
                self._keep(frame["notification"])
            case "hello" | "sync":
                self._newest = max(self._newest, frame["seq"])
            case "resumed" | "error":
                self._resuming = False
        # After an error it waits for the next heartbeat: what failed just now would fail at once again.
        if self._newest > self.last and not self._resuming and frame["type"] != "error":
            self._resuming = True
            opened.send(type="resume", after=self.last)

    def _keep(self, notification: dict[str, str | int]) -> None:
        seq, event_id = int(notification["seq"]), str(notification["id"])
        known = self.seen.setdefault(seq, event_id)
        if known != event_id:
            self.contradictions.append(f"seq {seq} is {known} and {event_id}")
        self._newest = max(self._newest, seq)
        while self.last + 1 in self.seen:
            self.last += 1
