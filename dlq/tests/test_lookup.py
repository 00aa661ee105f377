"""How many events of a source are dead letters: each counts once, as a letter or as a row."""

from typing import Any
from uuid import UUID

import msgspec
import pytest

from dlq import lookup, replay
from dlq.models import DeadLetter
from dlq.tests.letters import event, record_all
from notifications import events, store
from notifications.events import Event

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

Status = DeadLetter.Status

JOB = "019aab5e-0000-7000-8000-000000006f31"
OTHER = "019aab5e-0000-7000-8000-000000006f32"


def buried(*recipients: str, job: str = JOB, **fields: Any) -> list[Event]:
    """Events of a job that are dead letters; fields are the letters'."""
    dead = [event(recipient, source_id=job) for recipient in recipients]
    record_all(dead)
    DeadLetter.objects.filter(pk__in=[one.id for one in dead]).update(**fields)
    return dead


def dead_of(*jobs: str) -> dict[str, int]:
    return {str(job): count for job, count in lookup.dead_of([UUID(job) for job in jobs]).items()}


def test_each_source_has_the_letters_that_are_its_own() -> None:
    buried("alice", "bob")
    buried("alice", job=OTHER)
    record_all([event("alice")])
    assert dead_of(JOB, OTHER) == {JOB: 2, OTHER: 1}
    assert dead_of(OTHER) == {OTHER: 1}
    assert dead_of() == {}


@pytest.mark.parametrize(("status", "counted"), [*zip(Status, [1, 0, 0, 1], strict=True)], ids=Status.names)
def test_what_is_on_its_way_again_is_not_dead_and_what_was_discarded_is(status: Status, counted: int) -> None:
    buried("alice", status=status)
    assert dead_of(JOB).get(JOB, 0) == counted


@pytest.mark.parametrize("status", [Status.DEAD, Status.DISCARDED])
def test_a_letter_whose_event_became_a_row_after_all_is_none(status: Status) -> None:
    stored, *_ = buried("alice", "bob", status=status)
    store.store([stored])
    assert dead_of(JOB) == {JOB: 1}


def test_a_letter_that_was_corrected_and_died_again_is_one_until_what_it_became_is_a_row() -> None:
    (dead,) = buried("alice")
    corrected = msgspec.structs.replace(dead, id=events.with_route(dead.id, "other"), recipient="other")
    DeadLetter.objects.update(replayed_as=corrected.id)
    assert dead_of(JOB) == {JOB: 1}
    store.store([corrected])
    assert dead_of(JOB) == {}


def test_a_letter_that_is_replayed_is_dead_again_when_it_dies_again() -> None:
    (dead,) = buried("alice")
    replay.begin(replay.order(replay.Criteria(), "tests"))
    assert dead_of(JOB) == {}
    record_all([msgspec.structs.replace(dead, life=1)])
    assert dead_of(JOB) == {JOB: 1}
