"""The records: every change becomes a row, in its order, once, whoever else records and whatever PostgreSQL refuses."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.utils import timezone
from structlog.testing import capture_logs

from notifications import wiring
from notifications.stream import keys
from notifications.stream.schedules import Change
from scheduler import records, schedule
from scheduler.models import Schedule as Row
from scheduler.schedule import Schedule
from scheduler.tests.helpers import (
    DAY,
    SECOND,
    cancel,
    fire,
    logged,
    now_ms,
    once,
    plan,
    planner,
    postgresql_is_away,
    queued,
    record_all,
    recurring,
    retitle,
    seen,
    waits,
)

pytestmark = pytest.mark.django_db

Status = Row.Status
COMPARED = [field.name for field in Row._meta.fields if field.name != "recorded_at"]


@pytest.fixture
def another() -> Iterator[Any]:
    """A transaction of another process."""
    with psycopg.connect(settings.NOTIFY.database_url, dbname=connection.settings_dict["NAME"]) as other:
        yield other


def rows() -> list[dict[str, Any]]:
    return list(Row.objects.order_by("pk").values(*COMPARED))


def row(known: Schedule) -> Row:
    return Row.objects.get(pk=known.id)


def test_a_schedule_becomes_a_row_with_all_that_a_list_shows_and_all_that_redis_had() -> None:
    single, again = once(now_ms() + DAY, "alice"), recurring(now_ms() + DAY, "bob", zone="Asia/Tokyo")
    plan(single, again)
    assert record_all() == 2
    for known in (single, again):
        found = row(known)
        assert (found.status, found.revision, found.recurs) == (Status.SCHEDULED, 1, known.recurs)
        assert (found.recipient, found.type, found.title) == (known.event.recipient, "report.due", "Report")
        assert known.due_ms is not None
        assert (found.next_run_at, found.last_run_at, found.runs) == (schedule.moment(known.due_ms), None, 0)
        assert records.kept_of(found) == schedule.to_kept(known) == seen(known)
    assert logged() == 0


def test_changes_end_as_the_last_of_them_in_one_batch_or_in_many() -> None:
    known = [once(now_ms() + DAY) for _ in range(2)]
    plan(*known)
    record_all()
    for _ in range(3):
        known = [retitle(one, f"{one.revision}") for one in known]
    cancel(known[1])
    record_all()
    assert [(row(one).title, row(one).revision, row(one).status) for one in known] == [
        ("3", 4, Status.SCHEDULED),
        ("3", 5, Status.CANCELLED),
    ]
    assert waits(known[0])
    assert wiring.schedules().look(known[1].id) is None


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_what_fires_is_recorded_the_same_in_one_batch_with_its_plan_or_after_it(batches: int) -> None:
    known = once(now_ms() - SECOND, title="First")
    plan(known)
    if batches > 1:
        record_all()
    known = retitle(known, "Second")
    if batches > 2:
        record_all()
    before = now_ms()
    fire()
    record_all()
    found = row(known)
    assert (found.status, found.revision, found.runs, found.title) == (Status.FIRED, 3, 1, "Second")
    assert found.next_run_at is None
    assert found.last_run_at is not None
    assert before - SECOND <= schedule.unix_ms(found.last_run_at) <= now_ms() + SECOND
    assert (wiring.schedules().look(known.id), logged()) == (None, 0)


def test_occurrences_are_recorded_as_they_come() -> None:
    known = recurring(now_ms() - 3 * DAY, cron="0 0 * * *", catch_up="all")
    plan(known)
    fire(until=lambda: (seen(known).due_ms or 0) > now_ms())
    record_all()
    found = row(known)
    assert (found.status, found.runs) == (Status.SCHEDULED, len(queued()))
    assert found.last_run_at is not None
    assert records.kept_of(found) == seen(known)
    cancel(schedule.from_kept(seen(known)))
    record_all()
    assert (row(known).status, row(known).runs, row(known).next_run_at) == (Status.CANCELLED, len(queued()), None)


def test_a_recorder_that_dies_between_its_commit_and_the_log_records_the_same_again() -> None:
    """Of the same changes, and of more of them in one batch, the same becomes."""
    schedules, shard = wiring.schedules(), wiring.shards().of("alice")
    fired, cancelled, edited = once(now_ms() - SECOND), once(now_ms() + DAY), recurring(now_ms() + DAY)
    plan(fired, cancelled, edited)
    first = schedules.changes(shard)
    records.apply(first)
    before = rows()
    records.apply(first)
    assert rows() == before
    fire()
    cancel(cancelled)
    retitle(edited, "Another")
    for count in (4, 5, 6):
        records.apply(schedules.changes(shard, count))
    ended = rows()
    over = records.apply(schedules.changes(shard))
    assert rows() == ended
    assert sorted(over) == sorted([fired.id, cancelled.id])
    assert record_all() == 6
    assert rows() == ended
    assert [row(one).status for one in (fired, cancelled, edited)] == [Status.FIRED, Status.CANCELLED, Status.SCHEDULED]


def test_a_firing_that_is_recorded_again_counts_once() -> None:
    """Its plan was recorded, and forgotten, before: the log says no more than that it fired."""
    schedules, shard = wiring.schedules(), wiring.shards().of("alice")
    known = once(now_ms() - SECOND)
    plan(known)
    record_all()
    fire()
    changes = schedules.changes(shard)
    assert records.apply(changes) == [known.id]
    before = rows()
    assert (before[0]["status"], before[0]["runs"], before[0]["revision"]) == (Status.FIRED, 1, 2)
    records.apply(changes)
    assert rows() == before


def test_one_recorder_at_a_time_reads_a_log(another: Any) -> None:
    plan(once(now_ms() + DAY))
    shard = wiring.shards().of("alice")
    another.execute("SELECT pg_advisory_xact_lock(%s, %s)", [records.LOCK, shard])
    assert records.record(wiring.schedules(), shard) is None
    assert (rows(), logged()) == ([], 1)
    for other in set(wiring.shards().each()) - {shard}:
        assert records.record(wiring.schedules(), other) == 0
    another.rollback()
    assert records.record(wiring.schedules(), shard) == 1


def test_what_another_recorded_meanwhile_is_not_recorded_again() -> None:
    plan(once(now_ms() + DAY))
    shard = wiring.shards().of("alice")
    assert records.record(wiring.schedules(), shard) == 1
    assert records.record(wiring.schedules(), shard) == 0


def test_an_outage_in_the_middle_loses_no_change() -> None:
    known = once(now_ms() + DAY)
    plan(known)
    with postgresql_is_away(), pytest.raises(OperationalError):
        record_all()
    assert (logged(), waits(known)) == (1, True)
    assert record_all() == 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_row_that_postgresql_refuses_harms_no_other_and_is_named(count: int) -> None:
    fine = [once(now_ms() - SECOND) for _ in range(count)]
    refused = once(now_ms() - SECOND, title="x" * 201)
    plan(*fine[: count // 2], refused, *fine[count // 2 :])
    with capture_logs() as lines:
        record_all()
    assert sorted(str(one.pk) for one in Row.objects.all()) == sorted(one.id for one in fine)
    assert [(line["event"], line["id"]) for line in lines] == [("schedules.not_recorded", refused.id)]
    assert (waits(refused), logged()) == (True, 0)
    fire()
    record_all()
    assert len(queued()) == count + 1
    assert wiring.schedules().look(refused.id) is None


@pytest.mark.parametrize("broken", [{"about": b'{"recurrence": 7}'}, {"about": b"{"}, {"event": b'{"v":2}'}])
def test_a_change_that_this_release_cannot_read_harms_no_other(broken: dict[str, Any]) -> None:
    """A later release wrote it, say, and was taken back."""
    fine, unreadable = [once(now_ms() + DAY) for _ in range(2)], once(now_ms() + DAY)
    plan(fine[0])
    wiring.schedules().plan(schedule.to_kept(unreadable)._replace(**broken))
    plan(fine[1])
    record_all()
    assert sorted(str(one.pk) for one in Row.objects.all()) == sorted(one.id for one in fine)
    assert waits(unreadable)


def test_an_older_state_that_comes_back_does_not_take_the_place_of_a_newer_one() -> None:
    """Redis failed over to a server that was behind: its log holds what was recorded, and forgotten, long ago."""
    client: Any = wiring.shards().client
    shard = wiring.shards().of("alice")
    known = once(now_ms() + DAY, title="First")
    plan(known)
    older = {name: client.dump(name) for name in (keys.scheduled(shard), keys.schedules(shard), keys.changes(shard))}
    record_all()
    retitle(known, "Second")
    record_all()
    assert (row(known).title, row(known).revision) == ("Second", 2)
    for name, value in older.items():
        client.restore(name, 0, value, replace=True)
    record_all()
    assert (row(known).title, row(known).revision) == ("Second", 2)


def test_where_redis_went_another_way_from_an_older_state_its_way_is_recorded() -> None:
    """Both are of one revision; Redis is where schedules change, and what fires is what it has."""
    known = once(now_ms() + DAY, title="First")
    plan(known)
    retitle(known, "Second")
    record_all()
    wiring.shards().client.flushall()
    plan(known)
    retitle(known, "Third")
    record_all()
    assert (row(known).title, row(known).revision) == ("Third", 2)
    assert records.kept_of(row(known)) == seen(known)


def test_a_firing_of_an_older_revision_is_not_the_end_of_a_newer_one() -> None:
    known = schedule.to_kept(once(now_ms() + DAY))._replace(revision=5)
    for changes in (
        [Change(b"1-1", known), Change(b"1-2", fired=[(known.id, 3)], at_ms=now_ms())],
        [Change(b"1-2", fired=[(known.id, 3)], at_ms=now_ms())],
    ):
        records.apply(changes)
        assert (Row.objects.get().status, Row.objects.get().revision) == (Status.SCHEDULED, 5)


def test_more_changes_than_a_batch_holds_are_recorded_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "BATCH_SIZE", 3)
    known = [once(now_ms() + DAY) for _ in range(5)]
    plan(*known)
    known = [retitle(one, "Another") for one in known]
    shard = wiring.shards().of("alice")
    counts = []
    while count := records.record(wiring.schedules(), shard):
        counts.append(count)
    assert counts == [3, 3, 3, 1]
    assert [(row(one).title, row(one).revision) for one in known] == [("Another", 2)] * 5


def test_an_empty_log_is_nothing_to_do() -> None:
    assert record_all() == 0
    assert records.apply([]) == []


def ended(count: int, days_ago: float, status: Status = Status.FIRED) -> list[Row]:
    made = []
    for _ in range(count):
        known = once(now_ms() + DAY)
        kept = schedule.to_kept(known)._replace(due_ms=now_ms() + DAY if status == Status.SCHEDULED else None)
        row = records._row(kept)
        assert row is not None
        row.recorded_at, row.status = timezone.now() - timedelta(days=days_ago), status
        made.append(row)
    return Row.objects.bulk_create(made)


def test_what_has_been_over_for_long_is_forgotten_and_what_waits_never_is() -> None:
    days = settings.NOTIFY.schedule_retention_days
    ended(2, days + 1)
    ended(1, days + 1, Status.CANCELLED)
    kept = [*ended(1, days - 1), *ended(1, 10 * days, Status.SCHEDULED), *ended(1, 0, Status.CANCELLED)]
    assert records.prune() is False
    assert sorted(one.pk for one in Row.objects.all()) == sorted(one.pk for one in kept)


def test_much_that_is_over_is_forgotten_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "PRUNE_AT_ONCE", 2)
    ended(3, 400)
    assert [records.prune() for _ in range(3)] == [True, False, False]
    assert Row.objects.count() == 0


def test_the_retention_is_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    ended(1, 3)
    records.prune()
    assert Row.objects.count() == 1
    monkeypatch.setattr(settings, "NOTIFY", msgspec.structs.replace(settings.NOTIFY, schedule_retention_days=2))
    records.prune()
    assert Row.objects.count() == 0


def test_a_planner_and_a_recorder_need_not_take_turns() -> None:
    """What is logged while the log is being read stays in it."""
    schedules, shard = wiring.schedules(), wiring.shards().of("alice")
    known = once(now_ms() - SECOND)
    plan(known)
    changes = schedules.changes(shard)
    over = records.apply(changes)
    planner().step()
    schedules.recorded(shard, changes, over)
    assert (logged(), wiring.schedules().look(known.id) is None) == (1, False)
    record_all()
    assert row(known).status == Status.FIRED
