"""Who may call what: keys, tokens, sessions, and the answers to everybody else."""

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from redis.exceptions import ConnectionError as RedisConnectionError

from conftest import Caller
from notifications import wiring
from notifications.access import keys, tokens
from notifications.access.models import ApiKey
from notifications.stream import keys as names
from notifications.stream import scripts

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

EVENT = {"recipient": "alice", "type": "t", "title": "t"}


def status(client: Client, method: str, path: str) -> int:
    body = EVENT if path == "/api/notify" else {"all": True} if path.endswith("/read") else {}
    call = getattr(client, method)
    if method == "get":
        return int(call(path).status_code)
    return int(call(path, body, content_type="application/json").status_code)


ROUTES = [
    ("post", "/api/notify", "send"),
    ("get", "/api/notifications?recipient=alice", "read"),
    ("get", "/api/recipients/alice/unread", "read"),
    ("post", "/api/recipients/alice/read", "manage"),
    ("post", "/api/recipients/alice/token", "send"),
]
OWN = {"/api/notifications?recipient=alice", "/api/recipients/alice/unread", "/api/recipients/alice/read"}


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_each_route_takes_its_scope_and_no_other(
    method: str, path: str, scope: str, caller_with: Callable[..., Caller]
) -> None:
    for held in ("send", "read", "manage"):
        expected = {True: {200, 202}, False: {403}}[held == scope]
        assert status(caller_with(held), method, path) in expected


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_a_recipients_token_opens_that_inbox_and_nothing_else(method: str, path: str, scope: str) -> None:
    mine, others = Caller(tokens.issue("alice", 60)[0]), Caller(tokens.issue("bob", 60)[0])
    assert status(mine, method, path) == (200 if path in OWN else 403)
    assert status(others, method, path) == 403


def forged(**changes: Any) -> str:
    claims = {"sub": "alice", "aud": tokens.AUDIENCE, "exp": int(time.time()) + 60} | changes
    return jwt.encode(claims, tokens._signing_key(settings.SECRET_KEY), algorithm="HS256")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer nk_nonsense",
        "Bearer nk_" + "a" * 38,
        pytest.param("Bearer " + keys.new_secret(), id="a key that nobody made"),
        "Bearer not.a.token",
        "Bearer " + jwt.encode({"sub": "alice", "aud": tokens.AUDIENCE, "exp": 2**33}, "", algorithm="none"),
        "Bearer " + jwt.encode({"sub": "alice", "aud": tokens.AUDIENCE, "exp": 2**33}, "x" * 32, algorithm="HS256"),
    ],
)
def test_who_is_not_known_is_told_so_and_how_to_be(header: str) -> None:
    client = Client(headers={"Authorization": header} if header else {})
    for method, path, _ in ROUTES:
        assert status(client, method, path) == 401
    answer = client.get("/api/notifications")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_expired_foreign_and_incomplete_tokens_are_not_valid() -> None:
    assert tokens.verify(forged()) is not None
    assert tokens.verify(forged(exp=int(time.time()) - 1)) is None
    assert tokens.verify(forged(aud="somebody.else")) is None
    assert tokens.verify(forged(sub=None)) is None
    expired, _ = tokens.issue("alice", -1)
    assert (tokens.verify(expired), tokens.has_expired(expired)) == (None, True)
    signed_by_another = jwt.encode({"sub": "a", "aud": tokens.AUDIENCE, "exp": 1}, "x" * 32, algorithm="HS256")
    assert not tokens.has_expired(signed_by_another)
    assert not tokens.has_expired("nonsense")


def test_a_token_signed_with_the_last_secret_still_opens(settings: Any) -> None:
    token, _ = tokens.issue("alice", 60)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 40, [settings.SECRET_KEY]
    assert tokens.verify(token) is not None
    settings.SECRET_KEY_FALLBACKS = []
    assert tokens.verify(token) is None


def test_only_the_digest_of_a_key_is_kept_anywhere() -> None:
    key, secret = keys.create("a producer", ["send"])
    client: Any = wiring.shards().client
    assert secret not in str(vars(key))
    for name in client.scan_iter():
        assert secret.encode() not in name + client.get(name)
    assert keys.find(secret) == keys.Grant(key.pk, "a producer", ["send"], "1000/s")


def test_a_revoked_key_is_refused_at_once_and_stays_so_whatever_mirrors_it() -> None:
    key, secret = keys.create("a producer")
    read_before = ApiKey.objects.get(pk=key.pk)
    assert status(Caller(secret), "post", "/api/notify") == 202
    keys.revoke(key)
    assert status(Caller(secret), "post", "/api/notify") == 401
    keys._mirror_if_absent(read_before)
    assert status(Caller(secret), "post", "/api/notify") == 401
    keys.mirror_all()
    assert status(Caller(secret), "post", "/api/notify") == 401
    wiring.shards().client.flushall()
    assert status(Caller(secret), "post", "/api/notify") == 401


def test_a_revocation_that_never_reached_redis_does_so_with_the_next_mirroring() -> None:
    key, secret = keys.create("a producer")
    ApiKey.objects.filter(pk=key.pk).update(revoked_at="2026-01-01T00:00:00Z")
    assert keys.find(secret) is not None
    keys.mirror_all()
    assert keys.find(secret) is None


def test_what_the_two_servers_disagree_on_is_mended_by_the_next_mirroring() -> None:
    key, secret = keys.create("a producer", ["send", "read"])
    ApiKey.objects.filter(pk=key.pk).update(scopes=["read"])
    keys.mirror_all()
    assert keys.find(secret) == keys.Grant(key.pk, "a producer", ["read"], "1000/s")


def test_a_revocation_between_the_look_and_the_mending_holds(monkeypatch: Any) -> None:
    key, secret = keys.create("a producer")
    ApiKey.objects.filter(pk=key.pk).update(rate="1/s")
    stale = ApiKey.objects.get(pk=key.pk)
    run = scripts.run

    def revoke_first(*arguments: Any) -> Any:
        keys.revoke(key)
        return run(*arguments)

    monkeypatch.setattr(scripts, "run", revoke_first)
    keys._mend(stale)
    assert keys.find(secret) is None


def test_a_key_that_redis_lost_is_found_in_postgresql_once_and_mirrored_again(
    django_assert_num_queries: Any,
) -> None:
    _, secret = keys.create("a producer")
    wiring.shards().client.flushall()
    with django_assert_num_queries(1):
        assert keys.find(secret) is not None
        assert keys.find(secret) is not None


def test_a_mistyped_key_costs_no_server_a_look(django_assert_num_queries: Any, monkeypatch: Any) -> None:
    def ask(*_: object) -> None:
        raise AssertionError("Redis was asked")

    monkeypatch.setattr(type(wiring.shards().client), "get", ask)
    _, secret = keys.create("a producer")
    swapped = secret[:5] + secret[6] + secret[5] + secret[7:]
    with django_assert_num_queries(0):
        for wrong in (secret[:-1], secret + "x", "nk_" + "é" * 38, "nk_", swapped if swapped != secret else "nk_x"):
            assert keys.find(wrong) is None


def test_keys_that_nobody_can_look_up_are_not_called_wrong(monkeypatch: Any) -> None:
    """Redis flushed and PostgreSQL down at once: 503, not 401, as a producer throws its key away on a 401."""
    _, secret = keys.create("a producer")
    wiring.shards().client.flushall()

    def down(_: str) -> None:
        raise OperationalError("down")

    monkeypatch.setattr(keys, "_from_database", down)
    answer = Caller(secret).post("/api/notify", EVENT, content_type="application/json")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.not_on_a_cluster("who calls is looked up in PostgreSQL while a node is away")
def test_without_redis_a_producer_is_told_to_come_back(monkeypatch: Any, producer: Caller) -> None:
    def gone(*_: object) -> None:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(type(wiring.shards().client), "get", gone)
    answer = producer.post("/api/notify", EVENT, content_type="application/json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_session_counts_for_staff_only_and_writes_need_the_csrf_token() -> None:
    staff = User.objects.create_user("staff", is_staff=True)
    visitor, careless, staff_client = Client(), Client(enforce_csrf_checks=True), Client()
    visitor.force_login(User.objects.create_user("visitor"))
    careless.force_login(staff)
    staff_client.force_login(staff)
    for method, path, _ in ROUTES:
        assert status(visitor, method, path) == 403
        assert status(staff_client, method, path) in {200, 202}
    assert status(careless, "post", "/api/notify") == 403
    token = careless.get("/admin/password_change/").cookies["csrftoken"].value
    careful = careless.post("/api/notify", EVENT, content_type="application/json", headers={"X-CSRFToken": token})
    assert careful.status_code == 202


def test_a_bearer_token_decides_alone_even_beside_a_session() -> None:
    client = Client(headers={"Authorization": "Bearer " + keys.new_secret()})
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert status(client, "post", "/api/notify") == 401


def test_a_keys_mirror_does_not_expire(shards: Any) -> None:
    key, _ = keys.create("a producer")
    assert shards.client.ttl(names.api_key(key.digest)) == -1
