"""Partitions are there in time, take every row, and leave with nothing that is needed."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from notifications import events, inbox, partitions, retention, store
from notifications.events import Event, FailedAttempt
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.models import Attempt, Notification
from notifications.partitions import DAY, NotNow, Partition
from notifications.retention import Stretch
from notifications.store import StoredEvent
from notifications.stream import keys
from notifications.stream.client import Shards

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

Make = Callable[..., Event]
MIDNIGHT = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
OLD = MIDNIGHT - 100 * DAY


@pytest.fixture
def announcer(shards: Shards) -> Announcer:
    return Announcer(shards, Outbox())


@pytest.fixture
def old() -> Partition:
    """A partition of three days, all of which are old."""
    partitions.make(OLD, OLD + 3 * DAY)
    return partitions.every()[0]


@pytest.fixture(autouse=True)
def _ninety_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "NOTIFY", msgspec.structs.replace(settings.NOTIFY, retention_days=90))


def keep_in(partition: Partition, make_event: Make, recipient: str, count: int, **fields: Any) -> list[Event]:
    """Notifications in a partition, stored when they were accepted."""
    then = partitions.time_of(partition.first) + timedelta(hours=1)
    batch = [make_event(recipient, id=id_of(then, recipient, number), **fields) for number in range(count)]
    store.store(batch)
    Notification.objects.filter(pk__in=[event.id for event in batch]).update(stored_at=then)
    return batch


def id_of(moment: datetime, recipient: str = "alice", number: int = 0) -> str:
    return events.derived_id(recipient, round(moment.timestamp() * 1000), recipient, str(number))


def seq(row: StoredEvent) -> int:
    return row.seq


def where(event_id: str | UUID) -> str:
    """The partition that has a row."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM notifications_notification WHERE id = %s", [str(event_id)])
        name: str = cursor.fetchone()[0]
        return name.removeprefix(partitions.TABLE)


def let_leave(shards: Shards, announcer: Announcer, partition: Partition) -> int:
    """A pass through one partition; how many rows it removed one by one."""
    left: Stretch | None = Stretch(partition.first, partition.end, partition)
    removed = 0
    while left is not None:
        left, some = retention.sweep(shards, announcer, left)
        removed += some
    return removed


def test_the_present_and_the_time_to_come_have_partitions_without_a_gap() -> None:
    assert partitions.make_ahead(timezone.now()) == partitions.make_ahead(timezone.now()) == 0
    later = timezone.now() + 85 * DAY
    assert partitions.make_ahead(later) > 1
    every = partitions.every()
    assert [one.end for one in every[:-1]] == [other.first for other in every[1:]]
    assert partitions.time_of(every[-1].end) >= later + partitions.AHEAD
    assert partitions.make_ahead(later) == 0


@pytest.mark.parametrize(
    ("set_days", "kept_days", "days"), [(0, 0, 30), (0, 7, 1), (0, 90, 9), (0, 999, 30), (60, 90, 60)]
)
def test_a_partition_is_as_wide_as_a_tenth_of_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, set_days: int, kept_days: int, days: int
) -> None:
    configured = msgspec.structs.replace(settings.NOTIFY, partition_days=set_days, retention_days=kept_days)
    monkeypatch.setattr(settings, "NOTIFY", configured)
    assert partitions.width() == days * DAY


def test_a_row_with_any_id_has_a_place_and_comes_once(make_event: Make) -> None:
    strange = [uuid4(), UUID(int=1), UUID(int=2**128 - 1), UUID(id_of(OLD)), UUID(id_of(MIDNIGHT + 4000 * DAY))]
    batch = [make_event("alice", id=str(each)) for each in strange]
    assert sorted(store.store(batch).rows, key=seq) == sorted(store.store(batch).rows, key=seq)
    assert {where(each) for each in strange} == {"_default"}
    assert inbox.mark_read("alice", strange)[1].unread == 0


def test_a_row_of_now_is_in_the_partition_of_the_present(make_event: Make) -> None:
    event = make_event("alice")
    store.store([event])
    now = partitions.id_at(timezone.now())
    (present,) = (one for one in partitions.every() if one.first <= now < one.end)
    assert where(event.id) == present.name.removeprefix(partitions.TABLE)


def test_what_the_default_one_has_of_its_time_moves_into_a_new_one(make_event: Make) -> None:
    early, other = make_event("alice", id=id_of(OLD + DAY)), make_event("alice", id=id_of(OLD + 4 * DAY))
    store.store([early, other])
    partitions.make(OLD, OLD + 3 * DAY)
    assert (where(early.id), where(other.id)) == (f"_p{OLD:%Y%m%d}", "_default")
    assert [row.seq for row in inbox.missed("alice", 0).rows] == [1, 2]


def test_where_none_was_made_for_long_the_next_begins_after_what_is_there(make_event: Make) -> None:
    much_later = timezone.now() + 1000 * DAY
    store.store([make_event("alice", id=id_of(much_later))])
    partitions.make_ahead(much_later)
    firsts = [partitions.time_of(one.first) for one in partitions.every()]
    assert MIDNIGHT + 1001 * DAY in firsts
    assert MIDNIGHT + 999 * DAY not in firsts


def another() -> "psycopg.Connection[tuple[Any, ...]]":
    return psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None, "context": None})


def test_whoever_uses_the_table_is_not_waited_for() -> None:
    last = partitions.every()[-1]
    with another() as user:
        user.execute("SELECT count(*) FROM notifications_notification")
        with pytest.raises(NotNow, match="lock timeout"):
            partitions.make_ahead(timezone.now() + 100 * DAY)
        with pytest.raises(NotNow, match="lock timeout"):
            partitions.drop(last, timezone.now())
        assert last in partitions.every()
    assert partitions.drop(last, timezone.now())
    assert last not in partitions.every()


def test_one_process_at_a_time_makes_them() -> None:
    with another() as first:
        first.execute("SELECT pg_advisory_xact_lock(%s, %s)", [partitions.LOCK, partitions.MAKING])
        with pytest.raises(NotNow, match="another"):
            partitions.make_ahead(timezone.now() + 100 * DAY)


def test_an_old_partition_leaves_whole_and_its_unread_ones_are_counted_down(
    shards: Shards, make_event: Make, announcer: Announcer, old: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    failures = (FailedAttempt(at_ms=1, attempt=1, error="no", delay_ms=1000),)
    read = keep_in(old, make_event, "alice", 3, failures=failures)
    inbox.mark_read("alice", [UUID(event.id) for event in read])
    keep_in(old, make_event, "bob", 2)
    store.store([make_event("alice", failures=failures)])
    assert let_leave(shards, announcer, old) == 2
    assert old not in partitions.every()
    assert list(Notification.objects.values_list("recipient", "seq")) == [("alice", 4)]
    assert {who: state.unread for who, state in store.states(["alice", "bob"]).items()} == {"alice": 1, "bob": 0}
    assert Attempt.objects.count() == 1
    # One that comes again after all has a place.
    store.store([read[0]])
    assert where(read[0].id) == "_default"


def test_what_is_needed_keeps_its_partition(
    shards: Shards, make_event: Make, announcer: Announcer, old: Partition
) -> None:
    held, _ = keep_in(old, make_event, "alice", 2)
    inbox.mark_read("alice", None)
    client: Any = shards.client
    client.hset(keys.inflight(shards.of("alice")), held.id, "queued live 1-1")
    assert let_leave(shards, announcer, old) == 0
    assert (old in partitions.every(), Notification.objects.count()) == (True, 2)
    client.delete(keys.inflight(shards.of("alice")))
    assert let_leave(shards, announcer, old) == 0
    assert (old in partitions.every(), Notification.objects.count()) == (False, 0)


def test_what_was_stored_lately_keeps_its_partition_even_when_the_pass_was_over(
    shards: Shards, make_event: Make, announcer: Announcer, old: Partition
) -> None:
    keep_in(old, make_event, "alice", 1)
    through = Stretch(old.end, old.end, old)
    store.store([make_event("bob", id=id_of(OLD + DAY, "bob"))])
    assert retention.sweep(shards, announcer, through) == (None, 0)
    assert let_leave(shards, announcer, old) == 1
    assert (old in partitions.every(), Notification.objects.get().recipient) == (True, "bob")


def test_of_a_partition_that_is_old_in_part_nothing_leaves_and_of_a_wide_one_row_by_row(
    shards: Shards, make_event: Make, announcer: Announcer
) -> None:
    bound = retention.oldest_kept()
    assert bound
    begins = bound.replace(hour=0, minute=0, second=0, microsecond=0) - 3 * DAY
    partitions.make(begins, begins + 9 * DAY)
    before = [(one.first, one.end, one.whole) for one in retention.stretches(bound)]
    assert before == [(UUID(int=0), partitions.id_at(begins), None)]
    partitions.make(begins - 40 * DAY, begins - 10 * DAY)
    partitions.make(begins - 10 * DAY, begins)
    partitions.drop(partitions.every()[-1], bound)
    whole = [one.whole for one in retention.stretches(bound)]
    assert [one and one.span // DAY for one in whole] == [None, 30, 10]


def test_every_question_about_an_inbox_is_answered_by_the_partitions_indexes(make_event: Make) -> None:
    for number in range(13):
        partitions.make(OLD - 30 * (number + 1) * DAY, OLD - 30 * number * DAY)
    rows = Notification.objects.filter(recipient="alice")
    known = [UUID(id_of(OLD - 30 * number * DAY - DAY)) for number in range(2)]
    assert _indexes(rows.order_by("-seq")[:21], "Merge Append") == {"inbox_order"}
    assert _indexes(rows.filter(seq__lt=40, read_at=None).order_by("-seq")[:21], "Merge Append") == {"inbox_order"}
    assert _indexes(rows.filter(seq__gt=40).order_by("seq")[:501], "Merge Append") == {"inbox_order"}
    assert _indexes(Notification.objects.order_by("-pk")[:100], "Merge Append") == {"pkey"}
    assert _tables(Notification.objects.filter(pk=known[0])) == 1
    assert _tables(rows.filter(pk__in=known)) == 2


def _explain(rows: "QuerySet[Notification]") -> str:
    with connection.cursor() as cursor:
        # The tables are small.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    return rows.explain()


def _indexes(rows: "QuerySet[Notification]", node: str) -> set[str]:
    """The kinds of indexes that a query uses, of all partitions alike."""
    plan = _explain(rows).splitlines()
    used = [line for line in plan if "Index Scan" in line]
    assert any(node in line for line in plan), plan
    assert not any("->  Sort" in line or "Seq Scan" in line for line in plan), plan
    assert len(used) == len(partitions.every()) + 1, plan
    return {kind for line in used for kind in ("inbox_order", "pkey") if kind in line}


def _tables(rows: "QuerySet[Notification]") -> int:
    return _explain(rows).count(f" on {partitions.TABLE}_")
