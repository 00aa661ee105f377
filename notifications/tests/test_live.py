"""Who may open a socket, and whose turn it is: what needs no socket to be told."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from notifications.live.consumers import bearer, origin_allowed
from notifications.live.hub import Hub
from notifications.reporting import Sockets

pytestmark = pytest.mark.one_shard_is_enough

HOST = "notify.example.org"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("", True),
        (f"https://{HOST}", True),
        (f"https://{HOST.upper()}", True),
        (f"https://{HOST}:8443", False),
        ("https://app.example.org", True),
        ("http://app.example.org", False),
        ("https://evil.example", False),
        (f"https://evil.example/{HOST}", False),
        (f"https://{HOST}.evil.example", False),
        ("null", False),
        ("nonsense", False),
        ("http://[", False),
    ],
)
def test_a_page_is_let_in_from_our_own_host_or_an_origin_that_was_named(
    settings: Any, origin: str, *, allowed: bool
) -> None:
    settings.ALLOWED_HOSTS = [HOST]
    settings.NOTIFY_ALLOWED_ORIGINS = ["https://app.example.org"]
    assert origin_allowed(origin, HOST) is allowed


def test_a_host_that_is_not_ours_is_not_our_own_however_it_is_claimed(settings: Any) -> None:
    """DNS rebinding: a page of somebody else, at a name of theirs that leads to us."""
    settings.ALLOWED_HOSTS = [HOST]
    assert not origin_allowed("https://evil.example", "evil.example")
    settings.NOTIFY_ALLOWED_ORIGINS = ["*"]
    assert origin_allowed("https://evil.example", HOST)


@pytest.mark.parametrize(
    ("subprotocols", "authorization", "token"),
    [
        (["notify.v1", "bearer.a.b.c"], "", "a.b.c"),
        (["notify.v1"], "Bearer a.b.c", "a.b.c"),
        ([], "bearer  a.b.c ", "a.b.c"),
        (["bearer.first"], "Bearer second", "first"),
        (["notify.v1"], "Basic a.b.c", ""),
        ([], "", ""),
    ],
)
def test_a_token_is_found_where_a_client_may_put_it(subprotocols: list[str], authorization: str, token: str) -> None:
    assert bearer(subprotocols, authorization) == token


def test_everybody_has_a_turn_in_each_heartbeat_and_nobody_is_left_out_after_a_slow_one(settings: Any) -> None:
    heartbeat = settings.NOTIFY.heartbeat_seconds
    turns = {second: {f"r{second}"} for second in range(heartbeat)}
    hub: Any = SimpleNamespace(_turns=turns)

    def due(done: int, now: int) -> tuple[str, ...]:
        return Hub._due(hub, done, now)

    assert sorted(who for second in range(heartbeat) for who in due(second, second + 1)) == sorted(
        f"r{second}" for second in range(heartbeat)
    )
    assert len(due(100, 104)) == 4
    assert len(due(100, 100 + 10 * heartbeat)) == heartbeat
    assert due(100, 100) == ()


class Loop:
    """What stands for an event loop as a key."""


@contextmanager
def in_turns_as_short_as_can_be() -> Iterator[None]:
    """Threads that meet where they seldom do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def test_what_is_held_is_told_while_another_thread_makes_its_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    hubs: Any = WeakKeyDictionary()
    monkeypatch.setattr(Hub, "_of_loop", hubs)
    hub, loops, over = SimpleNamespace(counts=lambda: Sockets(2, 1, 3)), [Loop() for _ in range(400)], threading.Event()
    hubs |= dict.fromkeys(loops, hub)

    def come_and_go() -> None:
        while not over.is_set():
            for loop in loops[200:]:
                del hubs[loop]
            for loop in loops[200:]:
                hubs[loop] = hub

    other = threading.Thread(target=come_and_go)
    with in_turns_as_short_as_can_be():
        other.start()
        try:
            found = [Hub.held().recipients for _ in range(500)]
        finally:
            over.set()
            other.join()
    assert 200 <= min(found) <= max(found) <= 400
    assert Hub.held() == Sockets(800, 400, 1200)


def test_without_a_hub_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "_of_loop", WeakKeyDictionary())
    assert Hub.held() == Sockets(0, 0, 0)
