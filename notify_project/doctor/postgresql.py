"""PostgreSQL: what is committed must stay so."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from notifications import partitions
from notifications.partitions import Partition
from notify_project.doctor import disk
from notify_project.doctor.disk import Space
from notify_project.doctor.finding import Check, Finding, judged

OLDEST: Final = 140_000
# Each process but the web has as many connections as threads that need one, and the doctor has its own.
OF_A_COMMAND: Final = 3
SKEW_SECONDS: Final = 1.0
WRONG_SECONDS: Final = 60.0
SETTINGS: Final = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "max_connections",
    "superuser_reserved_connections",
    "idle_in_transaction_session_timeout",
    "statement_timeout",
    "lock_timeout",
)
TIME_OUTS: Final = {"idle_in_transaction_session_timeout": "5s", "statement_timeout": "30s", "lock_timeout": "5s"}

# Hand-written: what the server says of itself. Not everybody may know where its data is.
ASK: Final = """
    SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),
        extract(epoch FROM clock_timestamp())::float8,
        CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('data_directory') END
"""


class Facts(NamedTuple):
    """The server as a session of ours finds it. `ahead_seconds`: its clock, compared with this host's.

    `partitions` are all but the default one; `now` is this host's time.
    """

    version: int
    in_recovery: bool
    settings: Mapping[str, str]
    ahead_seconds: float
    unapplied: Sequence[str]
    partitions: Sequence[Partition]
    now: datetime
    pool: int
    pooled: bool
    webs: int
    commands: int
    space: Space | None


def gather(webs: int, commands: int) -> Facts:
    """Ask; `webs` and `commands` are the processes alive. Raises DatabaseError."""
    with connection.cursor() as cursor:
        asked = time.time()
        cursor.execute(ASK)
        version, in_recovery, seconds, folder = cursor.fetchone()
        ahead = seconds - (asked + time.time()) / 2
        cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(SETTINGS)])
        found = dict(cursor.fetchall())
    host = connection.connection.info.host
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return Facts(
        version=version,
        in_recovery=in_recovery,
        settings=found,
        ahead_seconds=ahead,
        unapplied=[f"{migration.app_label}.{migration.name}" for migration, _ in plan],
        partitions=partitions.every() if not plan else (),
        now=timezone.now(),
        pool=settings.NOTIFY.database_pool,
        pooled=settings.NOTIFY_DATABASE_POOLED,
        webs=webs,
        commands=commands,
        space=disk.space(folder) if folder and disk.is_local(host) else None,
    )


def version(facts: Facts) -> Finding:
    """The oldest that is supported, by PostgreSQL and by the tests."""
    detail = f"{facts.version // 10_000}.{facts.version % 10_000}"
    return judged("PostgreSQL's version", good=facts.version >= OLDEST, detail=detail, mend="upgrade to 14 or newer")


def writable(facts: Facts) -> Finding:
    """A standby takes no writes."""
    detail = "is a standby" if facts.in_recovery else "takes writes"
    return judged(
        "PostgreSQL's role", good=not facts.in_recovery, detail=detail, mend="point DATABASE_URL at the primary"
    )


def durability(facts: Facts) -> Finding:
    """An event leaves Redis when its row is committed: a commit that can be lost is a notification that can be lost."""
    off = [name for name in SETTINGS[:3] if facts.settings.get(name) == "off"]
    detail = f"{', '.join(off)} off: a crash may lose what was committed" if off else "a commit is on disk"
    mend = f"set {' and '.join(f'{name} = on' for name in off)} in postgresql.conf"
    return judged("PostgreSQL's durability", good=not off, detail=detail, mend=mend)


def time_outs(facts: Facts) -> Finding | None:
    """Past a pooler no session has settings of its own: the role must have them."""
    if not facts.pooled:
        return None
    unset = [name for name in TIME_OUTS if facts.settings.get(name) == "0"]
    detail = f"not set: {', '.join(unset)}" if unset else "are set"
    mend = "".join(f"ALTER ROLE … SET {name} = '{TIME_OUTS[name]}'; " for name in unset) + "start the pooler again"
    return judged("PostgreSQL's time-outs", good=not unset, detail=detail, mend=mend)


def connections(facts: Facts) -> Finding | None:
    """All pools full at once must fit; past a pooler, that one sees to it."""
    if facts.pooled:
        return None
    most = int(facts.settings["max_connections"]) - int(facts.settings["superuser_reserved_connections"])
    wanted = facts.webs * facts.pool + facts.commands * OF_A_COMMAND + 1
    detail = f"at most {wanted} of {most} are wanted by the processes that run now"
    mend = "raise max_connections, lower NOTIFY_DATABASE_POOL, or put a pooler between (NOTIFY_DATABASE_POOLER)"
    return judged("PostgreSQL's connections", good=wanted <= most, detail=detail, mend=mend)


def clock(facts: Facts) -> Finding:
    """Times in answers come from several clocks."""
    return clock_finding("PostgreSQL's clock", facts.ahead_seconds)


def migrations(facts: Facts) -> Finding:
    """The tables of this release."""
    missing = ", ".join(facts.unapplied)
    detail = f"not applied: {missing}" if missing else "all applied"
    return judged("migrations", good=not missing, detail=detail, mend="manage.py migrate")


def present(facts: Facts) -> Finding | None:
    """Rows of a time that has no partition are in the default one, which never leaves."""
    if facts.unapplied:
        return None
    now = partitions.id_at(facts.now)
    good = any(partition.first <= now < partition.end for partition in facts.partitions)
    detail = f"{len(facts.partitions)}, the last until {_last_day(facts)}" if good else "none is for the present"
    mend = "run a scheduler, which makes them; its log says why not (docs/operations/postgresql.md)"
    return judged("partitions", good=good, detail=detail, mend=mend, worse="warn")


def room(facts: Facts) -> Finding | None:
    """Where the server is on this machine: is there room?"""
    return disk.finding("PostgreSQL's disk", facts.space) if facts.space else None


def clock_finding(check: str, ahead_seconds: float) -> Finding:
    """How far a server's clock is from this host's."""
    apart, mend = abs(ahead_seconds), "let all hosts follow NTP"
    detail = f"{apart:.3f} s {'ahead of' if ahead_seconds > 0 else 'behind'} this host's"
    if apart > WRONG_SECONDS:
        return Finding("fail", check, detail, mend)
    return judged(check, good=apart <= SKEW_SECONDS, detail=detail, mend=mend, worse="warn")


def _last_day(facts: Facts) -> str:
    return f"{partitions.time_of(facts.partitions[-1].end):%Y-%m-%d}"


CHECKS: Final[Sequence[Check[Facts]]] = (
    version,
    writable,
    durability,
    time_outs,
    connections,
    clock,
    migrations,
    present,
    room,
)
