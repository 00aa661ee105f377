"""Fixtures for every test: clean servers, and callers of the API."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from django.conf import settings
from django.test import Client
from whitenoise.middleware import WhiteNoiseMiddleware

from notifications import events, wiring
from notifications.access import keys
from notifications.access.principal import SCOPES, Scope
from notifications.events import Event
from notifications.stream.client import Shards
from notifications.stream.clock import ServerClock
from notifications.stream.keys import Lane
from notifications.stream.writer import Writer
from tests.servers import CLUSTER

# On a loaded machine the first example may take seconds; that says nothing of the code under test.
hypothesis.settings.register_profile("notify", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("notify")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """First the files whose tests take long: several run at a time, and what is short fills the gaps at the end."""
    for item in items if os.environ.get(CLUSTER) else ():
        if mark := item.get_closest_marker("not_on_a_cluster"):
            item.add_marker(pytest.mark.skip(reason=f"on a cluster: {mark.args[0]}"))
    crossing = config.rootpath / "tests"
    items.sort(key=lambda item: crossing not in item.path.parents)


@pytest.fixture(scope="session", autouse=True)
def _static_files_looked_up_once() -> Iterator[None]:
    """Each of Django's test clients makes the middleware anew, and that looks at every static file: once is enough."""
    look_up = WhiteNoiseMiddleware.add_files_from_finders
    found: dict[str, Any] = {}

    def look_up_once(self: WhiteNoiseMiddleware) -> None:
        if not found:
            look_up(self)
            found.update(self.files)
        self.files = dict(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", look_up_once)
        yield


@pytest.fixture(autouse=True)
def _clean_redis() -> None:
    """Each test begins with an empty Valkey; it is the tests' own (tests/servers.py)."""
    wiring.shards().client.flushall()


@pytest.fixture
def shards() -> Shards:
    """Redis as the code under test sees it."""
    return wiring.patient_shards()


@pytest.fixture
def make_writer(shards: Shards) -> Callable[..., Writer]:
    """A way into a lane, past the door."""

    def make(max_backlog: int = 10**6, patience_ms: int = 5000, lane: Lane = "live") -> Writer:
        clock = ServerClock(shards.client)
        return Writer(shards, max_backlog=max_backlog, clock=clock, patience_ms=patience_ms, lane=lane)

    return make


@pytest.fixture
def two_shards_apart() -> tuple[str, str]:
    """Two recipients, in different shards where there is more than one."""
    first = "alice"
    others = (f"bob-{number}" for number in range(1000))
    if settings.NOTIFY.shards == 1:
        return first, next(others)
    home = wiring.shards().of(first)
    return first, next(other for other in others if wiring.shards().of(other) != home)


@pytest.fixture
def make_event() -> Callable[..., Event]:
    """An accepted event; any field may be named."""

    def make(recipient: str = "alice", **fields: object) -> Event:
        values = {
            "id": events.new_id(recipient),
            "recipient": recipient,
            "type": "test.event",
            "title": "A title",
            **fields,
        }
        return Event(**values)  # type: ignore[arg-type]

    return make


class Caller(Client):
    """Django's test client, as a program with a bearer token."""

    def __init__(self, token: str) -> None:
        super().__init__(headers={"Authorization": f"Bearer {token}"}, raise_request_exception=False)


@pytest.fixture
def producer(db: None) -> Caller:
    """A producer with every scope."""
    return Caller(keys.create("tests")[1])


@pytest.fixture
def caller_with(db: None) -> Callable[..., Caller]:
    """Make a producer with some scopes."""

    def make(*scopes: Scope) -> Caller:
        return Caller(keys.create("tests", scopes or SCOPES)[1])

    return make
