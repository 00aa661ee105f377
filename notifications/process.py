"""The life that every long-running command shares: signals, beat, back-off in an outage, an orderly end.

A command is a `Duty`: `step` does one unit of work, and may raise when a server is away. `run` calls it until a signal
says stop. An outage is nobody's failure: it is logged once when it begins and once when it ends, and in between the
same step is tried again with a jittered back-off. A step that has to wait does so by `pause`, which ends at the signal.
"""

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from types import FrameType
from typing import Final, Protocol, Self

import psycopg
import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from redis.exceptions import RedisError

from notifications import collector, dependencies, metrics, standstill, tracing, wiring
from notifications.health_port import HealthPort
from notifications.reporting import Reporter

log = structlog.get_logger("notify.process")

BEAT_SECONDS: Final = 2.0
# A step that takes longer than this is stuck; its process stops saying that it works, and others claim what it holds.
STUCK_SECONDS: Final = 60.0
# Ten seconds is the promise. What a step that hangs on a frozen server holds by then is given back without it.
GRACE_SECONDS: Final = 7.0
LAST_SECONDS: Final = 1.0
STATEMENT_TIMEOUT_MS: Final = 30_000
# Locks are held for milliseconds. Who waits this long looks whether their holder stands still.
LOCK_TIMEOUT_MS: Final = 5_000
FIRST_WAIT_SECONDS: Final = 0.1
# Work goes on within five seconds of a server's return; the rest of them is for the work.
LONGEST_WAIT_SECONDS: Final = 2.0

# psycopg's own: what goes wrong while a server-side cursor is closed, Django hands on as it is.
OUTAGES: Final = (DatabaseError, InterfaceError, psycopg.Error, RedisError, OSError)


class Stopping(Exception):
    """The process was asked to end while a step was waiting."""


class Duty(Protocol):
    """What a long-running command does."""

    def step(self) -> None:
        """One unit of work, a few seconds at most. Raises one of OUTAGES when a server is away; then called again."""

    def beat(self) -> None:
        """Called every two seconds from a thread of its own, whatever `step` is doing."""

    def stop(self) -> None:
        """The last call: give back what is held."""


class Chore:
    """Something that a duty does now and then, between two units of work."""

    def __init__(self, every_seconds: float, work: Callable[[], object]) -> None:
        self._every = every_seconds
        self._work = work
        self._due = 0.0

    def do_if_due(self) -> None:
        """Do it when its time has come. One that says there is more (True) stays due; one that fails is put off."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._every
            if self._work() is True:
                self._due = now


class BackOff:
    """Waits that double up to two seconds, each spread by jitter so that processes do not return in step."""

    def __init__(self) -> None:
        self._wait = FIRST_WAIT_SECONDS

    def next(self) -> float:
        """How long to wait now, in seconds."""
        wait = self._wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, protects nothing
        self._wait = min(self._wait * 2, LONGEST_WAIT_SECONDS)
        return wait

    def reset(self) -> None:
        """Begin anew after a success."""
        self._wait = FIRST_WAIT_SECONDS


def consumer_name() -> str:
    """This process, by a name that no other has or gets: `host:pid:start`."""
    return _name_of(os.getpid())


def pause(seconds: float) -> None:
    """Wait inside a step; such a wait is no standstill, however long. Raises Stopping at SIGTERM."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        _life.advance()
        if _life.stopping.wait(min(left, BEAT_SECONDS)):
            raise Stopping


def run(kind: str, duty: Duty, *beside: Duty) -> None:
    """Run a duty until SIGTERM or SIGINT; then finish the step, give back what is held, say goodbye.

    What is `beside` has a thread of its own, so that an outage which it meets does not keep the duty waiting. A bug
    that ends one of them ends the process.
    """
    tracing.start(kind, consumer_name())
    wiring.require_shards()
    _life.kind = kind
    if settings.NOTIFY.health_port:
        HealthPort(settings.NOTIFY.health_host, settings.NOTIFY.health_port, _life.health).start()
    collector.spare(*collector.COLLECT_AFTER)
    others = [_Beside(other) for other in beside]
    reporter = Reporter(kind, consumer_name(), is_stuck=_life.has_a_stuck_thread)
    with _signals() as asked, reporter, _Beat(duty):
        log.info("process.started", kind=kind, pid=os.getpid())
        last_words = partial(_end_in_time, kind, (duty, *beside), asked, reporter)
        threading.Thread(target=last_words, daemon=True).start()
        for other in others:
            other.start()
        _steps(duty)
        for other in others:
            other.join()
        for each in (duty, *beside):
            _give_back(kind, each)
        connections.close_all()
        for other in others:
            if other.failure:
                raise other.failure
    log.info("process.stopped", kind=kind)


def single_connection() -> None:
    """One database connection for a process of one thread; the pool is the web's, with its many.

    No statement of it may take as long as a step that counts as stuck.
    """
    options = connections["default"].settings_dict["OPTIONS"]
    options.pop("pool", None)
    if settings.NOTIFY_DATABASE_POOLED:
        return
    limits = f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
    options["options"] = f"{options.get('options', '')} {limits}".strip()


class _Life:
    """This process' one life: whether it was asked to end, and when it was last seen to get on."""

    def __init__(self) -> None:
        self.kind = ""
        self.stopping = threading.Event()
        self._advanced: dict[int, float] = {}
        self._threads: dict[str, int] = {}
        self._waits: dict[str, str] = {}

    def advance(self) -> None:
        """The thread that calls this is alive."""
        self._advanced[threading.get_ident()] = time.monotonic()

    def begin(self, duty: str) -> None:
        """The thread that calls this has that duty from now on."""
        self._threads[duty] = threading.get_ident()
        self.advance()

    def waits(self, duty: str, error: BaseException | None) -> None:
        """A duty waits an outage out, or (None) no more."""
        self._waits.pop(duty, None)
        if error is not None:
            self._waits[duty] = type(error).__name__

    def health(self) -> dict[str, str]:
        """Each duty: `ok`, the kind of error that it waits out, or `stuck`. For any thread."""
        return {
            duty: "stuck" if self.is_stuck(thread) else self._waits.get(duty, dependencies.OK)
            for duty, thread in tuple(self._threads.items())
        }

    def is_stuck(self, thread: int) -> bool:
        """Whether a thread has been at one step for longer than any step takes."""
        return time.monotonic() - self._advanced[thread] > STUCK_SECONDS

    def has_a_stuck_thread(self) -> bool:
        """Whether any thread of this process is stuck."""
        return any(self.is_stuck(thread) for thread in tuple(self._advanced))


_life: Final = _Life()


@cache
def _name_of(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{time.time_ns() // 1_000_000}"


def _give_back(kind: str, duty: Duty) -> None:
    try:
        duty.stop()
    except OUTAGES as error:
        log.warning("process.gave_nothing_back", kind=kind, error=repr(error))


def _end_in_time(kind: str, duties: Iterable[Duty], asked: socket.socket, reporter: Reporter) -> None:
    """End a process whose step does not come back: it waits for a server that stands still, and nothing wakes it.

    Whatever that step does when the server goes on, to commit for one, is done again by others, with no second effect.
    """
    if not asked.recv(1):
        return
    # The handler sets it, too, but in the main thread, which may be where no handler runs: looking up a name, say.
    _life.stopping.set()
    # To give back takes Redis, which may be what stands still.
    end = threading.Timer(GRACE_SECONDS + LAST_SECONDS, os._exit, (0,))
    end.daemon = True
    end.start()
    time.sleep(GRACE_SECONDS)
    log.warning("process.cut_short", kind=kind)
    for duty in duties:
        _give_back(kind, duty)
    reporter.stop()
    os._exit(0)


def _steps(duty: Duty) -> None:
    back_off, outage = BackOff(), _Outage(_name(duty))
    _life.begin(_name(duty))
    while not _life.stopping.is_set():
        _life.advance()
        try:
            duty.step()
        except Stopping:
            return
        except OUTAGES as error:
            outage.goes_on(error)
            connections.close_all()
            if standstill.waited_in_vain(error):
                _free_the_lock()
            _life.stopping.wait(back_off.next())
        else:
            outage.over()
            back_off.reset()


class _Outage:
    """The outage that a duty waits out, if there is one: a line when it begins and one when it is over."""

    def __init__(self, duty: str) -> None:
        self._duty = duty
        self._counted_at: float | None = None
        # Their series are there before the first one.
        self._count = metrics.outages.labels(_life.kind, duty)
        self._seconds = metrics.outage_seconds.labels(_life.kind, duty)

    def goes_on(self, error: BaseException) -> None:
        """The duty met it, for the first time or again."""
        if self._counted_at is None:
            log.warning("process.outage", duty=self._duty, error=repr(error))
            self._count.inc()
        self._account()
        _life.waits(self._duty, error)

    def over(self) -> None:
        """The duty goes on, if it did not before."""
        if self._counted_at is not None:
            log.info("process.outage_over", duty=self._duty)
            self._account()
            self._counted_at = None
            _life.waits(self._duty, None)

    def _account(self) -> None:
        now = time.monotonic()
        self._seconds.inc(now - (self._counted_at or now))
        self._counted_at = now


def _free_the_lock() -> None:
    try:
        standstill.end_sessions()
    except OUTAGES as error:
        # The step that wanted the lock meets the same outage and says so.
        log.debug("process.freed_nothing", error=repr(error))


def _name(duty: Duty) -> str:
    """A duty in a log line, where a process has several."""
    return type(duty).__name__.lower()


class _Beat:
    """The beat, in a thread of its own, for as long as steps come to an end."""

    def __init__(self, duty: Duty) -> None:
        self._duty = duty
        self._of = threading.get_ident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notify-beat", daemon=True)

    def __enter__(self) -> Self:
        _life.advance()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=BEAT_SECONDS)

    def _run(self) -> None:
        stuck = False
        while not self._over.wait(BEAT_SECONDS):
            if stuck is not _life.is_stuck(self._of):
                stuck = not stuck
                log.warning("process.stuck" if stuck else "process.goes_on")
            if stuck:
                continue
            try:
                self._duty.beat()
            except OUTAGES as error:
                # The main thread meets the same outage and says so.
                log.debug("process.beat_failed", error=repr(error))


class _Beside(threading.Thread):
    """A duty beside the first one. When a bug ends it, the process is asked to end."""

    def __init__(self, duty: Duty) -> None:
        super().__init__(name="notify-beside", daemon=True)
        self._duty = duty
        self.failure: BaseException | None = None

    def run(self) -> None:
        """The duty's life."""
        try:
            with _Beat(self._duty):
                _steps(self._duty)
        except BaseException as failure:  # noqa: BLE001 - the main thread raises it again
            self.failure = failure
            _life.stopping.set()
        finally:
            connections.close_all()


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Listen to SIGTERM and SIGINT; the socket has a byte as soon as one came, whatever the main thread is doing."""

    def stop(number: int, _: FrameType | None) -> None:
        _life.stopping.set()
        log.info("process.stopping", signal=signal.Signals(number).name)

    asked, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    before_wakeup = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    try:
        yield asked
    finally:
        signal.set_wakeup_fd(before_wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        wakeup.close()
