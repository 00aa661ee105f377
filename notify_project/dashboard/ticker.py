"""The dashboards' own frames: four times a second while something changes, once a second in any case.

It runs while somebody watches in this process, and asks no server anything before and after. Each frame is encoded
once, whatever the number of sockets.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog

from notifications import representation
from notify_project.dashboard import frames, trend
from notify_project.dashboard.facts import Facts
from notify_project.dashboard.judge import Steady, judge
from notify_project.dashboard.snapshot import FLOW_SECONDS, SLOW_SECONDS, Snapshot, snapshot

log = structlog.get_logger("notify.dashboard")

QUIET_SECONDS: Final = 1.0
# What Redis takes to answer is a few milliseconds; who waits longer shows what was known before.
PATIENCE_SECONDS: Final = 0.2


class Ticker:
    """The frames of one event loop's dashboards."""

    def __init__(self, deliver: Callable[[str], None]) -> None:
        """`deliver` takes a frame's text and must not wait."""
        self._deliver = deliver
        self._task: asyncio.Task[None] | None = None
        self._shown: _Shown | None = None

    def start(self) -> None:
        """Begin, where it has not begun."""
        if self._task is None:
            self._shown = _Shown(snapshot(), self._deliver)
            self._task = asyncio.create_task(self._run(self._shown))

    def stop(self) -> None:
        """End: nobody watches any more."""
        if self._task is not None:
            self._task.cancel()
        self._task = self._shown = None

    def latest(self) -> Iterable[str]:
        """The newest frame of each kind that repeats itself, for who comes in between."""
        return list(self._shown.latest.values()) if self._shown else ()

    async def _run(self, shown: "_Shown") -> None:
        loop = asyncio.get_running_loop()
        due, healthy = loop.time(), True
        while True:
            try:
                await shown.look()
                shown.tell()
                healthy = True
            except Exception:
                # A bug in what is shown must not end the frames, nor fill the log.
                if healthy:
                    log.exception("dashboard.frame_failed")
                healthy = False
            due = max(due + FLOW_SECONDS, loop.time())
            await asyncio.sleep(due - loop.time())


class _Shown:
    """What the dashboards of a process were told, from the first of them to the last."""

    def __init__(self, seen: Snapshot, deliver: Callable[[str], None]) -> None:
        self.latest: dict[str, str] = {}
        self._snapshot, self._deliver = seen, deliver
        self._row: deque[Facts] = deque()
        self._steady = Steady()
        self._news: dict[str, Any] = {}
        self._told: dict[str, float] = {}
        self._newest_point: int | None = None

    async def look(self) -> None:
        """Begin what is due, and wait a moment for what the flow is made of."""
        under_way = {look.name: future for look in self._snapshot.all if (future := look.begin())}
        if first := under_way.get(self._snapshot.gauges.name):
            await asyncio.wait([asyncio.wrap_future(first)], timeout=PATIENCE_SECONDS)

    def tell(self) -> None:
        """Send what is new, and what has not been sent for too long."""
        now = time.monotonic()
        self._tell_flow(now)
        self._tell_points()
        if now - self._told.get("processes", 0.0) >= SLOW_SECONDS - FLOW_SECONDS / 2:
            shown, known = frames.processes(self._snapshot), frames.servers(self._snapshot)
            self._send(now, {"type": "processes", "at": present_ms(None), "processes": shown, "servers": known})

    def _tell_flow(self, now: float) -> None:
        facts = self._snapshot.facts()
        self._remember(facts)
        lately = trend.of_facts(self._row)
        verdicts = self._steady.shown(judge(facts, lately), now)
        stages = frames.stages(facts, lately, verdicts)
        news = frames.news(stages)
        if news != self._news or now - self._told.get("flow", 0.0) >= QUIET_SECONDS - FLOW_SECONDS / 2:
            self._news = news
            at, latency = present_ms(facts), frames.latency(self._snapshot)
            self._send(now, {"type": "flow", "at": at, "stages": stages, "latency": latency})

    def _tell_points(self) -> None:
        slices = self._snapshot.slices.value
        if slices is None:
            return
        if self._newest_point is None:
            # What is over already, the history has.
            self._newest_point = slices[-1].at if slices else 0
        for one in slices:
            if one.at > self._newest_point:
                self._newest_point = one.at
                self._deliver(representation.frame({"type": "point", **frames.point(one)}))

    def _remember(self, facts: Facts) -> None:
        if not self._row or facts.at > self._row[-1].at:
            self._row.append(facts)
        while self._row[-1].at - self._row[0].at > trend.MEMORY_SECONDS:
            self._row.popleft()

    def _send(self, now: float, frame: dict[str, Any]) -> None:
        text = self.latest[frame["type"]] = representation.frame(frame)
        self._told[frame["type"]] = now
        self._deliver(text)


def present_ms(facts: Facts | None) -> int:
    """Redis' time, or this host's where that is not known."""
    return facts.gauges.at_ms if facts and facts.gauges else time.time_ns() // 1_000_000
