"""The HTTP API, as the contract words it (section 2)."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from django.db import DataError, IntegrityError, OperationalError, ProgrammingError
from django.test import Client
from structlog.testing import capture_logs

from conftest import Caller
from notifications import dependencies, events, inbox, store, wiring
from notifications.access import tokens
from notifications.api.throttle import Throttled
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.stream import keys
from notifications.stream.reader import Reader
from notifications.stream.writer import Writer
from notifications.worker import Worker

pytestmark = pytest.mark.django_db

EVENT = {"recipient": "alice", "type": "order.shipped", "title": "Shipped", "body": "b", "data": {"n": 1}}


def post(caller: Client, path: str, body: Any, **headers: str) -> Any:
    return caller.post(path, body, content_type="application/json", headers=headers)


def work() -> None:
    """What the workers would do: everything that waits becomes rows."""
    shards = wiring.patient_shards()
    duty = Worker(shards, Reader(shards, "tests", batch_size=1000, claim_idle_ms=10_000), Announcer(shards, Outbox()))
    while any(shards.client.xlen(keys.lane(shard, "live")) for shard in shards.each()):
        duty.step()


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    fields: dict[str, Any] = json.loads(answer.content)
    assert fields["status"] == status
    assert {"type", "title", "detail"} <= fields.keys()
    return fields


def test_an_event_is_accepted_with_an_id_that_can_be_followed_through_its_life(producer: Caller) -> None:
    answer = post(producer, "/api/notify", EVENT)
    assert answer.status_code == 202
    assert answer.json().keys() == {"id", "status"}
    assert answer.json()["status"] == "queued"
    assert answer.headers["Location"] == f"/api/notifications/{answer.json()['id']}"

    queued = producer.get(answer.headers["Location"]).json()
    assert (queued["status"], queued["stored_at"], queued["seq"]) == ("queued", None, None)
    work()
    stored = producer.get(answer.headers["Location"]).json()
    assert stored["status"] == "stored"
    assert stored.keys() == queued.keys()
    for name, value in EVENT.items():
        assert queued[name] == stored[name] == value
    assert queued["accepted_at"] == stored["accepted_at"] <= stored["stored_at"]
    assert (stored["attempts"], stored["read_at"], stored["source"], stored["source_id"]) == (1, None, "api", None)

    post(producer, "/api/recipients/alice/read", {"ids": [stored["id"]]})
    assert producer.get(answer.headers["Location"]).json()["read_at"] >= stored["stored_at"]


def test_a_dead_event_says_why(
    producer: Caller, make_event: Callable[..., events.Event], make_writer: Callable[..., Writer]
) -> None:
    """One that an older release let in, say."""
    event = make_event(title="x" * 300)
    make_writer().add([event])
    work()
    life = producer.get(f"/api/notifications/{event.id}").json()
    assert (life["status"], life["attempts"], life["stored_at"]) == ("dead", 1, None)
    assert "too long" in life["last_error"]


def test_what_was_never_accepted_is_not_there(producer: Caller) -> None:
    problem(producer.get(f"/api/notifications/{uuid.uuid4()}"), 404)
    problem(producer.get("/api/notifications/not-an-id"), 404)


def test_anothers_notification_looks_like_none(producer: Caller) -> None:
    location = post(producer, "/api/notify", EVENT).headers["Location"]
    alice, bob = Caller(tokens.issue("alice", 60)[0]), Caller(tokens.issue("bob", 60)[0])
    for _ in ("queued", "stored"):
        assert alice.get(location).status_code == 200
        theirs = problem(bob.get(location), 404)
        assert theirs == problem(bob.get(f"/api/notifications/{uuid.uuid4()}"), 404)
        work()


def test_broken_rules_are_named_by_field(producer: Caller) -> None:
    fields = problem(post(producer, "/api/notify", {"recipient": "a b", "title": "", "x": 1}), 400)
    assert {error["pointer"] for error in fields["errors"]} == {"/recipient", "/type", "/title", "/x"}
    assert all(error["detail"] for error in fields["errors"])


@pytest.mark.parametrize(("path", "limit"), [("/api/notify", 256 * 1024), ("/api/notify/batch", 5 * 1024 * 1024)])
@pytest.mark.one_shard_is_enough
def test_a_body_that_is_too_large_is_refused_with_the_limit(producer: Caller, path: str, limit: int) -> None:
    fields = problem(producer.post(path, b" " * (limit + 1), content_type="application/json"), 413)
    assert str(limit) in fields["detail"]
    assert problem(producer.post(path, b" " * limit, content_type="application/json"), 400)


@pytest.mark.one_shard_is_enough
def test_errors_of_every_kind_are_problems(producer: Caller) -> None:
    problem(producer.get("/api/notify"), 405)
    problem(producer.get("/api/nothing/here"), 404)
    problem(producer.get("/api/"), 404)
    problem(producer.post("/api/notify", "a=b", content_type="application/x-www-form-urlencoded"), 415)
    problem(producer.post("/api/notify", b"", content_type="application/json"), 400)
    problem(Client().get("/api/notifications"), 401)


@pytest.mark.one_shard_is_enough
def test_an_error_of_ours_is_a_problem_without_a_word_of_the_inside(producer: Caller, monkeypatch: Any) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("an inner secret")

    monkeypatch.setattr("notifications.inbox.state", fail)
    fields = problem(producer.get("/api/recipients/alice/unread"), 500)
    assert "secret" not in json.dumps(fields)


def test_an_idempotency_key_makes_a_request_take_effect_once(producer: Caller) -> None:
    first = post(producer, "/api/notify", EVENT, **{"Idempotency-Key": "order-7"})
    again = post(producer, "/api/notify", EVENT, **{"Idempotency-Key": "order-7"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert (first.content, first.headers["Location"]) == (again.content, again.headers["Location"])
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    problem(post(producer, "/api/notify", EVENT | {"title": "other"}, **{"Idempotency-Key": "order-7"}), 422)
    work()
    assert producer.get("/api/recipients/alice/unread").json() == {"unread": 1}


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "é"])
@pytest.mark.one_shard_is_enough
def test_an_idempotency_key_out_of_bounds_is_refused(producer: Caller, key: str) -> None:
    fields = problem(post(producer, "/api/notify", EVENT, **{"Idempotency-Key": key}), 400)
    assert fields["errors"][0]["pointer"] == "/Idempotency-Key"


def test_a_refused_request_does_not_use_its_idempotency_key_up(producer: Caller) -> None:
    problem(post(producer, "/api/notify", {}, **{"Idempotency-Key": "k"}), 400)
    assert post(producer, "/api/notify", EVENT, **{"Idempotency-Key": "k"}).status_code == 202


def test_a_batch_answers_for_each_event_in_order(producer: Caller) -> None:
    body = {"notifications": [EVENT, {"recipient": "bob"}, EVENT | {"recipient": "carol"}]}
    answer = post(producer, "/api/notify/batch", body)
    assert answer.status_code == 202
    results = answer.json()["results"]
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (2, 1)
    assert [result["status"] for result in results] == ["queued", "rejected", "queued"]
    work()
    assert producer.get(f"/api/notifications/{results[2]['id']}").json()["recipient"] == "carol"


def test_a_thousand_events_go_in_one_batch_and_one_more_does_not(producer: Caller) -> None:
    answer = post(producer, "/api/notify/batch", {"notifications": [EVENT] * 1000})
    assert answer.json()["accepted"] == 1000
    work()
    assert producer.get("/api/recipients/alice/unread").json() == {"unread": 1000}
    problem(post(producer, "/api/notify/batch", {"notifications": [EVENT] * 1001}), 400)


@pytest.fixture
def inbox_of_25(make_event: Callable[..., events.Event]) -> list[events.Event]:
    batch = [make_event(title=f"t{number}", type="even" if number % 2 == 0 else "odd") for number in range(25)]
    store.store([*batch, make_event("bob")])
    return batch


def pages(caller: Client, query: str) -> list[list[int]]:
    found, cursor = [], ""
    while True:
        page = caller.get(f"/api/notifications?{query}{cursor}").json()
        found.append([row["seq"] for row in page["results"]])
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


@pytest.mark.one_shard_is_enough
def test_an_inbox_is_listed_newest_first_in_pages(producer: Caller, inbox_of_25: list[events.Event]) -> None:
    assert pages(producer, "recipient=alice") == [list(range(25, 5, -1)), list(range(5, 0, -1))]
    assert pages(producer, "recipient=alice&limit=25") == [list(range(25, 0, -1))]
    assert pages(producer, "recipient=nobody") == [[]]
    assert pages(producer, "recipient=alice&limit=25&unread=&type=&cursor=") == [list(range(25, 0, -1))]
    assert pages(Caller(tokens.issue("alice", 60)[0]), "limit=100") == [list(range(25, 0, -1))]


@pytest.mark.one_shard_is_enough
def test_pages_stay_as_they_are_while_more_arrives(
    producer: Caller, inbox_of_25: list[events.Event], make_event: Callable[..., events.Event]
) -> None:
    first = producer.get("/api/notifications?recipient=alice&limit=10").json()
    store.store([make_event() for _ in range(10)])
    second = producer.get(f"/api/notifications?recipient=alice&limit=10&cursor={first['next']}").json()
    assert [row["seq"] for row in second["results"]] == list(range(15, 5, -1))


@pytest.mark.one_shard_is_enough
def test_an_inbox_is_filtered_by_type_and_by_unread(producer: Caller, inbox_of_25: list[events.Event]) -> None:
    store.mark_read("alice", [uuid.UUID(event.id) for event in inbox_of_25[:20]])
    assert pages(producer, "recipient=alice&unread=true&limit=2") == [[25, 24], [23, 22], [21]]
    assert pages(producer, "recipient=alice&unread=1&type=even") == [[25, 23, 21]]
    assert pages(producer, "recipient=alice&type=none-such") == [[]]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("", "/recipient"),
        ("recipient=a%20b", "/recipient"),
        ("recipient=alice&limit=0", "/limit"),
        ("recipient=alice&limit=101", "/limit"),
        ("recipient=alice&limit=ten", "/limit"),
        ("recipient=alice&limit=%C2%B2", "/limit"),
        ("recipient=alice&limit=99999999999999999999999", "/limit"),
        ("recipient=alice&unread=maybe", "/unread"),
        ("recipient=alice&cursor=nonsense", "/cursor"),
        ("recipient=alice&cursor=cw", "/cursor"),
        ("recipient=alice&surprise=1", "/surprise"),
        ("recipient=alice&type=a%00b", "/type"),
    ],
)
@pytest.mark.one_shard_is_enough
def test_a_query_out_of_bounds_is_refused(producer: Caller, query: str, pointer: str) -> None:
    fields = problem(producer.get(f"/api/notifications?{query}"), 400)
    assert [error["pointer"] for error in fields["errors"]] == [pointer]


def test_marking_read_changes_the_count_for_everybody(
    producer: Caller, make_event: Callable[..., events.Event]
) -> None:
    batch = [make_event() for _ in range(3)]
    store.store(batch)
    assert producer.get("/api/recipients/alice/unread").json() == {"unread": 3}
    answer = post(producer, "/api/recipients/alice/read", {"ids": [batch[0].id, batch[0].id, str(uuid.uuid4())]})
    assert answer.json() == {"updated": 1, "unread": 2}
    mine = Caller(tokens.issue("alice", 60)[0])
    assert post(mine, "/api/recipients/alice/read", {"all": True}).json() == {"updated": 2, "unread": 0}
    assert producer.get("/api/recipients/alice/unread").json() == {"unread": 0}
    assert post(mine, "/api/recipients/alice/read", {"all": True}).json() == {"updated": 0, "unread": 0}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"all": False}, ""),
        ({"all": True, "ids": [str(uuid.uuid4())]}, ""),
        ({"ids": []}, "/ids"),
        ({"ids": ["x"]}, "/ids"),
        ({"ids": "x"}, "/ids"),
        ({"ids": [str(uuid.uuid4())] * 1001}, "/ids"),
        ({"all": True, "more": 1}, "/more"),
        ({"all": True, "~/`": 1}, "/~0~1`"),
        ([], ""),
    ],
)
@pytest.mark.one_shard_is_enough
def test_a_mark_read_out_of_bounds_is_refused(producer: Caller, body: Any, pointer: str) -> None:
    fields = problem(post(producer, "/api/recipients/alice/read", body), 400)
    assert [error["pointer"] for error in fields["errors"]] == [pointer]
    assert "$" not in fields["errors"][0]["detail"]


@pytest.mark.one_shard_is_enough
def test_a_recipients_token_has_the_life_that_was_asked_for(producer: Caller) -> None:
    answer = producer.generic("POST", "/api/recipients/alice/token")
    assert answer.status_code == 200
    assert answer.json().keys() == {"token", "expires_at"}
    token = tokens.verify(post(producer, "/api/recipients/org%2Falice/token", {"ttl": 60}).json()["token"])
    assert token is not None
    assert token.recipient == "org/alice"
    for ttl in (0, 86_401, "60", 1.5, None):
        fields = problem(post(producer, "/api/recipients/alice/token", {"ttl": ttl}), 400)
        assert fields["errors"][0]["pointer"] == "/ttl"


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize("path", ["/api/recipients/a%20b/unread", "/api/recipients/" + "x" * 129 + "/unread"])
def test_what_can_be_no_recipient_is_refused(producer: Caller, path: str) -> None:
    fields = problem(producer.get(path), 400)
    assert fields["errors"][0]["pointer"] == "/recipient"


@pytest.mark.one_shard_is_enough
def test_health_needs_no_key_and_names_each_dependency(client: Client, monkeypatch: Any) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok", "checks": {"redis": "ok", "postgresql": "ok"}}

    def gone() -> None:
        raise ConnectionError("at redis://user:password@host")

    monkeypatch.setattr(dependencies, "ASK", {**dependencies.ASK, "redis": gone})
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"redis": "ConnectionError", "postgresql": "ok"}
    assert b"password" not in answer.content


def test_an_outage_is_one_log_line_for_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as lines:
        throttled = Throttled(structlog.get_logger(), "api.unavailable")
        for _ in range(1000):
            throttled.warn(server="Redis")
        monkeypatch.setattr(throttled, "_next", 0)
        throttled.warn(server="Redis")
    assert [(line["event"], line["times"]) for line in lines] == [("api.unavailable", 1), ("api.unavailable", 1000)]


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(
    ("body", "pointer", "rule"),
    [
        ({"all": True, "more": 1}, "/more", "is not one of: all, ids"),
        ({"all": True, "` - at `$.ids": 1}, "/` - at `$.ids", "is not one of: all, ids"),
        ([], "", "must be a JSON object, its fields any of: all, ids"),
        ("all", "", "must be a JSON object, its fields any of: all, ids"),
    ],
)
def test_a_body_of_another_shape_is_told_the_fields_that_there_are(
    producer: Caller, body: Any, pointer: str, rule: str
) -> None:
    answer = producer.post("/api/recipients/alice/read", json.dumps(body), content_type="application/json")
    assert problem(answer, 400)["errors"] == [{"pointer": pointer, "detail": rule}]


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(
    ("error", "status"), [(DataError, 500), (IntegrityError, 500), (ProgrammingError, 500), (OperationalError, 503)]
)
def test_what_postgresql_refuses_is_our_fault_and_no_outage(
    error: type[Exception], status: int, producer: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error("no")

    monkeypatch.setattr(inbox, "mark_read", fail)
    with capture_logs() as logs:
        problem(post(producer, "/api/recipients/alice/read", {"all": True}), status)
    # An outage's own line is told once in a while only.
    assert [line["event"] for line in logs if line["event"] == "api.failed"] == ["api.failed"] * (status == 500)
