"""Single notifications, sent in their turn to recipients who are online: how long each takes from POST to frame."""

import asyncio
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, NamedTuple, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from benchmarks.schedules import Wrong

POLL_SECONDS: Final = 0.2
ARRIVAL_SECONDS: Final = 30.0


class Arrival(NamedTuple):
    """A single notification: when it was to be sent (Unix seconds), and how long after that its frame was here, ms."""

    turn: float
    took_ms: float


class Pace(NamedTuple):
    """Single notifications a second, and to how many recipients with a socket each, in turn."""

    rate: int
    sockets: int


class Singles:
    """Sends single notifications, each in its turn, whether those before it arrived or not, and waits for frames."""

    def __init__(self, url: str, headers: Mapping[str, str], pace: Pace) -> None:
        self._url = url
        self._headers = headers
        self._pace = pace
        self._cleanup = AsyncExitStack()
        self._turns: dict[str, float] = {}
        self._arrivals: list[Arrival] = []
        self._failed: list[BaseException] = []

    async def __aenter__(self) -> Self:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=self._pace.sockets)
        self._client = await self._cleanup.enter_async_context(
            httpx.AsyncClient(
                base_url=self._url,
                headers=self._headers,
                limits=limits,
                timeout=ARRIVAL_SECONDS,
                trust_env=False,
            )
        )
        names = [f"single-{number}" for number in range(self._pace.sockets)]
        listening = [asyncio.create_task(self._listen(await self._open(name))) for name in names]
        posting = asyncio.create_task(self._post_in_turn(names))
        for task in (*listening, posting):
            self._cleanup.callback(task.cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._cleanup.aclose()

    def between(self, start: float, end: float) -> list[Arrival]:
        """What was to be sent between two times (Unix seconds)."""
        return [arrival for arrival in self._arrivals if start <= arrival.turn < end]

    async def job_over(self, job_id: str) -> dict[str, Any]:
        """The job, once it is over."""
        while True:
            answer = await self._client.get(f"/api/bulk/{job_id}")
            job: dict[str, Any] = answer.raise_for_status().json()
            if job["finished_at"]:
                return job
            await asyncio.sleep(POLL_SECONDS)

    async def all_arrived(self, sent_before: float) -> None:
        """Wait for everything that was to be sent before a time. Raises Wrong where something never arrives."""
        deadline = time.time() + ARRIVAL_SECONDS
        while any(turn < sent_before for turn in self._turns.values()):
            if self._failed:
                raise Wrong(f"a request failed: {self._failed[0]!r}")
            if time.time() > deadline:
                raise Wrong("a single notification never arrived")
            await asyncio.sleep(POLL_SECONDS)

    async def _open(self, recipient: str) -> ClientConnection:
        answer = await self._client.post(f"/api/recipients/{recipient}/token", json={"ttl": 86400})
        token = answer.raise_for_status().json()["token"]
        address = self._url.replace("http", "ws", 1) + "/ws/inbox/"
        offered = [Subprotocol("notify.v1"), Subprotocol(f"bearer.{token}")]
        socket = await self._cleanup.enter_async_context(connect(address, subprotocols=offered, proxy=None))
        await socket.recv()
        return socket

    async def _listen(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for text in socket:
                now, frame = time.time(), json.loads(text)
                turn = (
                    self._turns.pop(frame["notification"]["title"], None) if frame["type"] == "notification" else None
                )
                if turn is not None:
                    self._arrivals.append(Arrival(turn, (now - turn) * 1000))

    async def _post_in_turn(self, names: Sequence[str]) -> None:
        first, number = time.time(), 0
        async with asyncio.TaskGroup() as posts:
            while True:
                turn = first + number / self._pace.rate
                await asyncio.sleep(max(0.0, turn - time.time()))
                posts.create_task(self._post(names[number % len(names)], str(number), turn))
                number += 1

    async def _post(self, recipient: str, title: str, turn: float) -> None:
        self._turns[title] = turn
        event = {"recipient": recipient, "type": "single", "title": title}
        try:
            (await self._client.post("/api/notify", json=event)).raise_for_status()
        except httpx.HTTPError as error:
            self._failed.append(error)


def print_phases(title: str, phases: Mapping[str, Sequence[Arrival]]) -> None:
    """How long single notifications took in each phase."""
    print(f"{title}: from POST to frame")
    for phase, arrivals in phases.items():
        if arrivals:
            took = [arrival.took_ms for arrival in arrivals]
            numbers = f"p50 {statistics.median(took):.1f} ms, p99 {p99(arrivals):.1f} ms, worst {max(took):.1f} ms"
            print(f"  {phase} ({len(took)}): {numbers}", flush=True)


def p99(arrivals: Sequence[Arrival]) -> float:
    """The 99th percentile, in ms."""
    took = sorted(arrival.took_ms for arrival in arrivals)
    return took[min(len(took) - 1, len(took) * 99 // 100)]
