"""What this process tells of itself: that it is there, what it did, how long events took.

It tells every two seconds, from a thread of its own that nothing else waits for. A report that cannot be sent is
dropped: none is worth the work that it tells of. Nor is any fault in telling: it is said once, and told on.
"""

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Self

import psutil
import structlog

from notifications import wiring
from notifications.exceptions import OtherShards
from notifications.stream import register
from notifications.stream.register import Report

log = structlog.get_logger("notify.reporting")

REPORT_SECONDS: Final = 2.0
# What is told at the end may come right after what was told before.
SHORTEST_SECONDS: Final = 0.1


class Sockets(NamedTuple):
    """What a gateway holds just now, and how many frames it has delivered."""

    sockets: int
    recipients: int
    frames: int


class _Tally:
    """What this process did since it started. Any thread may add to it."""

    def __init__(self) -> None:
        self._adding = threading.Lock()
        self._handled = 0
        self._latencies = Counter[int]()
        # How Redis' time is known here: from the last report.
        self.now_ms: Callable[[], int | None] = lambda: None

    def add(self, events: int) -> None:
        with self._adding:
            self._handled += events

    def took(self, durations: Iterable[tuple[int, int]]) -> None:
        with self._adding:
            for duration_ms, events in durations:
                self._latencies[register.bucket(duration_ms)] += events

    def take(self) -> tuple[int, Mapping[int, int]]:
        """Events handled in all; and the latencies since the last call."""
        with self._adding:
            latencies, self._latencies = self._latencies, Counter()
            return self._handled, latencies


_tally: Final = _Tally()


def handled(events: int) -> None:
    """Count events that this process has dealt with, whatever that is in its trade."""
    _tally.add(events)


def began(times: Mapping[int, int]) -> None:
    """Note how long events took until now: `times` are the Unix ms of Redis' clock when so many of them began."""
    now_ms = _tally.now_ms()
    if now_ms is not None:
        _tally.took((now_ms - begun_ms, events) for begun_ms, events in times.items())


class Reporter:
    """Tells of this process while it is entered (or between `start` and `stop`), and says goodbye in the end."""

    def __init__(
        self,
        kind: str,
        name: str,
        *,
        is_stuck: Callable[[], bool] = lambda: False,
        sockets: Callable[[], Sockets] | None = None,
    ) -> None:
        """One that `is_stuck` keeps silent. `sockets` is a gateway's."""
        self._kind = kind
        self._is_stuck = is_stuck
        self._sockets = sockets
        self._register = wiring.register(name)
        self._process = psutil.Process()
        # When it was told last, the events handled until then, the frames.
        self._last = time.monotonic(), 0, 0
        self._healthy = True
        self._telling = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notify-reporter", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        # Who ends by a bug says no goodbye, and so is soon known to be dead.
        if failure is None:
            self.stop()
        self._over.set()

    def start(self) -> None:
        """Begin to tell."""
        _tally.now_ms = self._register.now_ms
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye. Waits for no longer than two reports may take."""
        # A fork that ends is another process, which this one outlives.
        if self._process.pid == os.getpid() and not self._over.is_set():
            self._over.set()
            self._tell(stopped=True)

    def _run(self) -> None:
        while True:
            if not self._is_stuck():
                self._tell()
            if self._over.wait(REPORT_SECONDS):
                return

    def _tell(self, *, stopped: bool = False) -> None:
        with self._telling:
            # Who said goodbye says nothing more.
            if self._over.is_set() and not stopped:
                return
            handled, latencies = _tally.take()
            try:
                age_ms = round((time.time() - self._process.create_time()) * 1000)
                self._register.report(self._report(handled), latencies, age_ms=age_ms, stopped=stopped)
            except OtherShards as error:
                # It came back with what another was filled with. Whatever this process writes is lost on all others.
                log.error("process.other_shards", error=str(error))  # noqa: TRY400 - the line says all of it
                os.kill(os.getpid(), signal.SIGTERM)
            except Exception as error:  # noqa: BLE001 - who is silent for good counts as dead, and it works
                self._say("reporting.dropped", healthy=False, error=repr(error))
            else:
                self._say("reporting.restored", healthy=True)

    def _report(self, handled: int) -> Report:
        now = time.monotonic()
        held = self._sockets() if self._sockets else None
        frames = held.frames if held else 0
        last, last_handled, last_frames = self._last
        self._last = now, handled, frames
        seconds = max(now - last, SHORTEST_SECONDS)
        return Report(
            kind=self._kind,
            host=socket.gethostname(),
            pid=os.getpid(),
            handled=handled,
            rate=round((handled - last_handled) / seconds, 1),
            rss_bytes=self._process.memory_info().rss,
            sockets=held.sockets if held else None,
            recipients=held.recipients if held else None,
            frame_rate=round((frames - last_frames) / seconds, 1) if held else None,
        )

    def _say(self, action: str, *, healthy: bool, **fields: str) -> None:
        """A line when it changes; the outage itself is for the work to tell."""
        if healthy is not self._healthy:
            log.info(action, **fields)
        self._healthy = healthy
