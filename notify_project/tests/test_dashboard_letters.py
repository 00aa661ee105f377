"""What the page of the dead letters asks for."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from conftest import Caller
from dlq import groups, replay
from dlq.models import Replay
from dlq.replay import Criteria
from dlq.tests.letters import FAILED_MS, event, record
from notifications import events, store
from notifications.stream.client import Shards
from notify_project.dashboard import letters
from notify_project.dashboard.letters import OpenGroups

pytestmark = pytest.mark.django_db

SLOW_TABLE = "CREATE VIEW dlq_deadletter AS SELECT hidden.* FROM hidden, LATERAL (SELECT pg_sleep(10)) AS asleep"


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "open_groups", OpenGroups())


@pytest.fixture
def staff(db: None) -> Client:
    browser = Client()
    browser.force_login(User.objects.create_user("ada", is_staff=True))
    return browser


def test_the_groups_are_told_with_the_sums_of_all(staff: Client) -> None:
    letter = record(event("alice"), error="it is broken", attempts=6)
    replay.order_one(record(event("bob"), error="it is broken", failed_ms=FAILED_MS + 1).pk, "tests")
    assert staff.get("/dashboard/letters").json() == {
        "dead": 1,
        "replaying": 1,
        "newest": "2027-01-15T08:00:00.001Z",
        "more": False,
        "groups": [
            {
                "reason": "invalid",
                "fingerprint": letter.fingerprint,
                "letters": 2,
                "dead": 1,
                "replaying": 1,
                "unreadable": 0,
                "newest": "2027-01-15T08:00:00.001Z",
                "oldest": "2027-01-15T08:00:00.000Z",
                "types": ["test.event"],
                "type_count": 1,
                "error": "it is broken",
            }
        ],
    }


def test_without_letters_there_is_nothing_to_tell(staff: Client) -> None:
    nothing: dict[str, Any] = {"dead": 0, "replaying": 0, "newest": None, "more": False, "groups": []}
    assert staff.get("/dashboard/letters").json() == nothing
    assert staff.get("/dashboard/letters/replays").json() == {"replays": []}


def test_what_took_long_is_remembered_for_ten_times_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [100.0], []

    def slow(shown: int) -> Any:
        asked.append(shown)
        now[0] += 0.5
        return groups.Groups([], more=False, dead=len(asked))

    monkeypatch.setattr(groups, "open_now", slow)
    monkeypatch.setattr("notify_project.dashboard.letters.time", SimpleNamespace(monotonic=lambda: now[0]))
    remembered = OpenGroups()
    assert remembered.now()["dead"] == 1
    now[0] += 4.9
    assert remembered.now()["dead"] == 1
    now[0] += 0.2
    assert remembered.now()["dead"] == 2


def test_a_failure_is_shared_by_who_waits_for_it_and_by_who_comes_soon_after(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, began, go_on, remembered = [], threading.Event(), threading.Event(), OpenGroups()

    def fail(shown: int) -> Any:
        asked.append(shown)
        began.set()
        assert go_on.wait(30)
        raise OperationalError

    monkeypatch.setattr(groups, "open_now", fail)
    with ThreadPoolExecutor(5) as threads:
        answers = [threads.submit(remembered.now) for _ in range(5)]
        assert began.wait(30)
        go_on.set()
        assert all(isinstance(answer.exception(30), OperationalError) for answer in answers)
    assert len(asked) == 1


def test_a_failure_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, outcomes = [100.0], iter([OperationalError(), groups.Groups([], more=False, dead=7)])

    def ask(_: int) -> Any:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(groups, "open_now", ask)
    monkeypatch.setattr("notify_project.dashboard.letters.time", SimpleNamespace(monotonic=lambda: now[0]))
    remembered = OpenGroups()
    for seconds in (0, 1.9):
        now[0] += seconds
        with pytest.raises(OperationalError):
            remembered.now()
    now[0] += 0.2
    assert remembered.now()["dead"] == 7


def test_groups_that_postgresql_takes_too_long_for_are_not_waited_for(
    staff: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(event("alice"))
    monkeypatch.setattr(letters, "TIMEOUT_MS", 100)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE dlq_deadletter RENAME TO hidden")
        cursor.execute(SLOW_TABLE)
    answer = staff.get("/dashboard/letters")
    assert answer.status_code == 503
    assert "did not answer within" in answer.json()["detail"]


def test_the_newest_replays_are_listed_without_those_that_came_second_and_those_of_yesterday(staff: Client) -> None:
    letter = record(event("alice"))
    first = replay.order_one(letter.pk, "ada")
    replay.order(Criteria(), "bob")
    Replay.objects.create(ordered_by="eve", ordered_at=timezone.now() - timedelta(days=2), criteria={}, letters=3)
    (shown,) = staff.get("/dashboard/letters/replays").json()["replays"]
    assert (shown["id"], shown["by"], shown["letters"]) == (str(first.pk), "ada", 1)
    assert shown["what"] == f"the letter {letter.pk}"


def test_a_single_replay_is_told_as_far_as_it_is(staff: Client, shards: Shards) -> None:
    letter = record(event("alice"))
    order = replay.order_one(letter.pk, "ada")
    replay.begin(order)
    address = f"/dashboard/letters/replays/{order.pk}"
    told = staff.get(address).json()
    assert (told["stored"], told["dead"], told["on_the_way"], told["letter"]) == (0, 0, 1, str(letter.pk))
    assert (told["event"]["id"], told["event"]["status"]) == (str(letter.pk), "queued")
    store.store([events.decode(bytes(letter.payload))])
    told = staff.get(address).json()
    assert (told["stored"], told["on_the_way"], told["event"]) == (1, 0, None)


def test_of_many_what_became_of_them_is_counted_only(staff: Client) -> None:
    for name in ("alice", "bob"):
        record(event(name))
    order = replay.order(Criteria(), "ada")
    told = staff.get(f"/dashboard/letters/replays/{order.pk}").json()
    assert (told["letters"], told["on_the_way"], told["letter"], told["event"]) == (2, 2, None, None)


def test_a_replay_that_nobody_ordered_is_not_found(staff: Client) -> None:
    assert staff.get(f"/dashboard/letters/replays/{uuid.uuid4()}").status_code == 404


@pytest.mark.parametrize("path", ["letters", "letters/replays", f"letters/replays/{uuid.UUID(int=7)}"])
def test_nobody_is_told_but_staff_in_a_session(path: str, producer: Caller) -> None:
    assert Client().get(f"/dashboard/{path}").status_code == 401
    assert producer.get(f"/dashboard/{path}").status_code == 403
