"""The dead letters' API, as the contract words it (section 2)."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import User
from django.test import Client

from conftest import Caller
from dlq import replay
from dlq.models import DeadLetter, Passage, Replay
from dlq.tests.letters import FAILED_MS, event, in_lane, record, record_all
from notifications import events, intake, store
from notifications.access import keys, tokens
from notifications.exceptions import BacklogFull
from notifications.stream.client import Shards
from notifications.tests.test_api import problem

pytestmark = pytest.mark.django_db

MENDED = {"recipient": "alice", "type": "mended", "title": "Mended"}


def post(caller: Caller, path: str, body: Any = None) -> Any:
    content = b"" if body is None else json.dumps(body)
    return caller.post(path, content, content_type="application/json")


def pointers(answer: Any) -> set[str]:
    fields = problem(answer, 400)
    assert all(error["detail"] for error in fields["errors"])
    return {error["pointer"] for error in fields["errors"]}


def status_of(letter: DeadLetter) -> str:
    return DeadLetter.objects.get(pk=letter.pk).get_status_display()


def test_a_letter_is_shown_with_its_payload_and_its_history(producer: Caller) -> None:
    dead = event(body="b", data=msgspec.Raw(b'{"n":1}'), life=0)
    letter = record(dead, reason="retries_exhausted", error="too hot", attempts=6)
    (listed,) = producer.get("/api/dlq").json()["results"]
    shown = producer.get(f"/api/dlq/{letter.pk}").json()
    history = shown.pop("history")
    assert shown == listed
    assert shown == {
        "id": dead.id,
        "status": "dead",
        "recipient": "alice",
        "type": "test.event",
        "payload": json.loads(events.encode(dead)),
        "notification": {"recipient": "alice", "type": "test.event", "title": "A title", "body": "b", "data": {"n": 1}},
        "readable": True,
        "reason": "retries_exhausted",
        "error": "too hot",
        "fingerprint": letter.fingerprint,
        "attempts": 6,
        "life": 0,
        "first_failed_at": "2027-01-15T08:00:00.000Z",
        "last_failed_at": "2027-01-15T08:00:00.000Z",
        "replay": None,
    }
    assert history == [
        {
            "at": "2027-01-15T08:00:00.000Z",
            "what": "died",
            "by": None,
            "life": 0,
            "reason": "retries_exhausted",
            "error": "too hot",
            "attempts": 6,
            "payload": None,
        }
    ]


@pytest.mark.parametrize(
    ("payload", "shown"),
    [(b"nonsense \xff \x00", "nonsense \N{REPLACEMENT CHARACTER} \x00"), (b'{"v":2}', {"v": 2}), (b"", "")],
)
def test_a_payload_that_is_no_event_is_shown_as_far_as_it_can_be(producer: Caller, payload: bytes, shown: Any) -> None:
    letter = record(payload)
    found = producer.get(f"/api/dlq/{letter.pk}").json()
    assert (found["payload"], found["readable"], found["recipient"], found["type"]) == (shown, False, None, None)
    assert found["notification"] is None


def test_pages_are_newest_failure_first_and_stay_as_they_are_while_letters_arrive(producer: Caller) -> None:
    for n in range(7):
        # Some at the same moment: their ids tell them apart.
        record(event("alice", title=str(n)), failed_ms=FAILED_MS + n // 3)
    seen: list[dict[str, Any]] = []
    cursor = ""
    while True:
        found = producer.get(f"/api/dlq?limit=2&cursor={cursor}").json()
        seen += found["results"]
        record(event("late"), failed_ms=FAILED_MS + 1000)
        if not (cursor := found["next"]):
            break
    assert len({letter["id"] for letter in seen}) == len(seen) == 7
    order = [(letter["last_failed_at"], letter["id"]) for letter in seen]
    assert order == sorted(order, reverse=True)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"alice", "bob", "carol"}),
        ("status=dead", {"alice", "bob"}),
        ("status=discarded", {"carol"}),
        ("status=replaying", set()),
        ("reason=crash", {"bob"}),
        ("type=other&status=", {"carol"}),
        ("recipient=alice", {"alice"}),
        ("since=2027-01-15T08:00:01Z", {"bob", "carol"}),
        ("since=2027-01-15T09:00:01%2B01:00&type=test.event", {"bob"}),
        ("until=2027-01-15T08:00:01Z", {"alice", "bob"}),
        ("until=2027-01-15T07:59:59Z", set()),
        ("since=2027-01-15T08:00:01Z&until=2027-01-15T08:00:01Z", {"bob"}),
        ("fingerprint=000000000000", set()),
    ],
)
def test_letters_are_filtered(producer: Caller, query: str, expected: set[str]) -> None:
    record(event("alice"))
    record(event("bob"), reason="crash", failed_ms=FAILED_MS + 1000)
    record(event("carol", type="other"), failed_ms=FAILED_MS + 2000)
    replay.discard(replay.Criteria(recipient="carol"), "tests")
    found = producer.get(f"/api/dlq?{query}").json()
    assert {letter["recipient"] for letter in found["results"]} == expected
    assert found["next"] is None


def test_letters_are_filtered_by_the_fingerprint_that_they_show(producer: Caller) -> None:
    record(event("alice"), error="row 1 is bad")
    record(event("bob"), error="row 2 is bad")
    record(event("carol"), error="no row")
    fingerprint = DeadLetter.objects.get(recipient="alice").fingerprint
    found = producer.get(f"/api/dlq?fingerprint={fingerprint}").json()["results"]
    assert {letter["recipient"] for letter in found} == {"alice", "bob"}


@pytest.mark.one_shard_is_enough
def test_broken_rules_of_a_query_are_named(producer: Caller) -> None:
    query = "status=gone&since=yesterday&until=tomorrow&limit=0&cursor=x"
    query += "&recipient=a%20b&type=A&reason=A%00&fingerprint=1&x=1"
    assert pointers(producer.get(f"/api/dlq?{query}")) == {
        *("/status", "/since", "/until", "/limit", "/cursor", "/recipient", "/type", "/reason", "/fingerprint", "/x")
    }
    moments = ("1700000000", "2027-01-15T08:00:00", "2027-13-15T08:00:00Z", "0001-01-01T00:00:00%2B14:00")
    for moment in moments:
        assert pointers(producer.get(f"/api/dlq?since={moment}")) == {"/since"}
        assert pointers(producer.get(f"/api/dlq?until={moment}")) == {"/until"}
    assert pointers(producer.get("/api/dlq?reason=nonsense&replay=1")) == {"/reason", "/replay"}
    for since in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1477-08-05T05:07:20-23:39"):
        assert producer.get(f"/api/dlq?since={since}").status_code == 200


def test_one_is_replayed_at_once_and_by_whoever_comes_first(producer: Caller, shards: Shards) -> None:
    letter = record(event())
    answer = post(producer, f"/api/dlq/{letter.pk}/replay")
    assert answer.status_code == 202
    assert (answer.json()["id"], answer.json()["status"]) == (str(letter.pk), "replayed")
    died, ordered, replayed = answer.json()["history"]
    assert [line["what"] for line in (died, ordered, replayed)] == ["died", "ordered", "replayed"]
    assert ordered["by"] == 'API key "tests"'
    assert answer.json()["replay"] == str(Replay.objects.get().pk)
    assert "replayed" in problem(post(producer, f"/api/dlq/{letter.pk}/replay"), 409)["detail"]
    assert len(in_lane(shards, "live")) == 1


def test_one_is_replayed_with_a_corrected_event(producer: Caller, shards: Shards) -> None:
    letter = record(event(title="Broken"))
    answer = post(producer, f"/api/dlq/{letter.pk}/replay", {"notification": MENDED})
    assert answer.status_code == 202
    assert answer.json()["payload"]["title"] == in_lane(shards, "live")[0].title == "Mended"
    (edited,) = [line for line in answer.json()["history"] if line["what"] == "edited"]
    assert edited["payload"]["title"] == "Broken"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"notification": {**MENDED, "recipient": "bob"}}, {"/notification/recipient"}),
        ({"notification": {"recipient": "a b", "x": 1}}, {
            *("/notification/recipient", "/notification/type", "/notification/title", "/notification/x")
        }),
        ({"notification": None}, {"/notification"}),
        ({"notification": {**MENDED, "data": {"fault": {"fail": "x"}}}}, set()),
        ({"event": MENDED}, {"/event"}),
        ([], {""}),
    ],
)  # fmt: skip
def test_a_correction_that_breaks_rules_is_refused_and_changes_nothing(
    producer: Caller, body: Any, expected: set[str]
) -> None:
    letter = record(event())
    answer = post(producer, f"/api/dlq/{letter.pk}/replay", body)
    if expected:
        assert pointers(answer) == expected
        assert status_of(letter) == "dead"
    else:
        # Fault injection is off: what stands in `data` is the producer's own.
        assert answer.status_code == 202


def test_what_a_letter_shows_as_its_notification_can_be_sent_back(producer: Caller, shards: Shards) -> None:
    dead = event(title="Broken", data=msgspec.Raw(b'{"n":[1,{}]}'))
    letter = record(dead)
    shown = producer.get(f"/api/dlq/{letter.pk}").json()["notification"]
    assert post(producer, f"/api/dlq/{letter.pk}/replay", {"notification": shown}).status_code == 202
    assert in_lane(shards, "live") == [msgspec.structs.replace(dead, life=1)]


def test_an_order_is_followed_by_its_id(producer: Caller) -> None:
    record_all([event("alice"), event("bob"), event("carol", type="other")])
    order = post(producer, "/api/dlq/replay", {"type": "test.event", "limit": 1_000_000}).json()
    post(producer, "/api/dlq/replay", {"all": True})
    followed = producer.get(f"/api/dlq?replay={order['id']}&status=replayed").json()["results"]
    assert {letter["recipient"] for letter in followed} == {"alice", "bob"}
    assert {letter["replay"] for letter in followed} == {order["id"]}
    assert producer.get(f"/api/dlq?replay={uuid.uuid4()}").json()["results"] == []


def test_a_person_has_one_name_wherever_they_act(staff: Client) -> None:
    """The admin records a user's name, and so does the API, by session and by key."""
    ids = [record(event(who)).pk for who in ("alice", "bob", "carol")]
    staff.post(f"/admin/dlq/deadletter/{ids[0]}/replay/", {"life": 0})
    staff.post(f"/api/dlq/{ids[1]}/replay", {}, content_type="application/json")
    staff.delete(f"/api/dlq/{ids[2]}")
    deeds = Passage.objects.filter(kind__in=(Passage.Kind.ORDERED, Passage.Kind.DISCARDED))
    assert set(deeds.values_list("by", flat=True)) == {"ada"}
    Caller(keys.create("billing")[1]).post("/api/dlq/replay", {"all": True}, content_type="application/json")
    assert Replay.objects.first().ordered_by == 'API key "billing"'  # type: ignore[union-attr]


def test_what_cannot_be_read_is_replayed_only_when_it_is_corrected(producer: Caller) -> None:
    letter = record(b"nonsense")
    assert "corrected" in problem(post(producer, f"/api/dlq/{letter.pk}/replay"), 409)["detail"]
    assert post(producer, f"/api/dlq/{letter.pk}/replay", {"notification": MENDED}).status_code == 202


def test_many_are_replayed_by_filter_after_a_dry_run(producer: Caller, shards: Shards) -> None:
    record_all([event("alice"), event("bob"), event("carol", type="other")])
    record(b"nonsense")
    many: list[tuple[dict[str, Any], int]] = [
        ({"type": "test.event"}, 2),
        ({"all": True}, 3),
        ({"all": True, "limit": 2}, 2),
        ({"reason": "invalid", "recipient": "alice", "since": "2027-01-15T08:00:00Z"}, 1),
        ({"ids": [str(DeadLetter.objects.get(recipient="bob").pk), str(uuid.uuid4())]}, 1),
        ({"fingerprint": "000000000000"}, 0),
        ({"until": "2027-01-15T08:00:00Z"}, 3),
        ({"reason": "invalid", "until": "2027-01-15T07:59:59.999Z"}, 0),
    ]
    for body, matched in many:
        answer = post(producer, "/api/dlq/replay", {**body, "dry_run": True})
        assert (answer.status_code, answer.json()) == (200, {"matched": matched})
    assert not Replay.objects.exists()
    answer = post(producer, "/api/dlq/replay", {"type": "test.event"})
    assert answer.status_code == 202
    assert answer.json() == {"id": str(Replay.objects.get().pk), "matched": 2}
    assert {waiting.recipient for waiting in in_lane(shards, "bulk")} == {"alice", "bob"}
    assert post(producer, "/api/dlq/replay", {"type": "test.event"}).json()["matched"] == 0


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (None, ""),
        ({}, ""),
        ({"dry_run": True, "limit": 5}, ""),
        ({"all": False}, ""),
        ({"all": True, "reason": "crash"}, ""),
        ({"status": "dead"}, "/status"),
        ({"ids": []}, "/ids"),
        ({"ids": ["x"]}, "/ids"),
        ({"reason": "No"}, "/reason"),
        ({"reason": "invalidx"}, "/reason"),
        ({"reason": None, "type": 1}, "/type"),
        ({"type": ""}, "/type"),
        ({"recipient": "a b"}, "/recipient"),
        ({"fingerprint": "x"}, "/fingerprint"),
        ({"since": "yesterday"}, "/since"),
        ({"since": "2027-01-15T08:00:00"}, "/since"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "/since"),
        ({"since": "9999-12-31T23:59:59-14:00"}, "/since"),
        ({"until": "tomorrow"}, "/until"),
        ({"until": "9999-12-31T23:59:59-14:00"}, "/until"),
        ({"all": True, "until": "2027-01-15T08:00:00Z"}, ""),
        ({"all": 1}, "/all"),
        ({"all": True, "limit": 0}, "/limit"),
        ({"all": True, "limit": 1_000_001}, "/limit"),
        ({"all": True, "limit": 2**63}, "/limit"),
        ({"all": True, "dry_run": "no"}, "/dry_run"),
    ],
)
def test_broken_rules_of_a_filter_are_named_and_nothing_is_replayed(producer: Caller, body: Any, pointer: str) -> None:
    letter = record(event())
    assert pointers(post(producer, "/api/dlq/replay", body)) == {pointer}
    assert status_of(letter) == "dead"


def test_discarding_is_said_twice_without_harm(producer: Caller) -> None:
    letter = record(event())
    for _ in range(2):
        answer = producer.delete(f"/api/dlq/{letter.pk}")
        assert (answer.status_code, answer.content) == (204, b"")
    assert status_of(letter) == "discarded"
    problem(post(producer, f"/api/dlq/{letter.pk}/replay"), 409)
    replayed = record(event())
    post(producer, f"/api/dlq/{replayed.pk}/replay")
    problem(producer.delete(f"/api/dlq/{replayed.pk}"), 409)


@pytest.mark.one_shard_is_enough
def test_a_letter_that_is_not_there_is_404(producer: Caller) -> None:
    for letter_id in (uuid.uuid4(), "x"):
        problem(producer.get(f"/api/dlq/{letter_id}"), 404)
        problem(producer.delete(f"/api/dlq/{letter_id}"), 404)
        problem(post(producer, f"/api/dlq/{letter_id}/replay"), 404)
        problem(post(producer, f"/api/dlq/{letter_id}/replay", {"notification": MENDED}), 404)


@pytest.mark.one_shard_is_enough
def test_looking_takes_read_and_doing_takes_manage(caller_with: Callable[..., Caller]) -> None:
    letter = record(event())
    looks = [f"/api/dlq/{letter.pk}", "/api/dlq"]
    reader, manager, sender = (caller_with(name) for name in ("read", "manage", "send"))
    for path in looks:
        assert reader.get(path).status_code == 200
        problem(manager.get(path), 403)
        problem(sender.get(path), 403)
        problem(Caller(tokens.issue("alice", 60)[0]).get(path), 403)
        problem(Client().get(path), 401)
    for caller in (reader, sender):
        problem(post(caller, f"/api/dlq/{letter.pk}/replay"), 403)
        problem(post(caller, "/api/dlq/replay", {"all": True}), 403)
        problem(caller.delete(f"/api/dlq/{letter.pk}"), 403)
    assert status_of(letter) == "dead"
    assert manager.delete(f"/api/dlq/{letter.pk}").status_code == 204


@pytest.mark.one_shard_is_enough
def test_a_session_of_staff_needs_its_csrf_token() -> None:
    letter = record(event())
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.create_user("ada", is_staff=True))
    problem(post(browser, f"/api/dlq/{letter.pk}/replay"), 403)  # type: ignore[arg-type]
    assert status_of(letter) == "dead"


def test_an_outage_of_redis_or_a_full_backlog_only_puts_a_replay_off(
    producer: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = record(event())

    def refuse(*_: object) -> None:
        raise BacklogFull("full", retry_after=5)

    monkeypatch.setattr(intake, "readmit", refuse)
    answer = post(producer, f"/api/dlq/{letter.pk}/replay")
    assert (answer.status_code, answer.json()["status"]) == (202, "replaying")


def test_the_life_of_a_dead_event_can_be_followed_in_and_out_of_its_letter(producer: Caller) -> None:
    dead = event(data=msgspec.Raw(b'{"n":1}'))
    letter = record(dead, error="too hot", attempts=6)
    life = producer.get(f"/api/notifications/{dead.id}").json()
    assert (life["status"], life["attempts"], life["last_error"]) == ("dead", 6, "too hot")
    assert (life["title"], life["data"]) == ("A title", {"n": 1})
    assert Caller(tokens.issue("alice", 60)[0]).get(f"/api/notifications/{dead.id}").status_code == 200
    problem(Caller(tokens.issue("bob", 60)[0]).get(f"/api/notifications/{dead.id}"), 404)
    post(producer, f"/api/dlq/{letter.pk}/replay")
    assert producer.get(f"/api/notifications/{dead.id}").json()["status"] == "queued"
    store.store([dead])
    assert producer.get(f"/api/notifications/{dead.id}").json()["status"] == "stored"
