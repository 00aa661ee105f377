"""Room on disks of this machine, and files that a process may have open."""

import resource
import shutil
from collections.abc import Sequence
from typing import Final, NamedTuple

from notify_project.doctor.finding import Check, Finding, judged

GIB: Final = 1024**3
LITTLE_SHARE: Final = 0.1
LITTLE: Final = 10 * GIB
LEAST: Final = GIB
# Each socket is one, and a few hundred besides.
FILES: Final = 4096


class Space(NamedTuple):
    """A folder's disk, in bytes."""

    total: int
    free: int


class Facts(NamedTuple):
    """What this process may have open."""

    files: int


def gather() -> Facts:
    """The limit of this process; others started the same way have the same."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Facts(soft if soft != resource.RLIM_INFINITY else FILES)


def space(folder: str) -> Space | None:
    """The disk under a folder; None where it cannot be seen."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return Space(usage.total, usage.free)


def is_local(host: str) -> bool:
    """Whether a server at such an address is on this machine: a Unix socket, or the loop back."""
    return not host or host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"}


def finding(check: str, room: Space) -> Finding:
    """A server whose disk is full stops; nothing that was acknowledged is lost by it."""
    detail = f"{room.free / GIB:.1f} of {room.total / GIB:.1f} GiB free"
    mend = "make room: NOTIFY_RETENTION_DAYS removes old notifications"
    if room.free < LEAST:
        return Finding("fail", check, detail, mend)
    good = room.free >= LITTLE or room.free >= room.total * LITTLE_SHARE
    return judged(check, good=good, detail=detail, mend=mend, worse="warn")


def files(facts: Facts) -> Finding:
    """A gateway that has no file left takes no socket."""
    detail = f"{facts.files} as this command was started"
    mend = f"start gateways with `ulimit -n 65536` (at least {FILES})"
    return judged("open files", good=facts.files >= FILES, detail=detail, mend=mend, worse="warn")


CHECKS: Final[Sequence[Check[Facts]]] = (files,)
