"""Redis or Valkey: a 202 must be on disk, and nothing may be evicted."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import redis
from django.conf import settings
from redis.exceptions import ResponseError

from notify_project.doctor import disk
from notify_project.doctor.disk import Space
from notify_project.doctor.finding import Check, Finding, judged
from notify_project.doctor.postgresql import clock_finding

OLDEST: Final = {"Redis": (7, 0), "Valkey": (7, 2)}
SETTINGS: Final = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "dir", "cluster-require-full-coverage")
MUCH: Final = 0.8
# Of a server that is somebody else's to set up.
ASK_THEM: Final = "make sure with who runs the server, which does not tell"


class Facts(NamedTuple):
    """The server as a client finds it. `settings` is empty where it does not tell them (a managed one).

    `place`: of a node of a cluster, its address. `replicas`: those that follow it.
    """

    name: str
    version: str
    role: str
    settings: Mapping[str, str]
    used_bytes: int
    last_write_failed: bool
    ahead_seconds: float
    space: Space | None
    place: str = ""
    replicas: int = 0

    @property
    def called(self) -> str:
        """The server in a finding."""
        return f"{self.name} at {self.place}" if self.place else self.name


def gather(client: redis.Redis, place: str = "") -> Facts:
    """Ask. Raises RedisError."""
    told: Any = client.info("everything")
    asked = time.time()
    now: Any = client.time()
    seconds, microseconds = now
    ahead = seconds + microseconds / 1_000_000 - (asked + time.time()) / 2
    found = _settings(client)
    is_valkey = "valkey_version" in told
    host = client.connection_pool.connection_kwargs.get("host", "")
    return Facts(
        name="Valkey" if is_valkey else "Redis",
        version=str(told["valkey_version" if is_valkey else "redis_version"]),
        role=str(told["role"]),
        settings=found,
        used_bytes=int(told["used_memory"]),
        last_write_failed=told.get("aof_last_write_status", "ok") != "ok",
        ahead_seconds=ahead,
        space=disk.space(found["dir"]) if "dir" in found and disk.is_local(host) else None,
        place=place,
        replicas=int(told.get("connected_slaves", 0)),
    )


def version(facts: Facts) -> Finding:
    """The oldest that has every command that is used."""
    oldest = OLDEST[facts.name]
    good = tuple(int(part) for part in facts.version.split(".")[:2]) >= oldest
    mend = f"upgrade to {'.'.join(map(str, oldest))} or newer"
    return judged(f"{facts.called}'s version", good=good, detail=facts.version, mend=mend)


def role(facts: Facts) -> Finding:
    """A replica takes no writes."""
    mend = "point REDIS_URL at the primary"
    return judged(f"{facts.called}'s role", good=facts.role == "master", detail=facts.role, mend=mend)


def policy(facts: Facts) -> Finding:
    """What is evicted was acknowledged."""
    mend = "set maxmemory-policy noeviction: what is evicted was acknowledged"
    return _setting(facts, "maxmemory-policy", "noeviction", mend)


def appendonly(facts: Facts) -> Finding:
    """Without it, a restart loses all since the last snapshot."""
    return _setting(facts, "appendonly", "yes", "set appendonly yes: without, a restart loses what was acknowledged")


def appendfsync(facts: Facts) -> Finding:
    """With `everysec`, a crash of the host loses up to two seconds of 202s."""
    return _setting(facts, "appendfsync", "always", "set appendfsync always: a 202 says that it is on disk")


def memory(facts: Facts) -> Finding:
    """A server that is full refuses, which is right; one without a limit is killed."""
    most = int(facts.settings.get("maxmemory", 0))
    used = f"{facts.used_bytes / 1024**2:.0f} MiB used"
    if not facts.settings:
        return Finding("warn", f"{facts.called}'s memory", f"{used}; the limit is not told", ASK_THEM)
    if not most:
        mend = "set maxmemory below what the host has: a server that is full refuses, one that is killed is away"
        return Finding("warn", f"{facts.called}'s memory", f"{used}, without a limit", mend)
    detail = f"{used} of {most / 1024**2:.0f}"
    mend = "find out what waits (the dashboard, /api/stats), or raise maxmemory"
    return judged(
        f"{facts.called}'s memory", good=facts.used_bytes < most * MUCH, detail=detail, mend=mend, worse="warn"
    )


def last_write(facts: Facts) -> Finding | None:
    """A disk that is full, or broken."""
    if not facts.last_write_failed:
        return None
    return Finding("fail", f"{facts.called}'s disk", "the last write failed", "look into the server's log")


def clock(facts: Facts) -> Finding:
    """Schedules fire by this one."""
    return clock_finding(f"{facts.called}'s clock", facts.ahead_seconds)


def room(facts: Facts) -> Finding | None:
    """Where the server is on this machine: is there room?"""
    return disk.finding(f"{facts.called}'s disk", facts.space) if facts.space else None


def coverage(facts: Facts) -> Finding | None:
    """A cluster that wants all its slots served, or none."""
    if not facts.place:
        return None
    mend = "set cluster-require-full-coverage no: with yes, all nodes refuse for as long as one is away"
    return _setting(facts, "cluster-require-full-coverage", "no", mend)


def replicas(facts: Facts) -> Finding | None:
    """Without as many as a 202 waits for, there is none. A node of a cluster without any takes its slots with it."""
    wanted, check = settings.NOTIFY.accept_replicas, f"{facts.called}'s replicas"
    if not wanted:
        mend = "add one: while this node is away nothing else serves its slots, and what it alone has may be lost"
        return Finding("warn", check, "none", mend) if facts.place and not facts.replicas else None
    mend = "add replicas, or lower NOTIFY_ACCEPT_REPLICAS: with fewer, nothing is accepted"
    return judged(check, good=facts.replicas >= wanted, detail=str(facts.replicas), mend=mend)


def spread(places: Sequence[str]) -> Finding | None:
    """Most of a cluster's primaries on one of its hosts: who is left when it is lost has no majority to act by."""
    hosts = Counter(place.rpartition(":")[0] for place in places)
    host, most = hosts.most_common(1)[0]
    if len(hosts) < 2 or 2 * most <= len(places):
        return None
    mend = "move some back (CLUSTER FAILOVER at a replica elsewhere): without this host, no replica could take over"
    return Finding("warn", "the cluster's primaries", f"{most} of {len(places)} are on {host}", mend)


def _setting(facts: Facts, name: str, wanted: str, mend: str) -> Finding:
    check = f"{facts.called}'s {name}"
    if not facts.settings:
        return Finding("warn", check, "is not told", f"{mend}; {ASK_THEM}")
    found = facts.settings.get(name, "")
    return judged(check, good=found == wanted, detail=found, mend=mend)


def _settings(client: redis.Redis) -> dict[str, str]:
    try:
        found: Any = client.config_get(*SETTINGS)
    except ResponseError:
        return {}
    return {_text(name): _text(value) for name, value in found.items()}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


CHECKS: Final[Sequence[Check[Facts]]] = (
    version,
    role,
    policy,
    appendonly,
    appendfsync,
    memory,
    last_write,
    clock,
    room,
    coverage,
    replicas,
)
