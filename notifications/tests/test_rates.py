"""Rates: exact to the event, taken once for what is accepted, and told to the producer."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from redis.exceptions import ConnectionError as RedisConnectionError

from conftest import Caller
from notifications import intake, wiring
from notifications.access import keys
from notifications.access.models import ApiKey
from notifications.access.principal import Principal
from notifications.access.rates import Charge
from notifications.exceptions import BacklogFull, IdempotencyConflict, RateExceeded, Unavailable
from notifications.stream import keys as names
from notifications.stream import rates
from notifications.stream.client import Shards, connect
from notifications.stream.rates import Rates
from notifications.stream.writer import Writer
from notifications.tests.test_api import problem

pytestmark = pytest.mark.django_db

EVENT = {"recipient": "alice", "type": "t", "title": "t"}
BULK = {"recipients": ["alice", "bob"], "notification": {"type": "t", "title": "t"}}
BODIES: dict[str, dict[str, Any]] = {
    "/api/notify": EVENT,
    "/api/notify/batch": {"notifications": [EVENT]},
    "/api/schedule": EVENT | {"delay": 60},
    "/api/bulk": BULK,
}
THREADS = 50


def reserved() -> BacklogFull:
    """As where a request's idempotency key holds a reservation, though it was refused."""
    refused = BacklogFull("", retry_after=1)
    refused.reserved = True
    return refused


def sender(rate: str) -> Caller:
    """A producer with a rate."""
    return Caller(keys.create("shop", rate=rate)[1])


def post(caller: Client, path: str, body: Any, **headers: str) -> Any:
    return caller.post(path, body, content_type="application/json", headers=headers)


def notify(caller: Client, recipient: str = "alice", **headers: str) -> Any:
    return post(caller, "/api/notify", EVENT | {"recipient": recipient}, **headers)


def batch(caller: Client, *recipients: str, **headers: str) -> Any:
    events = [EVENT | {"recipient": recipient} for recipient in recipients]
    return post(caller, "/api/notify/batch", {"notifications": events}, **headers)


def keyed(name: str = "a-key") -> dict[str, str]:
    return {"Idempotency-Key": name}


def left(answer: Any, policy: str = "key") -> int:
    """How many events a rate has left by an answer's RateLimit field."""
    items = [item.strip().split(";") for item in answer.headers["RateLimit"].split(",")]
    return next(int(r.removeprefix("r=")) for name, r, _ in items if name == f'"{policy}"')


def waiting(shards: Shards) -> int:
    """How many events were accepted, and wait."""
    return sum(int(shards.client.xlen(names.lane(shard, "live"))) for shard in shards.each())


def test_who_waited_for_the_rate_does_not_wait_as_long_again(shards: Shards) -> None:
    charge = Charge(Principal("key:1", "a key", rate="10/d"))
    charge.take(1)
    charge.since = time.monotonic() - 3
    draft = json.dumps(EVENT).encode()
    with pytest.raises(Unavailable):
        intake.accept_one(draft, None, charge)
    with pytest.raises(Unavailable):
        intake.accept_one(draft, intake.idempotency("key:1", "k", "/", draft), charge)
    assert not waiting(shards)


def test_of_fifty_callers_at_once_as_many_pass_as_the_burst_and_no_more(shards: Shards) -> None:
    caller = Principal("key:1", "a key", rate="500/d")

    def retry_after(number: int) -> int:
        document = json.dumps(EVENT | {"recipient": f"user-{number}"}).encode()
        try:
            intake.accept_one(document, charge=Charge(caller))
        except RateExceeded as refused:
            return refused.retry_after
        return 0

    with ThreadPoolExecutor(THREADS) as pool:
        told = list(pool.map(retry_after, range(1500)))
    assert (told.count(0), waiting(shards)) == (500, 500)
    # The next event has its place after a five hundredth of a day.
    assert all(100 < seconds <= 173 for seconds in told if seconds)


def test_every_answer_of_an_accepting_call_tells_how_the_rate_stands() -> None:
    caller = sender("100/m")
    told = [
        notify(caller),
        batch(caller, "alice", "bob", "carol"),
        post(caller, "/api/schedule", EVENT | {"delay": 60}),
        post(caller, "/api/bulk", BULK),
    ]
    assert [answer.status_code for answer in told] == [202, 202, 201, 202]
    assert {answer.headers["RateLimit-Policy"] for answer in told} == {'"key";q=100;w=60'}
    assert [answer.headers["RateLimit"] for answer in told][:2] == ['"key";r=99;t=1', '"key";r=96;t=3']
    assert [left(answer) for answer in told] == [99, 96, 95, 94]


def test_over_its_rate_a_key_is_told_when_to_come_back_and_nothing_is_accepted(shards: Shards) -> None:
    caller = sender("3/m")
    assert batch(caller, "alice", "bob").status_code == 202
    refused = batch(caller, "alice", "bob")
    fields = problem(refused, 429)
    assert fields["detail"] == (
        'API key "shop" may send 3/m: 1 left just now, and this takes 2. Try again in 20 s. Nothing was accepted.'
    )
    assert refused.headers["Retry-After"] == "20"
    assert refused.headers["RateLimit-Policy"] == '"key";q=3;w=60'
    assert refused.headers["RateLimit"] == '"key";r=1;t=20'
    assert waiting(shards) == 2
    assert notify(caller).status_code == 202, "what was refused took nothing"
    for path, body in BODIES.items():
        assert problem(post(caller, path, body), 429)["detail"].endswith("Nothing was accepted.")
    assert notify(sender("3/m")).status_code == 202, "every key has its own"


@pytest.mark.one_shard_is_enough
def test_what_is_invalid_or_only_looked_at_costs_nothing() -> None:
    caller = sender("10/d")
    problem(post(caller, "/api/notify", {}), 400)
    problem(post(caller, "/api/schedule", EVENT), 400)
    assert post(caller, "/api/schedule?preview=1", EVENT | {"delay": 60}).status_code == 200
    problem(post(caller, "/api/bulk", BULK | {"recipients": ["a b"]}), 400)
    mixed = post(caller, "/api/notify/batch", {"notifications": [EVENT, {}, EVENT, {"type": "t"}]})
    assert (mixed.json()["accepted"], left(mixed)) == (2, 8)
    assert left(post(caller, "/api/notify/batch", {"notifications": [{}]})) == 8


def test_a_batch_that_could_never_pass_is_no_matter_of_waiting(shards: Shards) -> None:
    caller = sender("2/s")
    fields = problem(batch(caller, "alice", "bob", "carol"), 400)
    (error,) = fields["errors"]
    assert error["pointer"] == "/notifications"
    assert error["detail"] == "has 3 valid events; this API key's rate, 2/s, lets at most 2 through at once"
    assert not waiting(shards)
    assert batch(caller, "alice", "a b", "bob").json()["accepted"] == 2


@pytest.mark.parametrize("path", BODIES)
def test_a_replay_costs_nothing_and_is_answered_however_the_rate_stands(path: str) -> None:
    caller, body = sender("2/d"), BODIES[path]
    first = post(caller, path, body, **keyed())
    again = post(caller, path, body, **keyed())
    assert (left(first), left(again)) == (1, 1)
    assert notify(caller).status_code == 202
    problem(notify(caller), 429)
    for replay in (again, post(caller, path, body, **keyed())):
        assert replay.headers["Idempotency-Replayed"] == "true"
        assert (replay.status_code, replay.content) == (first.status_code, first.content)
        assert replay.headers["RateLimit-Policy"] == '"key";q=2;w=86400'
    problem(post(caller, path, body, **keyed("another")), 429)


@pytest.mark.parametrize("path", ["/api/notify", "/api/schedule"])
def test_a_key_of_another_request_is_a_conflict_however_the_rate_stands(path: str) -> None:
    caller, other = sender("1/d"), BODIES[path] | {"title": "Another"}
    post(caller, path, BODIES[path], **keyed())
    problem(notify(caller), 429)
    problem(post(caller, path, other, **keyed()), 422)


def test_a_key_used_for_another_request_costs_nothing() -> None:
    caller = sender("10/d")
    assert left(notify(caller, **keyed())) == 9
    problem(notify(caller, "bob", **keyed()), 422)
    assert left(notify(caller)) == 8


def test_a_batch_is_replayed_though_its_key_may_not_send_as_many_any_more() -> None:
    row, secret = keys.create("shop", rate="100/d")
    first = batch(Caller(secret), "alice", "bob", "carol", **keyed())
    row.rate = "2/d"
    row.save()
    keys.mirror(row)
    again = batch(Caller(secret), "alice", "bob", "carol", **keyed())
    assert (again.status_code, again.content) == (202, first.content)
    problem(batch(Caller(secret), "alice", "bob", "carol", **keyed("another")), 400)


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "a-key"}])
def test_what_a_full_backlog_refuses_costs_nothing(
    make_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    caller = sender("10/d")
    full = make_writer(max_backlog=0)
    monkeypatch.setattr(wiring, "writer", lambda: full)
    # With a key, of a recipient in the record's own shard and of others.
    for number in range(3):
        answer = notify(caller, **{name: f"{value}-{number}" for name, value in headers.items()})
        problem(answer, 503)
        assert "RateLimit" not in answer.headers
    monkeypatch.undo()
    spent = reservations(wiring.shards())
    assert left(notify(caller)) == 9 - spent


def reservations(shards: Shards) -> int:
    """How many requests were begun, and wait to be gone on with."""
    client: Any = shards.client
    return sum(client.get(name)[32:33] == b"P" for name in client.scan_iter("notify:*:once:*"))


def test_a_request_that_stays_reserved_is_paid_for_once(
    two_shards_apart: tuple[str, str], make_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reservation keeps what it took, and whoever goes on with it takes nothing: not twice, and not never."""
    caller, full = sender("2/d"), make_writer(max_backlog=0)
    monkeypatch.setattr(wiring, "writer", lambda: full)
    for _ in range(2):
        problem(batch(caller, *two_shards_apart, **keyed()), 503)
    monkeypatch.undo()
    reserved = reservations(wiring.shards())
    answer = batch(caller, *two_shards_apart, **keyed())
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    assert ("Idempotency-Replayed" in answer.headers) == bool(reserved)
    problem(notify(caller), 429)


def test_what_is_late_costs_nothing(make_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch) -> None:
    caller, late = sender("10/d"), make_writer(patience_ms=-1000)
    monkeypatch.setattr(wiring, "writer", lambda: late)
    problem(notify(caller), 503)
    monkeypatch.undo()
    assert left(notify(caller)) == 9


@pytest.mark.one_shard_is_enough
def test_without_redis_there_is_no_rate_to_ask_and_nothing_is_accepted(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = sender("10/d")
    nowhere = Shards(connect("unix:///nowhere/valkey.sock", timeout_seconds=1), 1)
    monkeypatch.setattr(wiring, "rates", lambda: Rates(nowhere, wiring.clock(), patience_ms=1000))
    # Where the caller was seen before, its rate is taken as the event is accepted.
    writer = Writer(nowhere, max_backlog=1000, clock=wiring.clock(), patience_ms=1000)
    monkeypatch.setattr(wiring, "writer", lambda: writer)
    answer = notify(caller)
    problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    problem(notify(caller, **keyed()), 503)
    assert not waiting(shards)


@pytest.mark.one_shard_is_enough
def test_a_changed_rate_holds_from_the_next_request_on() -> None:
    row, secret = keys.create("shop", rate="1/d")
    assert notify(Caller(secret)).status_code == 202
    problem(notify(Caller(secret)), 429)
    browser = Client()
    browser.force_login(User.objects.create_superuser("ada"))
    changed = {"name": "shop", "scopes": ["send"], "rate": "5/m"}
    assert browser.post(f"/admin/notifications/apikey/{row.pk}/change/", changed).status_code == 302
    answer = notify(Caller(secret))
    assert (answer.status_code, answer.headers["RateLimit-Policy"]) == (202, '"key";q=5;w=60')
    # Behind Redis' back: a worker's next mirroring brings it.
    ApiKey.objects.filter(pk=row.pk).update(rate="7/m")
    keys.mirror_all()
    assert notify(Caller(secret)).headers["RateLimit-Policy"] == '"key";q=7;w=60'


@pytest.mark.one_shard_is_enough
def test_a_session_of_staff_has_no_rate(shards: Shards) -> None:
    browser = Client()
    browser.force_login(User.objects.create_superuser("ada"))
    for answer in (notify(browser), batch(browser, *["alice"] * 1000), batch(browser, *["alice"] * 1000)):
        assert answer.status_code == 202
        assert "RateLimit" not in answer.headers
    assert not list(shards.client.scan_iter("*rate*"))


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BacklogFull("", retry_after=1), 10),
        (IdempotencyConflict(), 10),
        pytest.param(RedisConnectionError(), 9, id="nobody knows whether it was accepted"),
        pytest.param(reserved(), 9, id="the next with its key goes on with it for nothing"),
    ],
)
def test_what_was_taken_for_nothing_is_given_back(error: Exception, expected: int) -> None:
    charge = Charge(Principal("key:1", "a key", rate="10/d"))
    charge.take(1)
    with pytest.raises(type(error)), charge.given_back_on_error():
        raise error
    assert wiring.rates().take("key:1", rates.parse("10/d"), 0).left == expected
