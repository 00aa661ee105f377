"""Fixtures for the dead letters' tests."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from dlq.tests.browsing import signed_in
from notifications import wiring
from notifications.stream.client import Shards, connect
from notifications.stream.clock import ServerClock
from notifications.stream.writer import Writer


@pytest.fixture
def staff() -> Client:
    """A superuser's browser."""
    return signed_in("ada")


@pytest.fixture
def onlooker() -> Client:
    """The browser of somebody who may look at letters, and no more."""
    user = User.objects.create_user("eve", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_deadletter"))
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.fixture
def redis_is_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on nobody answers at Redis' address."""
    nowhere = Shards(connect("unix:///nowhere/valkey.sock", timeout_seconds=1), 1)
    writer = Writer(nowhere, max_backlog=10**6, clock=ServerClock(nowhere.client), patience_ms=1000)

    def leave() -> None:
        monkeypatch.setattr(wiring, "shards", lambda: nowhere)
        monkeypatch.setattr(wiring, "writer", lambda *_: writer)

    return leave
