"""A replica of PostgreSQL, where one is set: lists come from it only as long as it is well."""

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from django.conf import settings

from notifications import replica
from notify_project.doctor.finding import Check, Finding, judged

# One that is busy catches up meanwhile.
PATIENCE_SECONDS: Final = 3.0


class Facts(NamedTuple):
    """What a web process would think of it; None where none is set."""

    status: str | None


def gather() -> Facts:
    """Look at both servers, as web processes do."""
    if replica.ALIAS not in settings.DATABASES:
        return Facts(None)
    watch, until = replica.new_watch(), time.monotonic() + PATIENCE_SECONDS
    while (status := watch.look()) != replica.OK and time.monotonic() < until:
        time.sleep(replica.LOOK_SECONDS)
    return Facts(status)


def well(facts: Facts) -> Finding | None:
    """Left out, it helps nobody; the primary has all the work."""
    if facts.status is None:
        return None
    good = facts.status == replica.OK
    detail = "follows the primary" if good else f"{facts.status}; lists come from the primary"
    mend = "see its log, or correct DATABASE_REPLICA_URL: a streaming replica of the server in DATABASE_URL"
    return judged("PostgreSQL's replica", good=good, detail=detail, mend=mend, worse="warn")


CHECKS: Final[Sequence[Check[Facts]]] = (well,)
