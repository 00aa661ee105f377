"""The short way in: a caller as it was seen before, whom Redis confirms in the one script that accepts.

On one server, with one shard and with several.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from django.test import Client

from conftest import Caller
from notifications import wiring
from notifications.access import keys
from notifications.access.models import ApiKey
from notifications.api import base
from notifications.exceptions import Invalid
from notifications.stream import keys as names
from notifications.stream import scripts
from notifications.stream.client import Shards
from notifications.tests.test_api import problem
from notifications.tests.test_rates import left

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.one_shard_is_enough,
    pytest.mark.not_on_a_cluster("one script admits and accepts where both are of one server"),
]

EVENT = {"recipient": "alice", "type": "t", "title": "t"}
TELLING_NOTHING = {"Date", "Location", "RateLimit", "X-Request-ID"}


def post(caller: Client, body: Any = EVENT, path: str = "/api/notify", **headers: str) -> Any:
    return caller.post(path, body, content_type="application/json", headers=headers)


@pytest.fixture(params=[1, 4], ids=["1 shard", "4 shards"], autouse=True)
def sharded(request: pytest.FixtureRequest) -> Iterator[Shards]:
    """The tests' Redis as one of so many shards."""
    many = Shards(wiring.shards().client, request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring, "shards", lambda: many)
        wiring.writer.cache_clear()
        yield many
    wiring.writer.cache_clear()


@pytest.fixture
def scripts_run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scripts that were run since the test began."""
    names_run: list[str] = []
    run = scripts.run

    def noted(client: Any, name: str, *arguments: Any) -> Any:
        names_run.append(name)
        return run(client, name, *arguments)

    monkeypatch.setattr(scripts, "run", noted)
    return names_run


def seen(rate: str = "10/d") -> tuple[ApiKey, Caller]:
    """A key that this process has seen, with one event taken from its rate."""
    key, secret = keys.create("shop", ["send"], rate)
    caller = Caller(secret)
    assert post(caller).status_code == 202
    return key, caller


def accepted(sharded: Shards) -> int:
    return sum(int(sharded.client.xlen(names.lane(shard, "live"))) for shard in sharded.each())


def test_who_was_seen_before_costs_redis_one_script(scripts_run: list[str]) -> None:
    _, caller = seen()
    assert scripts_run == ["rate", "accept"]
    assert post(caller, **{"Idempotency-Key": "k"}).status_code == 202
    assert post(caller, {"notifications": [EVENT, EVENT]}, "/api/notify/batch").status_code == 202
    assert scripts_run[2:] == ["admit", "admit"]


@pytest.mark.parametrize("path", ["/api/notify", "/api/notify/batch"])
def test_a_revoked_key_that_was_seen_before_opens_nothing(path: str, sharded: Shards) -> None:
    key, caller = seen()
    keys.revoke(key)
    body: Any = EVENT if path == "/api/notify" else {"notifications": [EVENT]}
    problem(post(caller, body, path), 401)
    problem(post(caller, body, path), 401)
    assert accepted(sharded) == 1
    assert wiring.shards().client.get(names.rate(f"key:{key.pk}", "10/d")) is not None, "nothing more was taken"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({}, {}),
        ({**EVENT, "body": "x" * base.MAX_SINGLE_BYTES}, {}),
        (EVENT, {"Idempotency-Key": ""}),
        (EVENT, {"Content-Type": "text/plain"}),
    ],
    ids=["an invalid event", "a body that is too large", "a key that is none", "no JSON"],
)
def test_what_is_wrong_with_a_request_is_told_to_known_callers_only(body: Any, headers: dict[str, str]) -> None:
    key, caller = seen()
    assert post(caller, body, **headers).status_code in {400, 413, 415}
    keys.revoke(key)
    problem(post(caller, body, **headers), 401)


def test_another_requests_idempotency_key_tells_a_revoked_caller_nothing() -> None:
    key, caller = seen()
    assert post(caller, **{"Idempotency-Key": "k"}).status_code == 202
    assert post(caller, {**EVENT, "title": "Another"}, **{"Idempotency-Key": "k"}).status_code == 422
    keys.revoke(key)
    for title in ("t", "Another"):
        problem(post(caller, {**EVENT, "title": title}, **{"Idempotency-Key": "k"}), 401)


def test_a_scope_that_is_taken_away_or_given_holds_from_the_next_request_on() -> None:
    key, caller = seen()
    for scopes, expected in ((["read"], 403), (["send"], 202), (["read"], 403)):
        key.scopes = scopes
        keys.mirror(key)
        assert post(caller).status_code == expected


def test_a_key_whose_mirror_was_lost_is_looked_up_again(scripts_run: list[str]) -> None:
    _, caller = seen()
    wiring.shards().client.flushall()
    assert [post(caller).status_code for _ in range(2)] == [202, 202]
    assert scripts_run[2:] == ["admit", "rate", "accept", "admit"]


def test_a_batch_for_many_is_accepted_at_once_and_once(sharded: Shards, scripts_run: list[str]) -> None:
    _, caller = seen("100/d")
    batch = {"notifications": [{**EVENT, "recipient": f"user-{number}"} for number in range(20)]}
    first = post(caller, batch, "/api/notify/batch", **{"Idempotency-Key": "k"})
    again = post(caller, batch, "/api/notify/batch", **{"Idempotency-Key": "k"})
    assert scripts_run[2:] == ["admit", "admit"]
    assert (first.json()["accepted"], first.content) == (20, again.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (left(first), left(again)) == (79, 79)
    assert accepted(sharded) == 21
    counted = [sharded.client.hget(names.counters(shard), "accepted") for shard in sharded.each()]
    assert sum(int(count or 0) for count in counted) == 21
    for result in first.json()["results"]:
        assert sharded.client.hexists(names.inflight(sharded.of_id(result["id"])), result["id"])


def test_what_one_shard_has_no_room_for_no_other_takes(sharded: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    _, caller = seen("100/d")
    monkeypatch.setattr(wiring.writer(), "_shard_backlog", 5)
    crowd = [*(f"user-{number}" for number in range(3)), *["alice"] * 6]
    refused = post(caller, {"notifications": [{**EVENT, "recipient": who} for who in crowd]}, "/api/notify/batch")
    problem(refused, 503)
    assert accepted(sharded) == 1
    again = post(caller)
    assert (again.status_code, left(again)) == (202, 98)


def test_of_more_keys_than_it_remembers_a_process_forgets_none_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MOST_REMEMBERED", 2)
    callers = [seen()[1] for _ in range(5)]
    assert [post(caller).status_code for caller in callers] == [202] * 5
    assert len(keys._remembered) <= 2


def test_where_several_servers_have_to_be_asked_each_is_asked(settings: Any, scripts_run: list[str]) -> None:
    _, caller = seen()
    settings.NOTIFY = msgspec.structs.replace(settings.NOTIFY, recipient_rate="10/d")
    assert post(caller).status_code == 202
    assert scripts_run[2:] == ["rate", "rate", "accept"]


def test_an_error_of_ours_on_the_short_way_is_told_once_and_accepts_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, sharded: Shards
) -> None:
    _, caller = seen()
    monkeypatch.setattr("notifications.api.accepting._receipt", _fail)
    problem(post(caller), 500)
    assert accepted(sharded) == 2
    monkeypatch.setattr("notifications.intake.parse", _invalid)
    problem(post(caller), 400)


def test_a_program_is_answered_as_a_browser_is() -> None:
    _, caller = seen()
    for body, expected in ((EVENT, 202), ({}, 400)):
        plain = post(caller, body)
        browser = post(caller, body, Cookie="theme=dark")
        assert plain.status_code == browser.status_code == expected
        assert _told(plain) == _told(browser)


def _told(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in TELLING_NOTHING}


def _fail(*_: object) -> None:
    raise ZeroDivisionError


def _invalid(*_: object, **__: object) -> None:
    raise Invalid([])
