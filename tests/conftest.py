"""Deployments for end-to-end tests, and a browser to look at them."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, StorageState

from tests.api import Api
from tests.browser import Complaints, chromium
from tests.front import signed_in
from tests.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers, one web and one worker, shared by a module's tests: each uses recipients of its own."""
    with Stack(tmp_path_factory.mktemp("stack"), NOTIFY_HEARTBEAT_SECONDS="2") as running:
        running.start_web()
        running.start_worker()
        yield running


@pytest.fixture
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers for one test alone, which starts the processes and may kill whatever it likes."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    """A producer of the module's deployment."""
    with Api(stack) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for a module. No longer: while Playwright runs, nothing else may have an event loop."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def session(stack: Stack) -> StorageState:
    """The cookies of a member of staff of the module's deployment."""
    return signed_in(stack)


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """What goes wrong in tabs; the test fails where that was not its point."""
    heard = Complaints()
    yield heard
    assert heard.unexpected() == []
