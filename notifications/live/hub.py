"""The gateway's side of live frames: one channel a process, its sockets by recipient, one beat for all of them.

Sockets hold no channel and no group of their own. Workers send one message a gateway, and the hub hands each frame,
encoded once, to the sockets it is for.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

import structlog
from channels.layers import get_channel_layer
from django.conf import settings

from notifications import following, metrics, representation, unread, wiring
from notifications.live import presence
from notifications.live.threads import in_thread
from notifications.reporting import Sockets
from notifications.store import InboxState

log = structlog.get_logger("notify.live")

RETRY_SECONDS: Final = 1.0


class Socket(Protocol):
    """What the hub knows of an open socket."""

    recipient: str

    def deliver(self, text: str) -> None:
        """Take a frame; must not wait."""


class Hub:
    """All sockets of this process. Lives on one event loop and is touched from it alone."""

    _of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, "Hub"] = WeakKeyDictionary()

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self._sockets: dict[str, set[Socket]] = defaultdict(set)
        self._open = self._frames = 0
        # Recipients by the second of the heartbeat at which it is their turn: the beat is spread, never a burst.
        self._turns: dict[int, set[str]] = defaultdict(set)
        self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._beat())]

    @classmethod
    async def of_this_loop(cls) -> "Hub":
        """The process' hub, made with the first socket."""
        loop = asyncio.get_running_loop()
        hub = cls._of_loop.get(loop)
        if hub is None:
            # Subscribing takes a moment, in which a second socket may have made the hub.
            channel = await get_channel_layer().new_channel("gateway.")
            hub = cls._of_loop.get(loop)
            if hub is None:
                hub = cls._of_loop[loop] = cls(channel)
        return hub

    @classmethod
    def held(cls) -> Sockets:
        """What this process holds, for any thread that asks."""
        # A copy: another thread may make its hub meanwhile, and then the dictionary is not to be gone through.
        hubs = [cls._of_loop.get(loop) for reference in cls._of_loop.keyrefs() if (loop := reference()) is not None]
        each = [hub.counts() for hub in hubs if hub]
        return Sockets(*(sum(counts) for counts in zip(*each, strict=True))) if each else Sockets(0, 0, 0)

    def counts(self) -> Sockets:
        """What this hub holds."""
        return Sockets(self._open, len(self._sockets), self._frames)

    async def join(self, socket: Socket) -> bool:
        """Take a socket in; False when its recipient has too many. From here on frames are delivered to it."""
        recipient = socket.recipient
        self._sockets[recipient].add(socket)
        self._open += 1
        self._turns[self._turn(recipient)].add(recipient)
        try:
            joined = await in_thread(
                presence.join,
                wiring.shards(),
                recipient,
                self.channel,
                limit=settings.NOTIFY.sockets_per_recipient,
            )
        except BaseException:
            self._drop(socket)
            raise
        if not joined:
            self._drop(socket)
        return joined

    async def leave(self, socket: Socket) -> None:
        """Let a socket go. Presence that cannot be told expires by itself."""
        self._drop(socket)
        stated = -1
        # Another socket of the same recipient may open or close while Redis is told; the last word is the true one.
        with contextlib.suppress(Exception):
            while stated != (count := len(self._sockets.get(socket.recipient, ()))):
                stated = count
                await in_thread(presence.renew, wiring.shards(), self.channel, {socket.recipient: count})

    def _drop(self, socket: Socket) -> None:
        sockets = self._sockets[socket.recipient]
        if socket in sockets:
            sockets.remove(socket)
            self._open -= 1
        if not sockets:
            del self._sockets[socket.recipient]
            self._turns[self._turn(socket.recipient)].discard(socket.recipient)

    def _deliver(self, recipient: str, text: str) -> int:
        """Hand a frame to the sockets it is for; to how many."""
        sockets = tuple(self._sockets.get(recipient, ()))
        self._frames += len(sockets)
        for socket in sockets:
            socket.deliver(text)
        return len(sockets)

    async def _receive(self) -> None:
        """Hand what workers send to the sockets it is for, for as long as the process lives."""
        layer = get_channel_layer()
        while True:
            try:
                message: dict[str, Any] = await layer.receive(self.channel)
                came_ns = time.time_ns()
                reached = [self._deliver(recipient, text) for recipient, text in message["frames"]]
                metrics.frames_delivered.inc(sum(reached))
                if traces := message.get("traces"):
                    following.delivered(traces, reached, came_ns)
            except Exception as error:  # noqa: BLE001 - a gateway outlives whatever one message brings
                log.warning("gateway.receive_failed", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _beat(self) -> None:
        """Once a second: renew the presence of those whose turn it is, and send them `sync`."""
        done, healthy = int(time.monotonic()), True
        while True:
            await asyncio.sleep(1.0)
            now = int(time.monotonic())
            recipients = self._due(done, now)
            try:
                if recipients:
                    await self._sync(recipients)
            except Exception as error:  # noqa: BLE001 - Redis or PostgreSQL is away; the next beat tries again
                if healthy:
                    log.warning("gateway.beat_failed", error=repr(error))
                healthy = False
                continue
            if recipients and not healthy:
                log.info("gateway.beat_restored")
            done, healthy = now, healthy or bool(recipients)

    def _due(self, done: int, now: int) -> tuple[str, ...]:
        """Whose turn has come since the second done last; after an outage or a slow beat nobody is left out."""
        heartbeat = settings.NOTIFY.heartbeat_seconds
        seconds = range(max(done, now - heartbeat) + 1, now + 1)
        return tuple(recipient for second in seconds for recipient in self._turns[second % heartbeat])

    async def _sync(self, recipients: tuple[str, ...]) -> None:
        counts = {recipient: len(self._sockets.get(recipient, ())) for recipient in recipients}
        states = await in_thread(_renew_and_look, self.channel, counts)
        reached = [
            self._deliver(recipient, representation.sync_frame(state.unread, state.seq))
            for recipient, state in states.items()
        ]
        metrics.frames_delivered.inc(sum(reached))

    @staticmethod
    def _turn(recipient: str) -> int:
        # Not hash(): a gateway that is started again would beat at other seconds, which is harder to reason about.
        return sum(recipient.encode()) % settings.NOTIFY.heartbeat_seconds


def _renew_and_look(channel: str, counts: Mapping[str, int]) -> dict[str, InboxState]:
    presence.renew(wiring.shards(), channel, counts)
    return unread.look_where_possible(wiring.shards(), list(counts))
