"""What is there when all is over: read from both servers, the API and the sockets' clients."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx
import msgspec

from notifications.stream import keys
from tests import truth
from tests.chaos.clock import Caller
from tests.chaos.followers import Follower
from tests.stack import Stack

ROWS: Final = """
    SELECT id::text, (data->>'number')::int, recipient, seq, attempts, read_at IS NULL, stored_at,
        CASE source WHEN 2 THEN source_id::text END
    FROM notifications_notification ORDER BY recipient, seq
"""
INBOXES: Final = "SELECT recipient, seq, unread, version FROM notifications_inbox"
LETTERS: Final = "SELECT id::text, status, payload, recipient, reason, error, attempts, life FROM dlq_deadletter"
JOBS: Final = "SELECT id::text, title FROM bulk_bulkjob WHERE status <> 0"
STATUSES: Final = ("dead", "replaying", "replayed", "discarded")


@dataclass(frozen=True)
class Row:
    """A notification in PostgreSQL."""

    id: str
    number: int | None
    recipient: str
    seq: int
    attempts: int
    unread: bool
    stored_at: datetime
    job: str | None = None


@dataclass(frozen=True)
class Letter:
    """A dead letter."""

    id: str
    status: str
    number: int | None
    recipient: str
    reason: str
    error: str
    attempts: int
    life: int


@dataclass(frozen=True)
class Job:
    """A bulk job, as the API shows it."""

    id: str
    title: str
    status: str
    fanned_out: int
    stored: int
    failed: int


@dataclass(frozen=True)
class Inbox:
    """What is said of a recipient's inbox: by its row, by its mirror in Redis if any, the API, a new socket if any."""

    seq: int
    unread: int
    version: int
    mirror: str | None = None
    by_api: int | None = None
    by_socket: int | None = None


@dataclass(frozen=True)
class Facts:
    """Everything that a verdict looks at, the ledger apart.

    `left_over`: what is where nothing should be; `wrong_answers`: those that the contract does not know. Both in words.
    """

    rows: list[Row] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    inboxes: Mapping[str, Inbox] = field(default_factory=dict)
    seen: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    wrong_answers: list[str] = field(default_factory=list)


def gather(
    stack: Stack, caller: Caller, followers: Collection[Follower], left_over: list[str], wrong_answers: list[str]
) -> Facts:
    """Everything there is, from a deployment at rest."""
    return Facts(
        rows=[Row(*row) for row in stack.sql(ROWS)],
        letters=letters(stack),
        jobs=[job(caller, *row) for row in stack.sql(JOBS)],
        inboxes=inboxes(stack, caller, followers),
        seen={follower.recipient: dict(follower.seen) for follower in followers},
        contradictions=[f"{follower.recipient}: {what}" for follower in followers for what in follower.contradictions],
        left_over=left_over,
        wrong_answers=wrong_answers,
    )


def letters(stack: Stack) -> list[Letter]:
    """Every dead letter, whatever became of it."""
    return [
        Letter(letter_id, STATUSES[status], number_in(payload), *others)
        for letter_id, status, payload, *others in stack.sql(LETTERS)
    ]


def job(caller: Caller, job_id: str, title: str) -> Job:
    """A bulk job, as the API shows it; with no status where it does not."""
    answer = caller.call(0, "GET", f"/api/bulk/{job_id}")
    if not answer.is_success:
        return Job(job_id, title, f"not shown: {answer.status_code}", 0, 0, 0)
    shown = answer.json()
    return Job(job_id, title, *(shown[name] for name in ("status", "fanned_out", "stored", "failed")))


def inboxes(stack: Stack, caller: Caller, followers: Collection[Follower]) -> dict[str, Inbox]:
    """Every inbox, with all that is said of it."""
    client: Any = stack.redis()
    shards = len(truth.shards(stack))
    by_socket = {follower.recipient: follower.unread() for follower in followers}
    found = {}
    for recipient, seq, unread, version in stack.sql(INBOXES):
        mirror = client.get(keys.inbox(keys.shard_of(recipient, shards), recipient))
        said = mirror.decode() if mirror else None
        found[recipient] = Inbox(seq, unread, version, said, by_api(caller, recipient), by_socket.get(recipient))
    return found


def by_api(caller: Caller, recipient: str) -> int | None:
    """The unread count that the API answers, if it does."""
    try:
        answer = caller.call(0, "GET", f"/api/recipients/{recipient}/unread")
    except httpx.TransportError:
        return None
    unread: int | None = answer.json().get("unread")
    return unread


def number_in(payload: bytes) -> int | None:
    """The number of the event in a payload, if it can be read."""
    try:
        number: int = msgspec.json.decode(payload)["data"]["number"]
    except (msgspec.MsgspecError, KeyError, TypeError):
        return None
    return number
