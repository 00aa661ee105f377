"""The inbox in PostgreSQL: one row an event, `seq` in commit order, an exact count."""

import threading
from collections.abc import Callable
from uuid import UUID

import pytest
from django.db import DataError, connection, transaction

from notifications import events, store
from notifications.events import Event
from notifications.models import Inbox, Notification
from notifications.store import EMPTY, InboxState

pytestmark = pytest.mark.one_shard_is_enough

Make = Callable[..., Event]


def seqs(recipient: str) -> list[int]:
    return list(Notification.objects.filter(recipient=recipient).order_by("seq").values_list("seq", flat=True))


def unread_rows(recipient: str) -> int:
    return Notification.objects.filter(recipient=recipient, read_at=None).count()


@pytest.mark.django_db
def test_a_batch_becomes_rows_numbered_in_its_order(make_event: Make) -> None:
    batch = [make_event(who) for who in ("bob", "alice", "bob", "bob")]
    stored = store.store(batch)
    assert [(row.event.id, row.seq) for row in stored.rows] == [
        (event.id, seq) for event, seq in zip(batch, (1, 1, 2, 3), strict=True)
    ]
    assert stored.inboxes == {"alice": InboxState(1, 1, 1), "bob": InboxState(1, 3, 3)}
    assert seqs("bob") == [1, 2, 3]


@pytest.mark.django_db
def test_every_field_arrives_as_it_was_sent(make_event: Make) -> None:
    text = "quotes \" ' backslash \\ braces {} , emoji 😀 <b>"
    event = events.accept(
        events.parse(rb'{"recipient":"r/1","type":"t","title":"T","body":"l\n2","data":{"a":[1,{"\u00fc":"\\"}]}}'),
        events.new_id("r/1"),
        source="bulk",
        source_id="01a20433-cd9e-7a24-b36e-c92899ccf0fe",
    )
    other = make_event("r/1", title=text, body=text)
    store.store([event, other])
    row, second = Notification.objects.order_by("seq")
    assert (str(row.id), row.type, row.title, row.body) == (event.id, "t", "T", "l\n2")
    assert row.data == {"a": [1, {"ü": "\\"}]}
    assert (row.source, row.source_id) == (Notification.Source.BULK, UUID("01a20433-cd9e-7a24-b36e-c92899ccf0fe"))
    assert (second.title, second.body, second.data, second.source_id) == (text, text, {}, None)
    assert (row.attempts, row.read_at) == (1, None)


@pytest.mark.django_db
def test_texts_of_any_length_arrive_beside_each_other(make_event: Make) -> None:
    lengths = (0, 1, 255, 256, 1023, 1024, 4096)
    batch = [make_event("alice", body="ü" * length) for length in lengths]
    store.store(batch)
    assert list(Notification.objects.order_by("seq").values_list("body", flat=True)) == [row.body for row in batch]


@pytest.mark.django_db
def test_an_event_that_was_tried_too_often_for_its_column_is_refused_like_any_other_row(make_event: Make) -> None:
    with pytest.raises(DataError):
        store.store([make_event(), make_event(attempts=2**15 - 1)])
    assert not Notification.objects.exists()


@pytest.mark.django_db
def test_a_redelivered_batch_changes_nothing_and_is_told_again(make_event: Make) -> None:
    batch = [make_event("alice"), make_event("bob")]
    first = store.store(batch)
    again = store.store(batch)
    assert {(row.event.id, row.seq) for row in again.rows} == {(row.event.id, row.seq) for row in first.rows}
    assert again.inboxes == first.inboxes
    assert Notification.objects.count() == 2


@pytest.mark.django_db
def test_redelivered_among_new_ones_leave_no_gap_in_seq(make_event: Make) -> None:
    old = make_event("alice")
    store.store([old])
    stored = store.store([make_event("alice"), old, make_event("alice"), make_event("bob")])
    assert seqs("alice") == [1, 2, 3]
    assert stored.inboxes["alice"] == InboxState(2, 3, 3)
    assert len(stored.rows) == 4
    assert unread_rows("alice") == 3


@pytest.mark.django_db
def test_one_event_twice_in_a_batch_is_one_row(make_event: Make) -> None:
    event = make_event("alice")
    assert store.store([event, event]).inboxes == {"alice": InboxState(1, 1, 1)}
    assert Notification.objects.count() == 1


@pytest.mark.django_db
def test_an_empty_batch_is_nothing() -> None:
    assert store.store([]) == store.Stored([], {})


@pytest.mark.django_db
def test_a_row_that_postgresql_refuses_fails_its_batch_as_a_whole(make_event: Make) -> None:
    with pytest.raises(DataError), transaction.atomic():
        store.store([make_event("alice"), make_event("bob", title="x" * 300)])
    assert not Notification.objects.exists()
    assert not Inbox.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_workers_with_the_same_events_store_each_once_and_without_gaps(make_event: Make) -> None:
    batches = [[make_event(f"r{number % 7}") for number in range(200)] for _ in range(4)]
    shared = [event for batch in batches for event in batch]

    def work(batch: list[Event]) -> None:
        try:
            store.store(batch)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(batch,)) for batch in [*batches, shared, shared[::-1]]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Notification.objects.count() == len(shared)
    for inbox in Inbox.objects.all():
        assert seqs(inbox.recipient) == list(range(1, inbox.seq + 1))
        assert inbox.unread == inbox.seq == unread_rows(inbox.recipient)


@pytest.mark.django_db
def test_marking_read_changes_the_rows_and_the_count_together(make_event: Make) -> None:
    batch = [make_event("alice") for _ in range(3)]
    store.store([*batch, make_event("bob")])
    changed, state = store.mark_read("alice", [UUID(batch[0].id)])
    assert (changed, state) == ([UUID(batch[0].id)], InboxState(2, 2, 3))
    changed, state = store.mark_read("alice", None)
    assert (len(changed), state) == (2, InboxState(3, 0, 3))
    assert unread_rows("bob") == 1


@pytest.mark.django_db
def test_marking_read_what_is_read_or_anothers_or_unknown_changes_nothing(make_event: Make) -> None:
    mine, others = make_event("alice"), make_event("bob")
    store.store([mine, others])
    store.mark_read("alice", [UUID(mine.id)])
    ids = [UUID(mine.id), UUID(others.id), UUID(events.new_id("alice"))]
    assert store.mark_read("alice", ids) == ([], InboxState(2, 0, 1))
    assert store.mark_read("nobody", None) == ([], EMPTY)
    assert unread_rows("bob") == 1


@pytest.mark.django_db(transaction=True)
def test_marking_all_read_while_more_arrives_keeps_the_count_exact(make_event: Make) -> None:
    def arrive() -> None:
        for _ in range(20):
            store.store([make_event("alice") for _ in range(5)])
        connection.close()

    def read() -> None:
        for _ in range(20):
            store.mark_read("alice", None)
        connection.close()

    threads = [threading.Thread(target=work) for work in (arrive, read, arrive, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inbox = Inbox.objects.get()
    assert inbox.seq == 200
    assert inbox.unread == unread_rows("alice")


@pytest.mark.django_db
def test_the_state_of_who_never_got_anything_is_empty(make_event: Make) -> None:
    store.store([make_event("alice")])
    assert store.states(["alice", "nobody"]) == {"alice": InboxState(1, 1, 1), "nobody": EMPTY}
