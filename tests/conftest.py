"""Deployments for end-to-end tests."""

from collections.abc import Iterator

import pytest

from tests.api import Api
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
