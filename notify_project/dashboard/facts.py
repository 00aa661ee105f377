"""What is known of the system at one time, as it was found. What is not known, for a server is away, is None."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from notifications.stream.gauges import Gauges
from notifications.stream.register import Process


class Server(NamedTuple):
    """A server, as the processes page shows it. `detail` is a few words for people."""

    name: str
    version: str
    state: Literal["ok", "slow", "down"]
    latency_ms: float | None
    size_bytes: int | None
    detail: str


class Jobs(NamedTuple):
    """Bulk jobs under way. `fanned`: how many recipients of each are in the lane or past it, by the job's id.

    `hurried`: how many of those that run have recipients left, and a rate at which something goes every second.
    """

    queued: int
    running: int
    paused: int
    hurried: int
    remaining: int
    fanned: Mapping[str, int]
    in_lane: int

    @property
    def under_way(self) -> int:
        """All that are not over."""
        return self.queued + self.running + self.paused


class Kept(NamedTuple):
    """What is looked up in tables: dead letters that are open, those on their way back, bulk jobs."""

    dead: int
    replaying: int
    jobs: Jobs


class Facts(NamedTuple):
    """All of it. `at`, `kept_at`: when that was seen, in seconds of a clock that never jumps.

    `rows`: notifications in PostgreSQL, about. `postgresql_full`: it answers, but has no connection to give.
    `redis_memory`: the share of its limit that is used (1: all of it); None where it has none. `max_backlog`: the
    door's limit in entries, which each of the `shards` has its part of.
    """

    at: float
    redis_down: bool = False
    postgresql_down: bool = False
    postgresql_full: bool = False
    gauges: Gauges | None = None
    processes: Sequence[Process] | None = None
    kept: Kept | None = None
    kept_at: float = 0.0
    rows: int | None = None
    postgresql_ms: float | None = None
    redis_name: str = "Redis"
    redis_memory: float | None = None
    max_backlog: int = 1_000_000
    shards: int = 1

    def running(self, kind: str) -> int | None:
        """How many processes of a kind are alive."""
        return self._told(kind)["alive"] if self.processes is not None else None

    def silent(self, kind: str) -> int:
        """How many of a kind were not heard of for some seconds, and may come back."""
        return self._told(kind)["silent"]

    @property
    def work(self) -> int:
        """Entries in both lanes, those in somebody's hand included."""
        return self.gauges.live.entries + self.gauges.bulk.entries if self.gauges else 0

    @property
    def in_hand(self) -> int:
        """Entries that some worker, dead or alive, has read and not settled."""
        return self.gauges.live.in_hand + self.gauges.bulk.in_hand if self.gauges else 0

    @property
    def waited_ms(self) -> int:
        """For how long the oldest entry of both lanes has waited; 0 where none does."""
        lanes = (self.gauges.live, self.gauges.bulk) if self.gauges else ()
        return max((self.age_ms(lane.oldest_ms) or 0 for lane in lanes), default=0)

    @property
    def shard_backlog(self) -> int:
        """How many entries the door lets into a shard."""
        return -(-self.max_backlog // self.shards)

    def age_ms(self, moment_ms: int | None) -> int | None:
        """How long ago that was by Redis' clock, not below 0; None where there is no such moment."""
        if moment_ms is None or self.gauges is None:
            return None
        return max(0, self.gauges.at_ms - moment_ms)

    def _told(self, kind: str) -> Counter[str]:
        return Counter(process.state for process in self.processes or () if process.kind == kind)
