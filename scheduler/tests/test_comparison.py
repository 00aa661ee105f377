"""What Redis lost comes back from PostgreSQL, as it was, and nothing else is touched."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from structlog.testing import capture_logs

from notifications import events, wiring
from notifications.stream import keys
from notifications.stream.schedules import Schedules
from notifications.tests.test_api import work
from scheduler import comparison as comparing
from scheduler import records, schedule
from scheduler.comparison import Comparison
from scheduler.models import Schedule as Row
from scheduler.schedule import Schedule
from scheduler.tests.helpers import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    cancel,
    compare,
    fire,
    logged,
    now_ms,
    once,
    plan,
    queued,
    record_all,
    recurring,
    replace,
    retitle,
    seen,
    waits,
)
from tests.stack import wait_until

pytestmark = pytest.mark.django_db

RECIPIENTS = ("alice", "bob", "carol", "dave", "erin", "frank")


@pytest.fixture
def another() -> Iterator[Any]:
    """A transaction of another process."""
    with psycopg.connect(settings.NOTIFY.database_url, dbname=connection.settings_dict["NAME"]) as other:
        yield other


def everything() -> dict[bytes, object]:
    """What Redis holds of schedules, to be compared."""
    client: Any = wiring.shards().client
    found: dict[bytes, object] = {}
    for shard in wiring.shards().each():
        found[keys.schedules(shard).encode()] = client.hgetall(keys.schedules(shard))
        found[keys.scheduled(shard).encode()] = client.zrange(keys.scheduled(shard), 0, -1, withscores=True)
    return found


def lose_everything() -> None:
    wiring.shards().client.flushall()


def lose(*known: Schedule) -> None:
    client: Any = wiring.shards().client
    for one in known:
        shard = wiring.shards().of_id(one.id)
        client.hdel(keys.schedules(shard), one.id)
        client.zrem(keys.scheduled(shard), one.id)


def put_back(known: Schedule) -> None:
    """Redis comes back with a schedule as it was earlier, and with nothing of it in the log."""
    lose(known)
    # That state is older than the cancellation, so it has no note of it.
    wiring.shards().client.delete(keys.cancelled(wiring.shards().of_id(known.id), known.id))
    plan(known)
    for shard in wiring.shards().each():
        wiring.schedules().recorded(shard, wiring.schedules().changes(shard), [])


def test_what_was_lost_comes_back_to_the_byte_and_fires_once() -> None:
    known = [once(now_ms() - SECOND, recipient) for recipient in RECIPIENTS]
    known += [recurring(now_ms() - SECOND, recipient, zone="Asia/Tokyo") for recipient in RECIPIENTS]
    known += [once(now_ms() + DAY, recipient) for recipient in RECIPIENTS]
    plan(*known)
    record_all()
    before = everything()
    lose_everything()
    assert wiring.schedules().lost() == list(wiring.shards().each())
    assert compare() == len(known)
    assert everything() == before
    assert (wiring.schedules().lost(), logged()) == ([], 0)
    fire()
    work()
    assert compare() == 0
    fire()
    assert queued() == []


def test_where_nothing_is_lost_nothing_is_touched() -> None:
    known = [once(now_ms() + DAY, recipient) for recipient in RECIPIENTS]
    fired, again = once(now_ms() - SECOND), recurring(now_ms() - SECOND)
    plan(*known, fired, again)
    record_all()
    fire()
    cancel(known[0])
    retitle(known[1], "Another")
    for _ in range(2):
        before, changes = everything(), logged()
        assert compare() == 0
        assert (everything(), logged()) == (before, changes)
        record_all()


def test_what_is_older_here_becomes_what_is_known() -> None:
    known, again = once(now_ms() + DAY, title="First"), recurring(now_ms() - HOUR)
    plan(known, again)
    draft = events.Draft(recipient="alice", type="report.due", title="Second")
    later = replace(known, schedule.changed(known, draft, known.about, now_ms() + 2 * DAY))
    fire()
    work()
    stepped = seen(again)
    record_all()
    put_back(known)
    put_back(again)
    assert compare() == 2
    assert seen(known) == schedule.to_kept(later)
    assert seen(again) == stepped
    fire()
    assert queued() == []


def test_what_is_newer_here_stays_and_is_recorded() -> None:
    known = once(now_ms() + DAY)
    plan(known)
    record_all()
    later = retitle(known, "Another")
    assert compare() == 0
    assert seen(known) == schedule.to_kept(later)
    record_all()
    assert Row.objects.get().title == "Another"


def test_what_was_cancelled_here_and_is_not_recorded_yet_stays_cancelled() -> None:
    known = once(now_ms() - SECOND)
    plan(known)
    record_all()
    cancel(known)
    assert compare() == 0
    fire()
    record_all()
    assert (queued(), Row.objects.get().get_status_display()) == ([], "cancelled")


@pytest.mark.parametrize("how", ["fired", "cancelled"])
def test_what_is_over_and_waits_here_again_goes(how: str) -> None:
    known = once(now_ms() - SECOND)
    plan(known)
    fire() if how == "fired" else cancel(known)
    work()
    record_all()
    put_back(known)
    assert compare() == 1
    assert not waits(known)
    fire()
    record_all()
    assert (queued(), Row.objects.get().get_status_display()) == ([], how)


def test_a_recurrence_that_was_cancelled_and_waits_here_again_goes() -> None:
    known = recurring(now_ms() - SECOND)
    plan(known)
    cancel(known)
    record_all()
    put_back(known)
    assert compare() == 1
    fire()
    assert queued() == []


def test_what_fired_and_is_on_its_way_is_not_put_back_though_its_firing_was_not_recorded() -> None:
    """The server lost the schedule and the log of its firing, but not the event."""
    known = once(now_ms() - SECOND)
    plan(known)
    record_all()
    fire()
    lose(known)
    for shard in wiring.shards().each():
        wiring.shards().client.delete(keys.changes(shard))
    assert compare() == 0
    assert not waits(known)
    assert len(queued()) == 1


def test_what_is_logged_is_recorded_before_anything_is_put_back() -> None:
    """It was cancelled, and forgotten here; the log says so, and PostgreSQL does not know it yet."""
    known = once(now_ms() + DAY)
    plan(known)
    record_all()
    cancel(known)
    lose(known)
    compare()
    assert not waits(known)
    assert Row.objects.get().get_status_display() == "cancelled"


def test_what_is_logged_while_a_comparison_waits_for_its_turn_is_recorded_before_anything_is_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = once(now_ms() + DAY)
    plan(known)
    record_all()
    kept = seen(known)
    lose(known)
    take_the_turn = records.wait_for_turn

    def cancel_meanwhile(shard: int) -> None:
        wiring.schedules().restore(shard, [kept], now_ms() + MINUTE)
        cancel(known)
        lose(known)
        take_the_turn(shard)

    monkeypatch.setattr(records, "wait_for_turn", cancel_meanwhile)
    assert compare() == 0
    assert not waits(known)
    assert Row.objects.get().get_status_display() == "cancelled"


@pytest.mark.parametrize("unrecorded", [2, 3, 10])
def test_what_was_lost_comes_back_though_many_changes_wait_to_be_recorded(
    monkeypatch: pytest.MonkeyPatch, unrecorded: int
) -> None:
    monkeypatch.setattr(records, "BATCH_SIZE", 3)
    lost = once(now_ms() + DAY)
    plan(lost)
    record_all()
    lose(lost)
    plan(*(once(now_ms() + DAY) for _ in range(unrecorded)))
    assert compare() == 1
    assert waits(lost)
    assert Row.objects.count() == 1 + unrecorded


@pytest.mark.django_db(transaction=True)
def test_nothing_is_put_back_while_another_records(another: Any) -> None:
    """What it is about to commit may be the end of what is to be put back."""
    cancelled, waiting = once(now_ms() + DAY), once(now_ms() + DAY)
    plan(cancelled, waiting)
    record_all()
    lose(cancelled, waiting)
    another.execute("SELECT pg_advisory_xact_lock(%s, %s)", [records.LOCK, wiring.shards().of("alice")])
    another.execute(
        "UPDATE scheduler_schedule SET status = 2, revision = 2, next_run_at = NULL WHERE id = %s", [cancelled.id]
    )
    with ThreadPoolExecutor(1) as pool:
        comparing_thread = pool.submit(compare_and_close)
        wait_until(waits_for_a_lock, message="it did not wait")
        assert not waits(waiting)
        another.commit()
        comparing_thread.result(20)
    assert (waits(cancelled), waits(waiting)) == (False, True)


def compare_and_close() -> None:
    """A comparison in a thread of its own, and so over a connection of its own."""
    try:
        compare()
    finally:
        connection.close()


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
def test_all_come_back_whatever_the_size_of_a_chunk(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Many are due at the same time, so that a chunk ends among them."""
    monkeypatch.setattr(comparing, "CHUNK", chunk)
    same = now_ms() + DAY
    known = [once(same, recipient) for recipient in RECIPIENTS] + [once(same + 1), once(same - 1), once(same)]
    over = [once(now_ms() - SECOND, recipient) for recipient in RECIPIENTS]
    plan(*known, *over)
    fire()
    work()
    record_all()
    before = everything()
    lose_everything()
    for one in over:
        put_back(one)
    assert compare() == len(known) + len(over)
    assert everything() == before


def test_what_is_overdue_comes_back_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "CHUNK", 2)
    known = [once(now_ms() + wait) for wait in (DAY, -MINUTE, 2 * DAY, -HOUR)]
    plan(*known)
    record_all()
    lose_everything()
    comparison = Comparison(wiring.patient_schedules())
    assert comparison.step()
    assert [waits(one) for one in known] == [False, True, False, True]
    fire()
    assert [event.id for event in queued()] == [known[3].id, known[1].id]


def test_a_flush_in_the_middle_of_a_comparison_is_noticed_and_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "CHUNK", 2)
    known = [once(now_ms() + DAY + number) for number in range(6)]
    plan(*known)
    record_all()
    lose_everything()
    comparison = Comparison(wiring.patient_schedules())
    comparison.step()
    lose_everything()
    with capture_logs() as lines:
        while comparison.step():
            pass
    assert [waits(one) for one in known] == [False, False, True, True, True, True]
    assert "schedules.lost_again" in {line["event"] for line in lines}
    assert wiring.schedules().lost() == list(wiring.shards().each())
    assert compare() == 2
    assert wiring.schedules().lost() == []


def test_two_comparisons_at_once_restore_each_schedule_once_and_tell_of_no_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparing, "CHUNK", 2)
    known = [once(now_ms() + DAY, recipient) for recipient in RECIPIENTS]
    plan(*known)
    record_all()
    before = everything()
    lose_everything()
    first, second = (Comparison(wiring.patient_schedules()) for _ in range(2))
    with capture_logs() as lines:
        while any([first.step(), second.step()]):
            pass
    assert first.restored + second.restored == len(known)
    assert (everything(), wiring.schedules().lost()) == (before, [])
    assert [line["event"] for line in lines if line["event"] == "schedules.lost_again"] == []


def test_one_that_stood_still_for_too_long_puts_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """By then another may have had the turn, and what this one read may be old."""
    monkeypatch.setattr(comparing, "TURN_MS", -SECOND)
    known = once(now_ms() + DAY)
    plan(known)
    record_all()
    lose_everything()
    with pytest.raises(TimeoutError):
        compare()
    assert not waits(known)
    monkeypatch.undo()
    assert compare() == 1


def test_nothing_to_compare_is_compared_at_once() -> None:
    assert compare() == 0
    assert wiring.schedules().lost() == []


def test_a_comparison_survives_a_row_of_another_shard_count(shards: Any) -> None:
    """Each schedule goes where its id says, however many shards there are by now."""
    known = [once(now_ms() + DAY, recipient) for recipient in RECIPIENTS]
    plan(*known)
    record_all()
    lose_everything()
    fewer = type(shards)(shards.client, 3)
    schedules = Schedules(fewer, wiring.clock(), patience_ms=4000)
    comparison = Comparison(schedules)
    while comparison.step():
        pass
    assert comparison.restored == len(known)
    assert {one.id for one in known} == schedules.look_many(one.id for one in known).keys()
