"""The unread count in Redis: a mirror of PostgreSQL for recipients that somebody looks at, filled under a lease.

PostgreSQL's `inbox` row is the truth. A mirror holds absolute values and the row's version; nothing is ever counted
up or down in Redis, so nothing drifts. Who changes a row brings the mirror up to date after the commit
(announce.lua); who finds no mirror takes a lease, reads PostgreSQL and fills it while the lease stands.
"""

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from notifications import store
from notifications.store import InboxState
from notifications.stream import keys, scripts
from notifications.stream.client import Shards
from notifications.stream.cluster import AWAY

MIRROR_MS: Final = 24 * 60 * 60 * 1000
LEASE_MS: Final = 10_000
# A mark-read is over long before this; what is older was left by a process that died.
INTENT_LIFE_MS: Final = 10_000
CHUNK: Final = 500


def pack(state: InboxState) -> str:
    """An inbox as its mirror holds it."""
    return f"{state.version} {state.unread} {state.seq}"


def look(shards: Shards, recipients: Sequence[str]) -> dict[str, InboxState]:
    """Each recipient's inbox, from its mirror; what is not mirrored is read from PostgreSQL and mirrored."""
    states: dict[str, InboxState] = {}
    for shard, members in shards.group(dict.fromkeys(recipients), str).items():
        for start in range(0, len(members), CHUNK):
            states |= _look(shards, shard, members[start : start + CHUNK])
    return states


def look_where_possible(shards: Shards, recipients: Sequence[str]) -> dict[str, InboxState]:
    """The same of those whose node answers. Raises RedisError where there is one server, and that does not."""
    states: dict[str, InboxState] = {}
    for members in shards.group(recipients, str).values():
        try:
            states |= look(shards, members)
        except AWAY:
            if shards.is_one_server:
                raise
    return states


def _look(shards: Shards, shard: int, recipients: list[str]) -> dict[str, InboxState]:
    token = secrets.token_hex(8)
    names = [keys.inbox(shard, recipient) for recipient in recipients]
    seen: list[bytes] = scripts.run(shards.client, "look", names, [token, MIRROR_MS, LEASE_MS])
    mirrors = dict(zip(recipients, seen, strict=True))
    states = {who: _unpack(mirror) for who, mirror in mirrors.items() if mirror not in {b"lease", b"busy"}}
    if absent := [who for who in recipients if who not in states]:
        states |= store.states(absent)
    if leased := [who for who, mirror in mirrors.items() if mirror == b"lease"]:
        fills = [pack(states[who]) for who in leased]
        leases = [keys.inbox(shard, who) for who in leased]
        scripts.run(shards.client, "fill", leases, [token, MIRROR_MS, *fills])
    return states


def _unpack(mirror: bytes) -> InboxState:
    version, unread, seq = mirror.split()
    return InboxState(int(version), int(unread), int(seq))


@contextmanager
def intent(shards: Shards, recipient: str) -> Iterator[None]:
    """Around a change of an inbox that no stream entry stands behind (a mark-read), and its mirror's update.

    It leaves a note in Redis before, and takes it away after. Where the process dies between commit and mirror, or
    the block raises, the note stays, and a worker brings the mirror up to date (`repair`).
    """
    with intents(shards, [recipient]):
        yield


@contextmanager
def intents(shards: Shards, recipients: Sequence[str]) -> Iterator[None]:
    """The same around a change of many inboxes."""
    token, now_ms = secrets.token_hex(8), _now_ms()
    notes = {keys.intents(shard): who for shard, who in shards.group(recipients, str).items()}
    for name, members in notes.items():
        shards.client.zadd(name, {f"{token} {recipient}": now_ms for recipient in members})
    yield
    for name, members in notes.items():
        shards.client.zrem(name, *(f"{token} {recipient}" for recipient in members))


def abandoned(shards: Shards) -> Iterable[tuple[int, bytes, str]]:
    """The notes that nobody took away: shard, note, recipient. A hundred of each shard at most."""
    latest = _now_ms() - INTENT_LIFE_MS
    found = shards.ask_each(lambda pipe, shard: pipe.zrangebyscore(keys.intents(shard), 0, latest, start=0, num=100))
    for shard, notes in found.items():
        for note in notes:
            yield shard, note, note.decode().partition(" ")[2]


def forget(shards: Shards, shard: int, note: bytes) -> None:
    """Take away a note whose mirror is right again."""
    shards.client.zrem(keys.intents(shard), note)


def forget_all(shards: Shards) -> int:
    """Take away every mirror; returns how many. For a server that came back with another's, or an older, state."""
    forgotten = 0
    for shard in shards.each():
        for name in shards.client.scan_iter(keys.inboxes(shard), count=CHUNK):
            forgotten += int(shards.client.delete(name))
    return forgotten


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
