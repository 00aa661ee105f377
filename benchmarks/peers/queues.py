"""The queues as the clock sees them: how each is filled, when it is empty, and what has to be there then."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Final

import redis

from benchmarks.figures import Goal
from benchmarks.load import WRONG_INBOXES, Load, WrongResult
from benchmarks.measure import Contender
from benchmarks.servers import Servers
from notifications import events
from notify_project.local.children import PROJECT

HOME: Final = PROJECT / ".venv-bench"
PYTHON: Final = HOME / "bin" / "python"
PARKED: Final = "parked:"
# Dramatiq's, which is in two keys.
QUEUE: Final = "dramatiq:default"
MESSAGES: Final = "dramatiq:default.msgs"


@dataclass(frozen=True)
class Peer:
    """A queue that its own package is named after, and how it is seen in Redis."""

    name: str
    events: int
    """How many it is given: what takes it a few seconds."""
    goal: Goal
    keys: tuple[str, ...]
    """What it keeps waiting tasks in."""
    left: Callable[[redis.Redis], int]
    """How many tasks are not acknowledged."""
    awaited: Callable[[redis.Redis], bool]
    """Whether its consumer is up and waits."""
    acknowledges: bool = True

    @property
    def contender(self) -> Contender:
        """Its consumer."""
        return Contender(self.name, command(self.name, "work"))

    def label(self) -> str:
        """Its name and version."""
        packages = str(next((HOME / "lib").glob("python*/site-packages")))
        (found,) = distributions(name=self.name, path=[packages])
        return f"{self.name} {found.version}"


def command(name: str, side: str) -> tuple[str, ...]:
    """What runs a peer's `work` or `enqueue`."""
    return (str(PYTHON), "-m", "benchmarks.peers", name, side)


def installed() -> bool:
    """Whether peers can be run at all; `make bench` installs them."""
    return (HOME / ".done").exists()


def _listed(*, lists: Sequence[str] = (), hashes: Sequence[str] = ()) -> Callable[[redis.Redis], int]:
    """Entries of lists and hashes, together."""

    def left(valkey: redis.Redis) -> int:
        return sum(valkey.llen(name) for name in lists) + sum(valkey.hlen(name) for name in hashes)

    return left


def _streamed(name: str, *, deleted: bool) -> Callable[[redis.Redis], int]:
    """Entries that its only group has not acknowledged, or has not deleted, where it does."""

    def left(valkey: redis.Redis) -> int:
        (group,) = valkey.xinfo_groups(name)
        return int(group["pending"]) + (valkey.xlen(name) if deleted else int(group["lag"]))

    return left


def _blocked(valkey: redis.Redis) -> bool:
    return bool(valkey.info("clients")["blocked_clients"])


def _beats(valkey: redis.Redis) -> bool:
    """Dramatiq polls, so nobody sees it wait; before it does, it says that it lives."""
    return bool(valkey.exists("dramatiq:__heartbeats__"))


ONE_BY_ONE: Final = Goal(at_least=5)
PEERS: Final = (
    Peer("faststream", 100_000, Goal(at_least=1), ("events",), _streamed("events", deleted=True), _blocked),
    Peer("huey", 10_000, ONE_BY_ONE, ("huey.redis.bench",), _listed(lists=["huey.redis.bench"]), _blocked, False),
    Peer("taskiq", 6_000, ONE_BY_ONE, ("taskiq",), _streamed("taskiq", deleted=False), _blocked),
    Peer("dramatiq", 6_000, ONE_BY_ONE, (QUEUE, MESSAGES), _listed(hashes=[MESSAGES]), _beats),
    Peer("celery", 3_000, Goal(at_least=20), ("celery",), _listed(lists=["celery"], hashes=["unacked"]), _blocked),
)


class Tasks:
    """A peer's queue with the first events of a load in it, and the tables that they end up in."""

    def __init__(self, servers: Servers, peer: Peer, load: Load) -> None:
        self._servers = servers
        self._valkey = servers.valkey
        self._peer = peer
        self.events = load.events
        self._dumps = self._enqueued(load)

    def _enqueued(self, load: Load) -> dict[str, bytes]:
        """The queue as the peer itself fills it, once for all rounds."""
        self._valkey.flushall()
        payloads = b"".join(events.encode(event) + b"\n" for event in load)
        subprocess.run(
            command(self._peer.name, "enqueue"),
            input=payloads,
            env=self._servers.environment,
            cwd=PROJECT,
            check=True,
        )
        return {key: bytes(self._valkey.dump(key) or b"") for key in self._peer.keys}

    def fill(self) -> None:
        """Begin from nothing, with the queue put aside."""
        self._servers.database.execute("TRUNCATE notifications_notification, notifications_inbox")
        self._valkey.flushall()
        for key, dump in self._dumps.items():
            self._valkey.restore(PARKED + key, 0, dump)

    def awaited(self) -> bool:
        """Whether the consumer waits."""
        return self._peer.awaited(self._valkey)

    def release(self) -> None:
        """Put the queue in place: the starting shot."""
        with self._valkey.pipeline(transaction=True) as together:
            for key in self._peer.keys:
                together.rename(PARKED + key, key)
            together.execute()

    def left(self) -> int:
        """How much is not done. Of a queue that does not acknowledge, rows tell when it looks empty."""
        waiting = self._peer.left(self._valkey)
        if waiting or self._peer.acknowledges:
            return waiting
        return self.events - self._number("SELECT count(*) FROM notifications_notification")

    def verify(self) -> None:
        """Raise WrongResult unless every event is one row, counted once, and nothing is left in the queue."""
        found = {
            "rows": self._number("SELECT count(*) FROM notifications_notification"),
            "unread": self._number("SELECT sum(unread) FROM notifications_inbox"),
            "wrong inboxes": self._number(WRONG_INBOXES),
            "left": self._peer.left(self._valkey),
        }
        expected = {"rows": self.events, "unread": self.events, "wrong inboxes": 0, "left": 0}
        if found != expected:
            raise WrongResult(f"{self._peer.name}: expected {expected}, found {found}")

    def _number(self, query: str) -> int:
        row = self._servers.database.execute(query).fetchone()
        assert row is not None
        return int(str(row[0] or 0))
