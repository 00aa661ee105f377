"""A look at something that may not answer: every so often, in a thread, one at a time, however many ask for it."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent import futures
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

import structlog

log = structlog.get_logger("notify.dashboard")

T_co = TypeVar("T_co", covariant=True)

# A look that takes long is taken less often: it may cost a tenth of a thread's time, and none waits longer than this.
SHARE: Final = 10
LONGEST_REST_SECONDS: Final = 20.0
# A little early is in time: who asks in step with a look must not find every other one not due yet.
EARLY: Final = 0.2


class Look(Generic[T_co]):
    """What was seen last, and whether there is an answer at all. Any thread may ask.

    The thread of a look that hangs is lost until its server goes on, or dies; there is never a second one.
    """

    def __init__(
        self, name: str, look: Callable[[], T_co], *, every: float, limit: float, lasting: float = 0.0
    ) -> None:
        """Times are seconds; after `limit` without an answer there is none.

        `lasting`: for how long what was seen last is good enough while a look only takes too long.
        """
        self.name = name
        self._look, self._every, self._limit, self._lasting = look, every, limit, lasting
        self._lock = threading.Lock()
        self._running: Future[None] | None = None
        self._began = self._due = self._ended = self._answers_since = 0.0
        self._value: T_co | None = None
        self._failed = False

    def begin(self) -> Future[None] | None:
        """Look, if it is time to; the look under way, if there is one."""
        with self._lock:
            now = time.monotonic()
            if self._running is None and now >= self._due - self._every * EARLY:
                self._start(now)
            return self._running

    @property
    def down(self) -> bool:
        """Whether the last look failed, unless that is long ago, or the one under way takes too long."""
        with self._lock:
            return (self._failed and not self._old()) or self._overdue()

    @property
    def value(self) -> T_co | None:
        """What was seen last; None before the first look, when it is old, and while there is no answer."""
        with self._lock:
            lost = not self._lasts() if self._overdue() else self._old()
            return None if self._failed or lost else self._value

    @property
    def answers_for(self) -> float:
        """For how many seconds there has been an answer since the last time there was none."""
        return time.monotonic() - self._answers_since

    @property
    def seen_at(self) -> float:
        """When the last look ended, in seconds of the monotonic clock."""
        return self._ended

    def _start(self, now: float) -> None:
        future = Future[None]()
        # From here on nobody who waits for it can cancel it.
        future.set_running_or_notify_cancel()
        # No pool: its threads are waited for when the process ends, and one that hangs would keep it from that.
        threading.Thread(target=self._run, args=(now, future), name=f"notify-{self.name}", daemon=True).start()
        self._began, self._running = now, future

    def _overdue(self) -> bool:
        return self._running is not None and time.monotonic() - self._began > self._limit

    def _old(self) -> bool:
        return time.monotonic() - self._ended > 2 * (self._limit + max(self._every, self._due - self._ended))

    def _lasts(self) -> bool:
        return time.monotonic() - self._ended <= self._lasting

    def _run(self, began: float, future: "Future[None]") -> None:
        value, failure = None, ""
        try:
            value = self._look()
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no answer
            failure = repr(error)
        with self._lock:
            changed = bool(failure) is not self._failed
            if changed or self._overdue():
                self._answers_since = time.monotonic()
            self._value, self._failed, self._ended, self._running = value, bool(failure), time.monotonic(), None
            self._due = self._next(began, self._ended - began)
        if changed:
            log.warning("dashboard.no_answer" if failure else "dashboard.answers_again", look=self.name, error=failure)
        future.set_result(None)

    def _next(self, began: float, took: float) -> float:
        """When to look again: in step with the first look, so that nothing drifts, unless looks take long."""
        if took > self._limit:
            return self._ended
        due = max(self._due + self._every, began) if began - self._due < self._every else began + self._every
        return max(due, began + min(took * SHARE, LONGEST_REST_SECONDS))


def wait(looks: Iterable[Look[object]], seconds: float) -> None:
    """Begin every look whose time it is, and wait for all of them, so many seconds at most."""
    under_way = [future for look in looks if (future := look.begin())]
    futures.wait(under_way, timeout=seconds)
