"""Old notifications leave, with an exact count, and none that may come back."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError

from notifications import events, inbox, lookup, process, removal, retention, store, unread, worker
from notifications.events import Event, FailedAttempt
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.models import Attempt, Inbox, Notification
from notifications.removal import OthersTurn
from notifications.retention import Retention, Stretch
from notifications.stream import keys
from notifications.stream.client import Shards

pytestmark = pytest.mark.django_db

Make = Callable[..., Event]
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def announcer(shards: Shards) -> Announcer:
    return Announcer(shards, Outbox())


@pytest.fixture(autouse=True)
def _seven_days(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(monkeypatch, 7)


def keep(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    monkeypatch.setattr(settings, "NOTIFY", msgspec.structs.replace(settings.NOTIFY, retention_days=days))


def store_old(make_event: Make, recipient: str, count: int = 1, days: float = 10, **fields: Any) -> list[Event]:
    """Notifications that were accepted and stored so many days ago."""
    then = timezone.now() - timedelta(days=days)
    ids = [
        events.derived_id(recipient, round(then.timestamp() * 1000), recipient, str(number)) for number in range(count)
    ]
    batch = [make_event(recipient, id=event_id, **fields) for event_id in ids]
    store.store(batch)
    Notification.objects.filter(pk__in=ids).update(stored_at=then)
    return batch


def sweep(shards: Shards, announcer: Announcer) -> int:
    """One whole pass; how many rows it removed one by one."""
    bound, removed = retention.oldest_kept(), 0
    for stretch in retention.stretches(bound) if bound else ():
        left: Stretch | None = stretch
        while left is not None:
            left, some = retention.sweep(shards, announcer, left)
            removed += some
    return removed


def seqs(recipient: str) -> list[int]:
    return list(Notification.objects.filter(recipient=recipient).order_by("seq").values_list("seq", flat=True))


def test_what_is_old_leaves_and_the_count_with_it(shards: Shards, make_event: Make, announcer: Announcer) -> None:
    old = store_old(make_event, "alice", 3)
    inbox.mark_read("alice", [UUID(old[0].id)])
    store_old(make_event, "bob")
    store.store([make_event("alice"), make_event("carol")])
    before = store.states(["alice"])["alice"]
    assert unread.look(shards, ["alice"])["alice"].unread == 3
    assert sweep(shards, announcer) == 4
    assert seqs("alice") == [4]
    assert (seqs("bob"), seqs("carol")) == ([], [1])
    after = store.states(["alice"])["alice"]
    assert (after.unread, after.seq) == (1, before.seq)
    assert after.version > before.version
    assert unread.look(shards, ["alice"])["alice"] == after
    assert sweep(shards, announcer) == 0


def test_nothing_leaves_where_all_is_kept(
    shards: Shards, make_event: Make, announcer: Announcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(monkeypatch, 0)
    store_old(make_event, "alice", days=4000)
    assert sweep(shards, announcer) == 0
    assert not retention.is_expired(timezone.now() - timedelta(days=4000))


def test_seq_goes_on_and_a_resume_from_what_left_misses_nothing_that_is_there(
    shards: Shards, make_event: Make, announcer: Announcer
) -> None:
    store_old(make_event, "alice", 3)
    sweep(shards, announcer)
    store.store([make_event("alice"), make_event("alice")])
    missed = inbox.missed("alice", 1)
    assert [row.seq for row in missed.rows] == [4, 5]
    assert (missed.seq, missed.complete) == (5, True)
    assert (inbox.missed("bob", 3).rows, inbox.missed("alice", 5).seq) == ([], 5)


def test_the_attempts_of_a_row_leave_with_it(shards: Shards, make_event: Make, announcer: Announcer) -> None:
    failures = (FailedAttempt(at_ms=1, attempt=1, error="no", delay_ms=1000),)
    store_old(make_event, "alice", failures=failures)
    store.store([make_event("alice", failures=failures)])
    sweep(shards, announcer)
    assert Attempt.objects.count() == 1


def test_what_left_is_not_there_any_more(shards: Shards, make_event: Make, announcer: Announcer, producer: Any) -> None:
    (old,) = store_old(make_event, "alice")
    assert producer.get(f"/api/notifications/{old.id}").status_code == 200
    sweep(shards, announcer)
    assert producer.get(f"/api/notifications/{old.id}").status_code == 404


def test_what_was_a_letter_or_a_schedule_and_left_is_not_said_to_be_queued(
    shards: Shards, make_event: Make, announcer: Announcer
) -> None:
    letter, plan = store_old(make_event, "alice", 2)
    then = timezone.now() - timedelta(days=10)
    letters: Any = apps.get_model("dlq", "DeadLetter")
    plans: Any = apps.get_model("scheduler", "Schedule")
    letters.objects.create(
        pk=letter.id,
        status=2,
        recipient="alice",
        payload=events.encode(letter),
        attempts=1,
        first_failed_at=then,
        last_failed_at=then,
    )
    plans.objects.create(
        pk=plan.id,
        status=1,
        revision=2,
        recurs=False,
        recipient="alice",
        runs=1,
        last_run_at=then,
        recorded_at=then,
        about=b"{}",
        payload=events.encode(plan),
    )
    sweep(shards, announcer)
    assert [lookup.life(UUID(event.id)) for event in (letter, plan)] == [None, None]


def test_an_event_in_flight_keeps_its_row(shards: Shards, make_event: Make, announcer: Announcer) -> None:
    held, free = store_old(make_event, "alice", 2)
    client: Any = shards.client
    client.hset(keys.inflight(shards.of("alice")), held.id, "queued live 1-1")
    assert sweep(shards, announcer) == 1
    assert [str(pk) for pk in Notification.objects.values_list("pk", flat=True)] == [held.id]
    assert free.id != held.id


def test_rows_of_a_bulk_job_that_is_not_over_stay(shards: Shards, make_event: Make, announcer: Announcer) -> None:
    then = timezone.now() - timedelta(days=10)
    jobs: Any = apps.get_model("bulk", "BulkJob")
    job = jobs.objects.create(
        pk=events.new_id(""), status=3, payload=b"", created_at=then, received_at=then, start_at=then
    )
    store_old(make_event, "alice", source="bulk", source_id=str(job.pk))
    assert sweep(shards, announcer) == 0
    jobs.objects.update(finished_at=timezone.now())
    assert sweep(shards, announcer) == 1


def test_a_row_that_is_younger_than_its_id_stays_until_it_is_old(
    shards: Shards, make_event: Make, announcer: Announcer
) -> None:
    (planned,) = store_old(make_event, "alice", days=100)
    Notification.objects.update(stored_at=timezone.now())
    assert sweep(shards, announcer) == 0
    assert seqs("alice") == [1]
    assert planned.recipient == "alice"


def test_no_row_leaves_before_its_request_can_be_repeated_no_more(
    shards: Shards, make_event: Make, announcer: Announcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = msgspec.structs.replace(settings.NOTIFY, retention_days=1, idempotency_hours=72)
    monkeypatch.setattr(settings, "NOTIFY", hours)
    store_old(make_event, "alice", days=2)
    store_old(make_event, "bob", days=4)
    assert sweep(shards, announcer) == 1
    assert (seqs("alice"), seqs("bob")) == ([1], [])


@pytest.mark.parametrize(
    ("lane", "age_ms", "behind"), [("live", 6000, True), ("live", 100, False), ("bulk", 6000, False)]
)
def test_it_waits_while_the_pipeline_is_behind(shards: Shards, lane: keys.Lane, age_ms: int, behind: bool) -> None:  # noqa: FBT001
    assert not retention.is_behind(shards)
    client: Any = shards.client
    seconds, _ = client.time()
    client.xadd(keys.lane(shards.count - 1, lane), {"event": "{}"}, id=f"{seconds * 1000 - age_ms}-0")
    assert retention.is_behind(shards) is behind


def test_the_duty_removes_all_that_is_old_a_batch_at_a_time(
    shards: Shards, make_event: Make, announcer: Announcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    monkeypatch.setattr(process, "pause", lambda _seconds: None)
    store_old(make_event, "alice", 5)
    duty, left = Retention(shards, announcer), []
    while seqs("alice"):
        duty.step()
        left.append(len(seqs("alice")))
    assert left == [3, 1, 0]


def test_a_process_that_dies_between_commit_and_mirror_leaves_a_note_and_a_worker_mends_it(
    shards: Shards, make_event: Make, announcer: Announcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_old(make_event, "alice")
    assert unread.look(shards, ["alice"])["alice"].unread == 1

    def die(*_: object) -> None:
        raise RedisConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(announcer, "counted", die)
        with pytest.raises(RedisConnectionError):
            sweep(shards, announcer)
    assert unread.look(shards, ["alice"])["alice"].unread == 1
    monkeypatch.setattr(unread, "INTENT_LIFE_MS", -1)
    worker.repair_mirrors(shards, announcer)
    assert unread.look(shards, ["alice"])["alice"].unread == 0


def test_one_process_at_a_time_removes(shards: Shards, make_event: Make, announcer: Announcer) -> None:
    store_old(make_event, "alice")
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None, "context": None}) as another:
        another.execute("SELECT pg_advisory_xact_lock(%s, %s)", [retention.LOCK, retention.TURN])
        with pytest.raises(OthersTurn):
            sweep(shards, announcer)
        assert seqs("alice") == [1]
    assert sweep(shards, announcer) == 1


def test_what_takes_too_long_is_rolled_back(
    shards: Shards, make_event: Make, announcer: Announcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_old(make_event, "alice")
    monkeypatch.setattr(removal, "LONGEST_SECONDS", -1)
    with pytest.raises(TimeoutError):
        sweep(shards, announcer)
    assert (seqs("alice"), Inbox.objects.get().unread) == ([1], 1)
