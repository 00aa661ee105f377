"""A recipient's schedules: all of them handed out, all of them removed, in both places, for good."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType

from notifications import wiring
from notifications.stream import keys
from scheduler import door, privacy, records, schedule
from scheduler.exceptions import Unknown
from scheduler.models import Schedule
from scheduler.tests.helpers import (
    DAY,
    EVENT,
    HOUR,
    cancel,
    compare,
    fire,
    logged,
    make,
    now_ms,
    once,
    plan,
    queued,
    record_all,
    recurring,
    retitle,
)

pytestmark = pytest.mark.django_db


def in_redis() -> list[str]:
    client: Any = wiring.shards().client
    return sorted(name.decode() for shard in wiring.shards().each() for name in client.hkeys(keys.schedules(shard)))


def test_all_schedules_of_a_recipient_go_and_those_of_others_stay() -> None:
    mine = [once(now_ms() + DAY), recurring(now_ms() + DAY), once(now_ms() + HOUR)]
    other = once(now_ms() + DAY, "bob")
    plan(*mine, other)
    cancel(mine[2])
    record_all()
    assert privacy.erase("alice") == {"schedules": 3}
    assert (in_redis(), list(Schedule.objects.values_list("recipient", flat=True))) == ([other.id], ["bob"])
    with pytest.raises(Unknown):
        door.look(Schedule(pk=mine[0].id).pk)
    assert privacy.erase("alice") == {"schedules": 0}


def test_what_is_not_recorded_yet_goes_too_and_does_not_come_back() -> None:
    known = once(now_ms() + DAY)
    plan(known, recurring(now_ms() + DAY), once(now_ms() + DAY, "bob"))
    retitle(known, "Another title")
    assert privacy.erase("alice") == {"schedules": 2}
    record_all()
    assert (compare(), logged()) == (0, 0)
    assert list(Schedule.objects.values_list("recipient", flat=True)) == ["bob"]
    assert len(in_redis()) == 1


def test_a_change_that_comes_in_while_it_goes_is_not_what_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    known, late = once(now_ms() + DAY), once(now_ms() + DAY)
    plan(known)
    apply = records.apply
    news: Iterator[Callable[[], object]] = iter([lambda: retitle(known, "Another title"), lambda: plan(late)])

    def meanwhile(changes: Any) -> list[str]:
        over = apply(changes)
        for happens in islice(news, 1):
            happens()
        return over

    monkeypatch.setattr(records, "apply", meanwhile)
    monkeypatch.setattr(records, "record", lambda *_: 0)
    assert privacy.erase("alice") == {"schedules": 2}
    monkeypatch.undo()
    record_all()
    assert (in_redis(), Schedule.objects.count(), compare()) == ([], 0, 0)


def test_a_schedule_that_is_gone_fires_no_more() -> None:
    plan(once(now_ms() - 1), recurring(now_ms() - 1))
    privacy.erase("alice")
    fire()
    assert queued() == []


def test_a_request_that_was_begun_before_makes_nothing_again() -> None:
    known = once(now_ms() + DAY)
    plan(known)
    record_all()
    privacy.erase("alice")
    wiring.schedules().plan(schedule.to_kept(known))
    assert in_redis() == []


def test_the_log_of_the_admin_names_nobody_any_more() -> None:
    known = once(now_ms() + DAY)
    plan(known)
    record_all()
    user = User.objects.create_user("ada")
    kind = ContentType.objects.get_for_model(Schedule)
    entry = {"user": user, "content_type": kind, "action_flag": CHANGE}
    LogEntry.objects.create(object_id=known.id, object_repr="Report → alice", **entry)
    LogEntry.objects.create(object_id="another", object_repr="Report → bob", **entry)
    privacy.erase("alice")
    assert set(LogEntry.objects.values_list("object_repr", flat=True)) == {"erased", "Report → bob"}


def test_an_export_has_every_schedule_whatever_became_of_it(producer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "PAGE", 2)
    made = [make(producer, delay=3600 + number)["id"] for number in range(3)]
    assert producer.delete(f"/api/schedule/{made[0]}").status_code == 204
    make(producer, **(EVENT | {"recipient": "bob"}), delay=3600)
    record_all()
    found = list(privacy.export("alice"))
    assert {(each["kind"], each["recipient"]) for each in found} == {("schedule", "alice")}
    assert {each["id"]: each["status"] for each in found} == dict.fromkeys(made, "scheduled") | {made[0]: "cancelled"}
