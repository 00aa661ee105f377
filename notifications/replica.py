"""A replica of PostgreSQL, where there is one, takes lists of inboxes off the primary.

A list from it is never older than what its reader was told: it is asked only for an inbox of which it has the version
that the mirror in Redis has, or a newer one. So a page that is fetched after a frame has what the frame was about, and
what was marked read is read.

A thread of each web process looks twice a second whether the replica is well: it answers, it follows this very
primary, and it has all that the primary had written two seconds ago. That is told by positions in the log, and by no
clock of a server: so one of an idle primary is not behind. Where it is not well, or fails in the midst of a question,
the primary answers, in the same request.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

import psycopg
import structlog
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from django.db.models import Model

from notifications import inbox
from notifications.impatient import Impatient
from notifications.models import Inbox

log = structlog.get_logger("notify.replica")

T = TypeVar("T")

ALIAS: Final = "replica"
OK: Final = "ok"
LOOK_SECONDS: Final = 0.5
MOST_BEHIND_SECONDS: Final = 2.0
BEHIND: Final = f"is behind by more than {MOST_BEHIND_SECONDS:g} s"
# Twice as many as fit into that time.
LOOKS: Final = 8

# Hand-written: positions in the log as bytes since its beginning, and whose log it is.
ASK_PRIMARY: Final = """
    SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint, (SELECT system_identifier FROM pg_control_system())
"""
ASK_REPLICA: Final = """
    SELECT pg_is_in_recovery(), pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint,
        (SELECT system_identifier FROM pg_control_system())
"""


class Router:
    """Nothing goes to the replica by itself: who reads there says so."""

    def db_for_read(self, model: type[Model], **hints: object) -> str:  # noqa: ARG002 - Django's signature
        """The primary."""
        return DEFAULT_DB_ALIAS

    def db_for_write(self, model: type[Model], **hints: object) -> str:  # noqa: ARG002 - Django's signature
        """The primary, also for a row that was read elsewhere."""
        return DEFAULT_DB_ALIAS

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:  # noqa: ARG002 - Django's signature
        """A replica has the primary's tables."""
        return db != ALIAS


def listed(recipient: str, ask: Callable[[str], T]) -> T:
    """What `ask` finds of an inbox in the database whose alias it is given. Raises what the primary raises."""
    watch = watching()
    if watch is not None and watch.status == OK:
        known = inbox.state(recipient)
        try:
            if _version(recipient) >= known.version:
                return ask(ALIAS)
        except (DatabaseError, InterfaceError) as error:
            watch.failed(error)
    return ask(DEFAULT_DB_ALIAS)


def status() -> str | None:
    """How the replica is: `ok`, or why it is left out; None where there is none."""
    watch = watching()
    return watch.status if watch else None


@cache
def watching() -> "Watch | None":
    """This process' watch, which begins now; None where there is no replica."""
    if ALIAS not in settings.DATABASES:
        return None
    watch = new_watch()
    watch.start()
    return watch


def new_watch() -> "Watch":
    """One that has not begun."""
    return Watch(_parameters(DEFAULT_DB_ALIAS), _parameters(ALIAS))


class Watch(threading.Thread):
    """Looks at both servers all the time; `status` is what came of it."""

    def __init__(self, primary: Mapping[str, Any], replica: Mapping[str, Any]) -> None:
        """What both servers are connected to with."""
        super().__init__(name="notify-replica", daemon=True)
        self.status = "not looked at yet"
        self._primary = _Asked(primary)
        self._replica = _Asked(replica)
        self._written: deque[tuple[float, int]] = deque(maxlen=LOOKS)
        self._cluster: int | None = None
        self._telling = threading.Lock()

    def run(self) -> None:
        """Look, as long as the process lives."""
        while True:
            self._note(self.look())
            time.sleep(LOOK_SECONDS)

    def look(self) -> str:
        """Ask both servers, once; the status that the replica has by that."""
        self._look_at_primary()
        try:
            in_recovery, replayed, cluster = self._replica.ask(ASK_REPLICA)
        except psycopg.Error as error:
            return f"does not answer: {error}".strip()
        if not in_recovery:
            return "is no replica"
        if self._cluster is None or replayed is None:
            return "cannot be compared yet"
        if cluster != self._cluster:
            return "is a replica of another server"
        return OK if replayed >= self._needed() else BEHIND

    def failed(self, error: Exception) -> None:
        """A question met an error there: it is not asked again before the next look."""
        self._note(f"fails: {error}".strip())

    def _look_at_primary(self) -> None:
        """One that is away writes nothing: what it had written is what the replica must have."""
        try:
            written, self._cluster = self._primary.ask(ASK_PRIMARY)
        except psycopg.Error:
            return
        self._written.append((time.monotonic(), written))

    def _needed(self) -> int:
        """How far the replica has to be: where the primary was so long ago, or is when nobody looked then."""
        then = time.monotonic() - MOST_BEHIND_SECONDS
        return max((written for at, written in self._written if at <= then), default=self._written[-1][1])

    def _note(self, status: str) -> None:
        with self._telling:
            if (status == OK) is not (self.status == OK):
                log.warning("replica.left_out", why=status) if status != OK else log.info("replica.used")
            self.status = status


class _Asked:
    """A server with a connection that is kept, and made anew where it was lost."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self._connection: psycopg.Connection[Any] | None = None

    def ask(self, question: str) -> tuple[Any, ...]:
        """Its answer of one row. Raises psycopg's errors."""
        if self._connection is None or self._connection.closed:
            self._connection = Impatient.connect(**self._parameters, autocommit=True)
        (answer,) = self._connection.execute(question.encode()).fetchall()
        return tuple(answer)


def _parameters(alias: str) -> dict[str, Any]:
    parameters = connections[alias].get_connection_params()
    # Django's own kind of cursor and its adapters: what is asked here is plain.
    del parameters["cursor_factory"], parameters["context"]
    return {**parameters, "connect_timeout": 2}


def _version(recipient: str) -> int:
    """An inbox' version in the replica; what is asked there after this is at least as new."""
    versions = Inbox.objects.using(ALIAS).filter(recipient=recipient).values_list("version", flat=True)
    return versions.first() or 0
