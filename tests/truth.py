"""What must hold whenever the pipeline is at rest, after whatever happened to it."""

from collections import Counter
from collections.abc import Collection
from typing import Any

from notifications.stream import keys
from notifications.stream.keys import LANES
from tests.stack import Stack, wait_until

INBOXES = """
    SELECT recipient, inbox.seq, inbox.unread, count(*), max(n.seq), count(*) FILTER (WHERE n.read_at IS NULL)
    FROM notifications_notification n JOIN notifications_inbox inbox USING (recipient)
    GROUP BY recipient, inbox.seq, inbox.unread
"""
ROWS = "SELECT count(*) FROM notifications_notification"


def shards(stack: Stack) -> range:
    """The shards of a deployment."""
    return range(int(stack.env["NOTIFY_SHARDS"]))


def in_flight(stack: Stack) -> int:
    """Events that were accepted and are not settled."""
    client: Any = stack.redis()
    return sum(client.hlen(keys.inflight(shard)) for shard in shards(stack))


def pending(stack: Stack) -> int:
    """Entries that some worker holds."""
    client: Any = stack.redis()
    lanes = [keys.lane(shard, lane) for shard in shards(stack) for lane in LANES]
    return sum(group["pending"] for name in lanes for group in _groups(client, name))


def rows(stack: Stack) -> int:
    """Notifications in PostgreSQL."""
    count: int = stack.sql(ROWS)[0][0]
    return count


def wait_for_rest(stack: Stack, timeout: float = 60) -> None:
    """Wait until everything accepted is settled."""
    wait_until(lambda: in_flight(stack) == 0, timeout, "events are still in flight")


def assert_kept(stack: Stack, accepted: Collection[str]) -> None:
    """Every accepted event is one row; every count is exact; no stream, pending list or state holds a remainder."""
    stored = Counter(str(row_id) for (row_id,) in stack.sql("SELECT id FROM notifications_notification"))
    assert not set(accepted) - stored.keys(), "lost"
    assert not stored.keys() - set(accepted), "rows that nobody sent"
    for recipient, seq, unread, count, newest, unread_rows in stack.sql(INBOXES):
        assert seq == newest == count, f"{recipient}: seq {seq}, newest {newest}, {count} rows"
        assert unread == unread_rows, f"{recipient}: {unread} unread, but {unread_rows} rows"
    assert_mirrors_agree(stack)
    assert_streams_are_empty(stack)


def assert_mirrors_agree(stack: Stack) -> None:
    """Each mirror that is there says what PostgreSQL says."""
    client: Any = stack.redis()
    inboxes = stack.sql("SELECT recipient, version, unread, seq FROM notifications_inbox")
    truth = {recipient: f"{version} {unread} {seq}" for recipient, version, unread, seq in inboxes}
    for shard in shards(stack):
        prefix = keys.inbox(shard, "")
        for name in client.scan_iter(f"{prefix}*", count=1000):
            mirror = (client.get(name) or b"lease").decode()
            recipient = name.decode().removeprefix(prefix)
            assert mirror.startswith("lease") or mirror == truth.get(recipient, "0 0 0"), recipient


def assert_streams_are_empty(stack: Stack) -> None:
    """No entry waits, none is pending, nothing is in flight, nothing is dead."""
    assert not left_over(stack)


def left_over(stack: Stack) -> list[str]:
    """What is where nothing should be at rest, in words: entries waiting or pending, events in flight or delayed."""
    client: Any = stack.redis()
    found: dict[str, int] = {}
    for shard in shards(stack):
        for lane in LANES:
            name = keys.lane(shard, lane)
            found[f"entries in {name}"] = client.xlen(name)
            found[f"pending in {name}"] = sum(group["pending"] for group in _groups(client, name))
        dead = keys.dead_letters(shard)
        found[f"entries in {dead}"] = client.xlen(dead)
        found[f"pending in {dead}"] = sum(group["pending"] for group in _groups(client, dead))
        found[f"events in {keys.inflight(shard)}"] = client.hlen(keys.inflight(shard))
        found[f"events in {keys.delayed(shard)}"] = client.zcard(keys.delayed(shard))
        found[f"events in {keys.payloads(shard)}"] = client.hlen(keys.payloads(shard))
        found[f"changes in {keys.changes(shard)}"] = client.xlen(keys.changes(shard))
    return [f"{count} {where}" for where, count in found.items() if count]


def _groups(client: Any, stream: str) -> list[dict[str, Any]]:
    """The groups of a stream; one that nobody ever wrote to has none."""
    return client.xinfo_groups(stream) if client.exists(stream) else []
