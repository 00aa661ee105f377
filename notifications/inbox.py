"""What a reader does with an inbox: look, catch up, mark read. The API and the sockets both come through here."""

from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from notifications import store, unread, wiring
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.models import Notification
from notifications.store import InboxState

log = structlog.get_logger("notify.inbox")

RESUME_LIMIT: Final = 500
MAX_IDS: Final = 1000  # that one call may name to be marked read


class Missed(NamedTuple):
    """What a client missed: the notifications, the inbox, and the `seq` it has when it has taken them in."""

    rows: list[Notification]
    state: InboxState
    seq: int
    complete: bool


@cache
def announcer() -> Announcer:
    """The announcer of a process that answers people."""
    return Announcer(wiring.shards(), Outbox())


def state(recipient: str) -> InboxState:
    """Unread count and newest `seq`: what PostgreSQL would answer, from Redis where it is mirrored.

    Without Redis PostgreSQL answers itself.
    """
    try:
        return unread.look(wiring.shards(), [recipient])[recipient]
    except RedisError:
        return store.states([recipient])[recipient]


def missed(recipient: str, after: int) -> Missed:
    """The notifications after a `seq`, oldest first, 500 at most."""
    # The inbox first: a notification that comes in between is then in the rows, and none is skipped.
    inbox = store.states([recipient])[recipient]
    rows = list(Notification.objects.filter(recipient=recipient, seq__gt=after).order_by("seq")[: RESUME_LIMIT + 1])
    complete = len(rows) <= RESUME_LIMIT
    rows = rows[:RESUME_LIMIT]
    last = rows[-1].seq if rows else 0
    return Missed(rows, inbox, max(inbox.seq, last) if complete else last, complete)


def mark_read(recipient: str, ids: Sequence[UUID] | None) -> tuple[list[UUID], InboxState]:
    """Mark notifications read (None: all), and tell every socket of the recipient. Returns what it changed.

    Raises RedisError before it changed anything. After the commit nothing is raised any more: what could not be
    told then is noted in Redis, and a worker mends it.
    """
    committed: tuple[list[UUID], InboxState] | None = None
    try:
        with unread.intent(wiring.shards(), recipient):
            committed = store.mark_read(recipient, ids)
            changed, inbox = committed
            if changed:
                announcer().read(recipient, None if ids is None else list(changed), inbox)
    except RedisError as error:
        if committed is None:
            raise
        log.warning("inbox.mirror_postponed", recipient=recipient, error=repr(error))
    return committed
