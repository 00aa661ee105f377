"""A server that comes back with an older state, an answer that is lost, a request that stood still, a newer release."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs

from conftest import Caller
from notifications import wiring
from notifications.exceptions import Refused
from notifications.stream import keys, scripts
from scheduler import door, schedule, shapes
from scheduler.models import Schedule as Row
from scheduler.recorder import Recorder
from scheduler.tests.helpers import (
    DAY,
    EVENT,
    MINUTE,
    SECOND,
    compare,
    fire,
    now_ms,
    once,
    plan,
    queued,
    record_all,
    recurring,
    seen,
    waits,
)
from scheduler.tests.test_once import in_other_shards, reserve

pytestmark = pytest.mark.django_db(transaction=True)


def state_of_redis() -> dict[bytes, bytes]:
    client: Any = wiring.shards().client
    return {name: client.dump(name) for name in client.keys("*")}


def go_back_to(state: dict[bytes, bytes]) -> None:
    """What a fail-over to a replica that is behind does, or a backup."""
    client: Any = wiring.shards().client
    client.flushall()
    for name, value in state.items():
        client.restore(name, 0, value)


def work_on(steps: int = 12) -> None:
    """A scheduler that starts, for as many steps as it takes to compare and to record."""
    duty = Recorder(wiring.patient_schedules())
    for _ in range(steps):
        duty.step()


@pytest.fixture
def twice(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the next run of a script lose its answer: the client sends it again over a new connection."""

    def lose_the_answer_of(name: str) -> None:
        client: Any = wiring.shards().client
        digest = client.script_load(scripts._load(name)[0])
        really, lost = client.evalsha, list[str]()

        def evalsha(which: str, *arguments: Any) -> Any:
            if which == digest and not lost:
                lost.append(which)
                really(which, *arguments)
            return really(which, *arguments)

        monkeypatch.setattr(client, "evalsha", evalsha)

    return lose_the_answer_of


def test_what_was_cancelled_stays_so_when_redis_goes_back_to_before_it_was_recorded() -> None:
    known = once(now_ms() + DAY)
    plan(known)
    compare()
    before = state_of_redis()
    record_all()
    door.cancel(UUID(known.id))
    record_all()
    go_back_to(before)
    work_on()
    assert not waits(known)
    assert Row.objects.get().get_status_display() == "cancelled"


def test_an_edit_stays_when_redis_goes_back_to_before_it() -> None:
    known = once(now_ms() + DAY)
    plan(known)
    compare()
    before = state_of_redis()
    record_all()
    door.change(UUID(known.id), b'{"title": "Edited"}')
    record_all()
    go_back_to(before)
    work_on()
    assert door.look(UUID(known.id)).event.title == "Edited"
    assert Row.objects.get().title == "Edited"


def test_an_edit_for_later_stays_when_redis_goes_back_to_when_it_fired_before_that() -> None:
    known = once(now_ms() + DAY)
    plan(known)
    record_all()
    door.change(UUID(known.id), b'{"delay": 7200}')
    record_all()
    shard = wiring.shards().of_id(known.id)
    wiring.shards().client.xadd(keys.changes(shard), {"fired": f"{known.id} 1", "at": str(now_ms())})
    record_all()
    assert (Row.objects.get().get_status_display(), Row.objects.get().revision) == ("scheduled", 2)


def test_what_was_cancelled_long_ago_goes_when_a_backup_brings_it_back() -> None:
    known = once(now_ms() + DAY)
    plan(known)
    record_all()
    before = state_of_redis()
    door.cancel(UUID(known.id))
    record_all()
    Row.objects.update(recorded_at=schedule.moment(now_ms() - 20 * DAY))
    go_back_to(before)
    assert compare() == 1
    assert not waits(known)


def test_a_request_that_stood_still_does_not_make_again_what_was_cancelled() -> None:
    body = json.dumps(EVENT | {"delay": 60}).encode()
    record = next(iter(in_other_shards(body)), None)
    if record is None:
        pytest.skip("with one shard, record and schedule are written by one script")
    known = door.preview(body, "tests")
    answer = msgspec.json.encode(shapes.shown(known))
    reserve(record, answer)
    door.make(body, "tests", record)
    door.cancel(UUID(known.id))
    record_all()
    wiring.schedules().finish(schedule.to_kept(known), record, answer)
    assert not waits(known)


def test_a_run_whose_answer_is_lost_fires_once(twice: Callable[[str], None]) -> None:
    known = recurring(now_ms() + DAY)
    plan(known)
    twice("run")
    door.run_now(UUID(known.id))
    assert len(queued()) == 1
    assert door.look(UUID(known.id)).about.runs == 1


def test_a_run_whose_answer_is_lost_is_not_told_that_it_came_too_late(twice: Callable[[str], None]) -> None:
    known = once(now_ms() + DAY)
    plan(known)
    twice("run")
    door.run_now(UUID(known.id))
    assert [event.id for event in queued()] == [known.id]


def test_a_change_whose_answer_is_lost_is_told_as_done(twice: Callable[[str], None], producer: Caller) -> None:
    known = once(now_ms() + DAY)
    plan(known)
    twice("replan")
    answer = producer.patch(
        f"/api/schedule/{known.id}", {"title": "New", "revision": 1}, content_type="application/json"
    )
    assert (answer.status_code, answer.json()["title"], answer.json()["revision"]) == (200, "New", 2)


def test_a_cancellation_that_only_a_newer_release_can_read_is_kept_for_it() -> None:
    known = once(now_ms() + DAY)
    plan(known)
    record_all()
    kept = seen(known)
    newer = kept._replace(kind="cancelled", revision=2, due_ms=None, about=b'{"at_ms": "a new kind of value"}')
    assert wiring.schedules().change(kept, newer) == "changed"
    with capture_logs() as lines:
        record_all()
    assert [line["event"] for line in lines] == ["schedules.not_recorded"]
    compare()
    assert not waits(known)


@pytest.mark.parametrize("value", ["recurring x\n{}\n{}", "weekly 3\n{}\n{}", "nonsense"])
def test_a_schedule_that_only_a_newer_release_can_read_waits_for_it(value: str) -> None:
    known, other = once(now_ms() - SECOND), once(now_ms() - SECOND)
    client: Any = wiring.shards().client
    shard = wiring.shards().of_id(known.id)
    client.hset(keys.schedules(shard), known.id, value)
    client.zadd(keys.scheduled(shard), {known.id: now_ms() - MINUTE})
    plan(other)
    fire()
    assert [event.id for event in queued()] == [other.id]
    assert client.zscore(keys.scheduled(shard), known.id) > now_ms()


def test_a_change_that_cannot_be_read_keeps_no_other_from_being_recorded() -> None:
    known = once(now_ms() + DAY)
    client: Any = wiring.shards().client
    shard = wiring.shards().of_id(known.id)
    client.xadd(keys.changes(shard), {"id": known.id, "due": "", "schedule": "once 1"})
    client.xadd(keys.changes(shard), {"anything": "else"})
    plan(known)
    record_all()
    assert str(Row.objects.get().pk) == known.id
    assert client.xlen(keys.changes(shard)) == 0


def test_another_server_is_compared_with_though_no_command_failed() -> None:
    known = once(now_ms() + DAY)
    plan(known)
    duty = Recorder(wiring.patient_schedules())
    for _ in range(12):
        duty.step()
    client: Any = wiring.shards().client
    client.hdel(keys.schedules(wiring.shards().of_id(known.id)), known.id)
    client.zrem(keys.scheduled(wiring.shards().of_id(known.id)), known.id)
    duty._server = "the one before"
    duty._look_for_losses()
    for _ in range(12):
        duty.step()
    assert waits(known)


def test_where_redis_clock_jumps_a_delay_is_refused_and_not_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    wiring.schedules().now_ms(EVENT["recipient"])
    offsets = wiring.clock()._offsets
    for server, offset in offsets.items():
        monkeypatch.setitem(offsets, server, offset._replace(ms=offset.ms - 3_600_000))
    with pytest.raises(Refused):
        door.make(json.dumps(EVENT | {"delay": 60}).encode(), "tests")
    made = door.make(json.dumps(EVENT | {"delay": 60}).encode(), "tests")
    assert json.loads(made.body)["status"] == "scheduled"
    fire()
    assert not queued()


def test_a_cancelled_recurrence_is_no_notification(producer: Caller) -> None:
    known = recurring(now_ms() + DAY)
    plan(known)
    door.cancel(UUID(known.id))
    assert producer.get(f"/api/notifications/{known.id}").status_code == 404
    record_all()
    assert producer.get(f"/api/notifications/{known.id}").status_code == 404
    assert door.look(UUID(known.id)).status == "cancelled"


def test_ten_thousand_changes_are_forgotten_piece_by_piece() -> None:
    shard = 0
    client: Any = wiring.shards().client
    pipe = client.pipeline(transaction=False)
    for _ in range(10_000):
        pipe.xadd(keys.changes(shard), {"anything": "else"})
    pipe.execute()
    schedules = wiring.schedules()
    schedules.recorded(shard, schedules.changes(shard), [f"nobody-{number}" for number in range(10_000)])
    assert client.xlen(keys.changes(shard)) == 0
