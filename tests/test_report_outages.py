"""Reports while the server that takes them is away."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import structlog
from django.conf import settings

from notifications import reporting, wiring
from notifications.reporting import Reporter
from notify_project.local.valkey import Valkey
from tests.handles import ServerHandle
from tests.stack import wait_until

pytestmark = pytest.mark.one_shard_is_enough

Start = Callable[..., Reporter]


@pytest.fixture
def own_valkey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerHandle]:
    """A server that may be killed and frozen, which this process uses for its reports."""
    server = ServerHandle(Valkey(tmp_path / "valkey"))
    server.start()
    monkeypatch.setattr(settings, "NOTIFY", msgspec.structs.replace(settings.NOTIFY, redis_url=server.url))
    yield server
    server.stop()
    server.remove()


@pytest.fixture
def start() -> Iterator[Start]:
    """Start to tell; ends with the test."""
    started: list[Reporter] = []

    def begin(is_stuck: Callable[[], bool] = lambda: False) -> Reporter:
        reporter = Reporter("worker", "w", is_stuck=is_stuck)
        started.append(reporter)
        reporter.start()
        return reporter

    yield begin
    for reporter in started:
        reporter.stop()


def test_an_outage_drops_reports_with_one_line_and_ends_with_another(
    own_valkey: ServerHandle, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "REPORT_SECONDS", 0.02)
    told: list[float] = []

    def tells() -> bool:
        told.append(time.monotonic())
        return False

    with structlog.testing.capture_logs() as lines:
        start(is_stuck=tells)
        own_valkey.kill()
        wait_until(lambda: lines)
        dropped = len(told)
        wait_until(lambda: len(told) > dropped + 5)
        own_valkey.start()
        wait_until(lambda: len(lines) > 1)
    assert [line["event"] for line in lines] == ["reporting.dropped", "reporting.restored"]


def test_a_frozen_server_keeps_nobody_from_stopping(own_valkey: ServerHandle, start: Start) -> None:
    reporter = start()
    own_valkey.freeze()
    began = time.monotonic()
    reporter.stop()
    assert time.monotonic() - began < 2 * wiring.REPORT_PATIENCE_SECONDS + 1
    own_valkey.thaw()
