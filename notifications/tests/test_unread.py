"""The mirror of the unread count: right after any order of events, and never filled with what is old."""

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from notifications import inbox, store, unread, wiring, worker
from notifications.events import Event
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.store import EMPTY, InboxState
from notifications.stream import keys
from notifications.stream.client import Shards

pytestmark = pytest.mark.django_db

Make = Callable[..., Event]


@pytest.fixture
def announcer(shards: Shards) -> Announcer:
    return Announcer(shards, Outbox())


def mirror(shards: Shards, recipient: str) -> str | None:
    client: Any = shards.client
    held: bytes | None = client.get(keys.inbox(shards.of(recipient), recipient))
    return None if held is None else held.decode()


def test_a_look_fills_the_mirror_and_the_next_one_asks_postgresql_no_more(
    shards: Shards, make_event: Make, django_assert_num_queries: Any
) -> None:
    store.store([make_event("alice"), make_event("bob")])
    assert mirror(shards, "alice") is None
    expected = {"alice": InboxState(1, 1, 1), "bob": InboxState(1, 1, 1), "nobody": EMPTY}
    assert unread.look(shards, list(expected)) == expected
    assert mirror(shards, "alice") == "1 1 1"
    assert mirror(shards, "nobody") == "0 0 0"
    with django_assert_num_queries(0):
        assert unread.look(shards, list(expected)) == expected


def test_a_mirror_follows_each_commit_and_absent_ones_stay_absent(
    shards: Shards, make_event: Make, announcer: Announcer
) -> None:
    unread.look(shards, ["alice"])
    announcer.stored(store.store([make_event("alice"), make_event("cold")]))
    assert mirror(shards, "alice") == "1 1 1"
    assert mirror(shards, "cold") is None


def test_a_late_announcement_does_not_put_back_an_older_count(
    shards: Shards, make_event: Make, announcer: Announcer
) -> None:
    unread.look(shards, ["alice"])
    older = store.store([make_event("alice")])
    newer = store.store([make_event("alice")])
    announcer.stored(newer)
    announcer.stored(older)
    assert mirror(shards, "alice") == "2 2 2"


def test_a_reader_that_read_before_a_commit_does_not_fill_after_it(
    shards: Shards, make_event: Make, announcer: Announcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def states_then_a_commit(recipients: list[str]) -> dict[str, InboxState]:
        monkeypatch.setattr(store, "states", original)
        before = original(recipients)
        announcer.stored(store.store([make_event("alice")]))
        return before

    original = store.states
    monkeypatch.setattr(store, "states", states_then_a_commit)
    assert unread.look(shards, ["alice"])["alice"] == EMPTY
    assert mirror(shards, "alice") is None
    assert unread.look(shards, ["alice"])["alice"] == InboxState(1, 1, 1)


def test_two_readers_at_once_both_answer_and_one_fills(
    shards: Shards, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.store([make_event("alice")])

    def states_with_another_look(recipients: list[str]) -> dict[str, InboxState]:
        monkeypatch.setattr(store, "states", original)
        assert unread.look(shards, ["alice"])["alice"] == InboxState(1, 1, 1)
        assert (mirror(shards, "alice") or "").startswith("lease")
        return original(recipients)

    original = store.states
    monkeypatch.setattr(store, "states", states_with_another_look)
    assert unread.look(shards, ["alice"])["alice"] == InboxState(1, 1, 1)
    assert mirror(shards, "alice") == "1 1 1"


def test_a_mirror_of_a_flushed_redis_is_filled_again(shards: Shards, make_event: Make) -> None:
    store.store([make_event("alice")])
    unread.look(shards, ["alice"])
    shards.client.flushall()
    assert unread.look(shards, ["alice"])["alice"] == InboxState(1, 1, 1)


def test_a_mirror_that_nobody_looks_at_expires(shards: Shards) -> None:
    unread.look(shards, ["alice"])
    client: Any = shards.client
    assert 0 < client.pttl(keys.inbox(shards.of("alice"), "alice")) <= unread.MIRROR_MS


def test_a_commit_does_not_prolong_a_mirror_for_ever(shards: Shards, make_event: Make, announcer: Announcer) -> None:
    unread.look(shards, ["alice"])
    announcer.stored(store.store([make_event("alice")]))
    client: Any = shards.client
    assert 0 < client.pttl(keys.inbox(shards.of("alice"), "alice")) <= unread.MIRROR_MS


def test_marking_read_brings_the_mirror_up_to_date_and_leaves_no_note(shards: Shards, make_event: Make) -> None:
    store.store([make_event("alice"), make_event("alice")])
    assert inbox.state("alice").unread == 2
    changed, state = inbox.mark_read("alice", None)
    assert (len(changed), state.unread) == (2, 0)
    assert mirror(shards, "alice") == "2 0 2"
    assert shards.client.zcard(keys.intents(shards.of("alice"))) == 0


def test_a_mark_read_that_dies_after_its_commit_is_mended_by_a_worker(
    shards: Shards, make_event: Make, announcer: Announcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.store([make_event("alice")])
    assert inbox.state("alice").unread == 1

    def die(*_: object) -> None:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(Announcer, "read", die)
    changed, _ = inbox.mark_read("alice", None)
    monkeypatch.undo()
    assert len(changed) == 1
    assert mirror(shards, "alice") == "1 1 1"

    worker.repair_mirrors(shards, announcer)
    assert mirror(shards, "alice") == "1 1 1", "a mark-read that may still be under way is left alone"
    monkeypatch.setattr(unread, "INTENT_LIFE_MS", -1000)
    worker.repair_mirrors(shards, announcer)
    assert mirror(shards, "alice") == "2 0 1"
    assert shards.client.zcard(keys.intents(shards.of("alice"))) == 0


def test_marking_read_without_redis_changes_nothing(make_event: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store.store([make_event("alice")])

    def gone(*_: object) -> None:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(type(wiring.shards().client), "zadd", gone)
    with pytest.raises(RedisConnectionError):
        inbox.mark_read("alice", None)
    assert store.states(["alice"])["alice"].unread == 1
