"""A recipient's dead letters: handed out, removed, and not recorded any more; and closed ones that grow old."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.utils import timezone

from dlq import deaths, privacy, records, replay, retention
from dlq.models import DeadLetter, Passage, Replay
from dlq.replay import Criteria
from dlq.tests.letters import bury, event, letter, record, recorder, waiting
from notifications import erasures, events, lookup, wiring
from notifications import privacy as everything
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.models import Tally
from notifications.stream.client import Shards
from tests.stack import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]


def a_job(**fields: Any) -> UUID:
    jobs: Any = apps.get_model("bulk", "BulkJob")
    now = timezone.now()
    times = dict.fromkeys(("created_at", "received_at", "start_at"), now)
    pk: UUID = jobs.objects.create(pk=events.new_id(""), status=2, payload=b"", **times, **fields).pk
    return UUID(str(pk))


def tallied(job_id: UUID) -> list[int]:
    return list(Tally.objects.filter(source_id=job_id).values_list("stored", flat=True))


def grow_old(days: float = 91) -> None:
    then = timezone.now() - timedelta(days=days)
    DeadLetter.objects.update(last_failed_at=then)
    Passage.objects.update(at=then)
    Replay.objects.update(ordered_at=then)


def test_letters_of_a_recipient_go_with_their_histories_and_others_stay() -> None:
    mine, other = record(event("alice")), record(event("bob"))
    replay.discard_one(mine.pk, "ada")
    record(event("alice"))
    assert privacy.erase("alice") == {"dead_letters": 2}
    assert list(DeadLetter.objects.values_list("pk", flat=True)) == [other.pk]
    assert list(Passage.objects.values_list("letter", flat=True)) == [other.pk]
    assert privacy.erase("alice") == {"dead_letters": 0}


def test_what_died_before_the_erasure_is_not_recorded_after_it(shards: Shards) -> None:
    dead = event("alice")
    bury(shards, dead)
    erasures.mark("alice")
    # The mark takes in the very millisecond that it was made in.
    wait_until(lambda: not erasures.is_erased(event("alice").id, erasures.marks({"alice"})["alice"]))
    later = event("alice")
    bury(shards, later)
    duty = recorder(shards)
    while waiting(shards):
        duty.step()
    assert [str(pk) for pk in DeadLetter.objects.values_list("pk", flat=True)] == [later.id]


def test_a_bulk_job_that_is_not_over_counts_them_as_dealt_with_once() -> None:
    job_id = a_job()
    dead = [event("alice", source="bulk", source_id=str(job_id)) for _ in range(2)]
    record(dead[0])
    assert lookup.dead_of([job_id]) == {job_id: 1}
    erasures.mark("alice")
    privacy.erase("alice")
    for _ in range(2):
        records.record([deaths.death_of(letter(one)) for one in dead])
    assert (lookup.dead_of([job_id]), tallied(job_id)) == ({}, [1, 1])


def test_a_job_that_is_over_and_a_schedule_are_counted_no_more() -> None:
    over = a_job(finished_at=timezone.now())
    for source_id in (over, UUID(events.new_id("alice"))):
        record(event("alice", source_id=str(source_id)))
    privacy.erase("alice")
    assert not Tally.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_recorder_that_did_not_know_of_the_erasure_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    recording, erasing = threading.Event(), threading.Event()
    death = deaths.death_of(letter(event("alice")))
    lock = records._lock

    def slowly(ids: Any) -> Any:
        recording.set()
        erasing.wait(10)
        return lock(ids)

    def in_thread(work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            work()
            connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    monkeypatch.setattr(records, "_lock", slowly)
    recorder = in_thread(lambda: records.record([death]))
    assert recording.wait(10)
    eraser = in_thread(lambda: everything.erase("alice", Announcer(wiring.shards(), Outbox()), "tests"))
    wait_until(_somebody_waits_for_a_lock, message="the eraser did not wait for the recorder")
    erasing.set()
    for thread in (recorder, eraser):
        thread.join(20)
    assert not DeadLetter.objects.exists()


def _somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_orders_and_the_log_of_the_admin_name_nobody_any_more() -> None:
    dead = record(event("alice"))
    replay.order(Criteria(recipient="alice", reason="invalid"), "ada")
    kind = ContentType.objects.get_for_model(DeadLetter)
    user = User.objects.create_user("ada")
    LogEntry.objects.create(
        user=user, content_type=kind, action_flag=CHANGE, object_id=str(dead.pk), object_repr="test → alice"
    )
    privacy.erase("alice")
    assert Replay.objects.get().criteria == {"recipient": "erased", "reason": "invalid"}
    assert LogEntry.objects.get().object_repr == "erased"


def test_of_a_chunk_that_nobody_could_read_only_the_recipient_goes() -> None:
    chunk = {"event": "{no event", "to": ["alice", "bob"]}
    left = record(msgspec.json.encode(chunk))
    record(b"no JSON", entry_id=b"1800000000000-1")
    privacy.erase("alice")
    left.refresh_from_db()
    assert msgspec.json.decode(bytes(left.payload)) == {"event": "{no event", "to": ["bob"]}
    assert DeadLetter.objects.count() == 2


def test_an_export_has_every_letter_with_its_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "AT_ONCE", 2)
    ids = {str(record(event("alice")).pk) for _ in range(3)}
    record(event("bob"))
    found = list(privacy.export("alice"))
    assert {each["id"] for each in found} == ids
    assert [[line["what"] for line in each["history"]] for each in found] == [["died"]] * 3
    assert {each["kind"] for each in found} == {"dead_letter"}


def test_closed_letters_leave_when_they_are_old_and_open_ones_never() -> None:
    closed, lately, still = (record(event("alice")) for _ in range(3))
    replay.discard_one(closed.pk, "ada")
    grow_old()
    replay.discard_one(lately.pk, "ada")
    assert retention.prune() is False
    assert set(DeadLetter.objects.values_list("pk", flat=True)) == {lately.pk, still.pk}


def test_an_order_leaves_with_its_last_letter() -> None:
    record(event("alice"))
    replay.begin(replay.order(Criteria(), "ada"))
    grow_old(89)
    retention.prune()
    assert (DeadLetter.objects.count(), Replay.objects.count()) == (1, 1)
    grow_old()
    retention.prune()
    assert (DeadLetter.objects.count(), Replay.objects.count()) == (0, 0)


def test_a_letter_of_a_bulk_job_that_is_not_over_stays() -> None:
    job_id = a_job()
    dead = record(event("alice", source="bulk", source_id=str(job_id)))
    replay.discard_one(dead.pk, "ada")
    grow_old()
    retention.prune()
    assert lookup.dead_of([job_id]) == {job_id: 1}


def test_there_may_be_more_than_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    for _ in range(3):
        replay.discard_one(record(event("alice")).pk, "ada")
    grow_old()
    assert [retention.prune(), retention.prune()] == [True, False]
    assert not DeadLetter.objects.exists()
