"""The recorder's duty: records, and compares when there may be something to put back."""

import time
from collections.abc import Callable

import pytest
from django.db import OperationalError

from notifications import wiring
from scheduler import comparison as comparing
from scheduler.models import Schedule as Row
from scheduler.recorder import Recorder
from scheduler.tests.helpers import DAY, logged, now_ms, once, plan, postgresql_is_away, record_all, waits
from scheduler.tests.test_comparison import RECIPIENTS, everything, lose, lose_everything

pytestmark = pytest.mark.django_db


def steps_until(duty: Recorder, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        duty.step()


def test_a_recorder_compares_at_its_start_and_when_redis_lost_what_it_had() -> None:
    known = [once(now_ms() + DAY, recipient) for recipient in RECIPIENTS]
    plan(*known)
    record_all()
    before = everything()
    schedules = wiring.patient_schedules()
    duty = Recorder(schedules)
    for _ in range(2):
        lose_everything()
        steps_until(duty, lambda: everything() == before and not schedules.lost())


def test_a_recorder_records_every_shard_and_then_has_nothing_to_do() -> None:
    known = [once(now_ms() + DAY, recipient) for recipient in RECIPIENTS]
    duty = Recorder(wiring.patient_schedules())
    plan(*known)
    steps_until(duty, lambda: Row.objects.count() == len(known) and not logged())
    duty.beat()
    duty.stop()


def test_a_recorder_compares_again_after_an_outage() -> None:
    """The server that answers after it may be another, and lack the newest."""
    known = once(now_ms() + DAY)
    duty = Recorder(wiring.patient_schedules())
    plan(known)
    steps_until(duty, lambda: Row.objects.exists() and not wiring.schedules().lost())
    steps_until(duty, lambda: duty._comparison is None)
    lose(known)
    retitled = once(now_ms() + DAY)
    plan(retitled)
    with postgresql_is_away(), pytest.raises(OperationalError):
        steps_until(duty, lambda: False)
    steps_until(duty, lambda: waits(known) and Row.objects.count() == 2)


def test_an_outage_in_the_middle_of_a_comparison_begins_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "CHUNK", 2)
    known = [once(now_ms() + DAY, recipient) for recipient in RECIPIENTS]
    plan(*known)
    record_all()
    lose_everything()
    duty = Recorder(wiring.patient_schedules())
    duty.step()
    with postgresql_is_away(), pytest.raises(OperationalError):
        duty.step()
    lose(*known)
    steps_until(duty, lambda: all(waits(one) for one in known) and not wiring.schedules().lost())


def test_an_outage_of_postgresql_never_seems_to_be_over_while_it_lasts() -> None:
    plan(once(now_ms() + DAY))
    record_all()
    lose_everything()
    duty = Recorder(wiring.patient_schedules())
    with postgresql_is_away():
        for _ in range(10):
            with pytest.raises(OperationalError):
                duty.step()
