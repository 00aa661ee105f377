"""The reconciler of unread counts: finds what is wrong, tells it, mends the mirror; and blames no update under way."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from structlog.testing import capture_logs

from notifications import drift, store, unread
from notifications.drift import Drift, Totals
from notifications.events import Event
from notifications.models import Inbox, Notification
from notifications.stream import keys
from notifications.stream.client import Shards

pytestmark = pytest.mark.django_db

Make = Callable[..., Event]


@pytest.fixture(autouse=True)
def _stay_connected(monkeypatch: Any) -> None:
    """A test is one transaction, which ends with its connection."""
    monkeypatch.setattr("notifications.drift.connections.close_all", lambda: None)


@pytest.fixture
def reconciler(shards: Shards) -> Drift:
    return Drift(shards, per_minute=400, judge_seconds=0)


def mirror_key(shards: Shards, recipient: str) -> str:
    return keys.inbox(shards.of(recipient), recipient)


def falsify(shards: Shards, recipient: str, mirror: str) -> None:
    shards.client.set(mirror_key(shards, recipient), mirror)


def look_twice(reconciler: Drift) -> list[Any]:
    """A sample and its judgement; the lines that told of a drift."""
    with capture_logs() as lines:
        reconciler.sample()
        reconciler.judge()
    return [line for line in lines if line["event"] == "unread.drift"]


def test_what_agrees_is_counted_and_nothing_is_said(shards: Shards, make_event: Make, reconciler: Drift) -> None:
    store.store([make_event("alice"), make_event("alice"), make_event("bob")])
    unread.look(shards, ["alice", "nobody"])
    assert look_twice(reconciler) == []
    # Alice and nobody by their mirrors, Bob by his row.
    assert drift.totals(shards) == Totals(checked=3, found=0, lately=0)


def test_a_wrong_mirror_is_told_counted_and_taken_away(shards: Shards, make_event: Make, reconciler: Drift) -> None:
    store.store([make_event("alice"), make_event("bob")])
    unread.look(shards, ["alice", "bob"])
    falsify(shards, "alice", "1 7 1")
    (line,) = look_twice(reconciler)
    assert (line["recipient"], line["mirror"], line["inbox"], line["rows"]) == ("alice", "1 7 1", "1 1 1", 1)
    assert line["mended"] is True
    assert drift.totals(shards) == Totals(checked=2, found=1, lately=1)
    assert not shards.client.exists(mirror_key(shards, "alice"))
    assert shards.client.exists(mirror_key(shards, "bob"))
    assert unread.look(shards, ["alice"])["alice"].unread == 1
    assert look_twice(reconciler) == []
    assert drift.totals(shards).found == 1


def test_a_mirror_that_is_behind_for_good_is_wrong(shards: Shards, make_event: Make, reconciler: Drift) -> None:
    unread.look(shards, ["alice"])
    store.store([make_event("alice")])
    (line,) = look_twice(reconciler)
    assert line["mirror"] == "0 0 0"


def test_an_update_under_way_is_no_drift(shards: Shards, make_event: Make, reconciler: Drift) -> None:
    unread.look(shards, ["alice"])
    committed = store.store([make_event("alice")])
    with capture_logs() as lines:
        reconciler.sample()
        falsify(shards, "alice", unread.pack(committed.inboxes["alice"]))
        reconciler.judge()
        # And one that has gone on, and is behind again by the time of the second look.
        store.store([make_event("alice")])
        reconciler.sample()
        falsify(shards, "alice", "2 2 2")
        store.store([make_event("alice")])
        reconciler.judge()
    assert lines == []
    assert drift.totals(shards).found == 0


def test_a_mirror_that_is_mended_meanwhile_is_left_alone(shards: Shards, make_event: Make) -> None:
    store.store([make_event("alice")])
    falsify(shards, "alice", "1 9 1")
    wrong = drift.compare(shards, ["alice"])
    falsify(shards, "alice", "1 1 1")
    drift.mend(shards, wrong)
    assert shards.client.get(mirror_key(shards, "alice")) == b"1 1 1"


def test_a_lease_says_nothing_and_stays(shards: Shards, make_event: Make, reconciler: Drift) -> None:
    store.store([make_event("alice")])
    falsify(shards, "alice", "lease 0123456789abcdef")
    assert look_twice(reconciler) == []
    assert shards.client.exists(mirror_key(shards, "alice"))


def test_rows_that_are_not_what_their_inbox_says_are_told_and_left_to_people(
    shards: Shards, make_event: Make, reconciler: Drift
) -> None:
    store.store([make_event("alice"), make_event("alice")])
    Inbox.objects.update(unread=5)
    (line,) = look_twice(reconciler)
    assert (line["recipient"], line["rows"], line["mended"]) == ("alice", 2, False)
    assert Inbox.objects.get().unread == 5
    assert Notification.objects.count() == 2


def test_postgresql_is_only_read(
    shards: Shards, make_event: Make, reconciler: Drift, django_assert_num_queries: Any
) -> None:
    store.store([make_event("alice")])
    falsify(shards, "alice", "1 7 1")
    with django_assert_num_queries(4) as queries:
        look_twice(reconciler)
    assert all(query["sql"].strip().startswith("SELECT") for query in queries.captured_queries)


def test_a_sample_is_no_larger_than_it_was_asked_for(shards: Shards, make_event: Make) -> None:
    recipients = [f"r{number}" for number in range(60)]
    store.store([make_event(recipient) for recipient in recipients])
    unread.look(shards, recipients)
    small = Drift(shards, per_minute=40)
    small.sample()
    assert 1 <= drift.totals(shards).checked <= 10
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE notifications_inbox")
    assert len(drift.choose(10)) == 10


def test_of_several_one_has_the_turn(shards: Shards, make_event: Make, monkeypatch: Any) -> None:
    store.store([make_event("alice")])
    monkeypatch.setattr("notifications.drift.process.pause", lambda _: None)
    for _ in range(5):
        Drift(shards, per_minute=100).step()
    assert drift.totals(shards).checked == 1
