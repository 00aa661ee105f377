"""Looks at what may not answer: how often, by how many threads, and what is known meanwhile."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import psycopg
import pytest
from django.db import connection, connections
from structlog.testing import capture_logs

from bulk.models import BulkJob
from bulk.tests.helpers import make_job
from notifications import process, wiring
from notifications.stream import keys, register
from notifications.stream.client import Shards
from notifications.stream.register import Register
from notify_project.dashboard import kept, looks, servers
from notify_project.dashboard.judge import judge
from notify_project.dashboard.looks import Look
from notify_project.dashboard.snapshot import Snapshot
from notify_project.dashboard.ticker import _Shown as Shown
from notify_project.dashboard.trend import Trend
from tests.stack import wait_until

pytestmark = pytest.mark.one_shard_is_enough


class Server:
    """Something to look at, that answers, fails or stands still as it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False
        self.goes = threading.Event()
        self.goes.set()

    def answer(self) -> int:
        """How often it was asked."""
        self.asked += 1
        self.goes.wait(20)
        if self.away:
            raise ConnectionError("away")
        return self.asked

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """For the time of a block, it answers nothing."""
        self.goes.clear()
        try:
            yield
        finally:
            self.goes.set()


def looked(seen: Sequence[Look[Any]]) -> bool:
    """Look once more, for a condition that is waited for."""
    looks.wait(seen, 3)
    return True


def test_however_many_ask_a_server_is_asked_once_in_its_time() -> None:
    server = Server()
    look = Look("test", server.answer, every=60, limit=1)
    for _ in range(50):
        looks.wait([look], 5)
    assert (look.value, server.asked, look.down) == (1, 1, False)


def test_who_asks_in_step_with_a_look_gets_every_one() -> None:
    server = Server()
    look = Look("test", server.answer, every=1, limit=1)
    looks.wait([look], 5)
    wait_until(lambda: time.monotonic() - look.seen_at > 0.6)
    assert look.begin() is None, "much too early"
    wait_until(lambda: time.monotonic() - look.seen_at > 0.85)
    looks.wait([look], 5)
    assert server.asked == 2


def test_a_server_that_stands_still_is_down_soon_and_costs_one_thread() -> None:
    server = Server()
    look = Look("test", server.answer, every=0.01, limit=0.1)
    looks.wait([look], 5)
    with server.standing_still():
        wait_until(lambda: look.begin() and server.asked == 2)
        wait_until(lambda: look.down, timeout=2)
        assert look.value is None
        assert len({look.begin() for _ in range(20)}) == 1, "a second look waits behind the first"
        assert server.asked == 2
    wait_until(lambda: look.begin() and not look.down)
    wait_until(lambda: look.begin() and (look.value or 0) > 2)


def test_a_server_that_is_away_is_told_of_once_when_it_goes_and_once_when_it_comes() -> None:
    server = Server()
    look = Look("test", server.answer, every=0.01, limit=1)
    with capture_logs() as lines:
        server.away = True
        wait_until(lambda: look.begin() and server.asked >= 5)
        assert look.down
        assert look.value is None
        server.away = False
        wait_until(lambda: look.begin() and look.value)
    assert [line["event"] for line in lines] == ["dashboard.no_answer", "dashboard.answers_again"]
    assert look.answers_for < 20


def test_what_was_seen_long_ago_is_not_known_any_more() -> None:
    server = Server()
    look = Look("test", server.answer, every=0.01, limit=0.01)
    looks.wait([look], 5)
    wait_until(lambda: look.value is None, timeout=2)
    assert not look.down


def test_a_look_that_takes_long_is_taken_less_often() -> None:
    look = Look("test", lambda: time.sleep(0.05), every=0.01, limit=1)
    looks.wait([look], 5)
    ended = look.seen_at
    wait_until(lambda: look.begin() or look.seen_at != ended, timeout=5)
    looks.wait([look], 5)
    assert look.seen_at - ended > 0.4


def test_a_failure_of_long_ago_says_nothing_of_now() -> None:
    server = Server()
    server.away = True
    look = Look("test", server.answer, every=0.01, limit=0.1)
    looks.wait([look], 5)
    assert look.down
    wait_until(lambda: not look.down, timeout=2, message="it is down for as long as nobody looks")
    assert look.value is None


def test_what_was_seen_last_is_good_enough_where_that_was_said() -> None:
    server = Server()
    look = Look("test", server.answer, every=0.01, limit=0.05, lasting=60)
    looks.wait([look], 5)
    with server.standing_still():
        wait_until(lambda: look.begin() and server.asked == 2)
        wait_until(lambda: look.down, timeout=2)
        assert look.value == 1
    server.away = True
    wait_until(lambda: look.begin() and look.value is None, message="a failure is no delay")


ENDS_WHILE_IT_LOOKS = """
import threading
from notify_project.dashboard.looks import Look
began = threading.Event()
Look("test", lambda: (began.set(), threading.Event().wait(60)), every=1, limit=1).begin()
assert began.wait(10)
"""


def test_a_look_that_hangs_keeps_no_process_from_ending() -> None:
    subprocess.run([sys.executable, "-c", ENDS_WHILE_IT_LOOKS], check=True, timeout=20)


@pytest.fixture
def few_connections() -> Iterator[Callable[[], None]]:
    """A function that takes every connection that PostgreSQL has left; they are given back after the test."""
    with ExitStack() as held:
        parameters = {**connection.get_connection_params(), "autocommit": True}
        for unwanted in ("cursor_factory", "context", "prepare_threshold", "pool"):
            parameters.pop(unwanted, None)

        def take_all() -> None:
            with suppress(psycopg.OperationalError):
                while True:
                    held.enter_context(closing(psycopg.connect(**parameters)))

        yield take_all


@pytest.mark.django_db(transaction=True)
def test_a_postgresql_without_a_free_connection_answers(few_connections: Callable[[], None]) -> None:
    assert servers.look_at_postgresql().is_full is False
    few_connections()
    seen = servers.look_at_postgresql()
    assert seen.is_full
    told = servers.postgresql(seen, None)
    assert (told.state, told.latency_ms, told.detail) == ("slow", None, "no free connection")


@pytest.mark.django_db(transaction=True)
def test_a_size_that_takes_long_makes_no_server_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "ASK_POSTGRESQL", "SELECT 1, 2, 3, 4 FROM pg_sleep(4)")
    seen = Snapshot(wiring.shards())
    wait_until(lambda: looked(seen.all) and seen.holdings.down)
    assert seen.holdings.value is None
    assert not seen.facts().postgresql_down
    assert seen.servers()[1].state == "ok"
    assert seen.servers()[1].version


@pytest.mark.django_db(transaction=True)
def test_a_postgresql_that_stores_is_not_down(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> Any:
        raise ConnectionError

    monkeypatch.setattr(servers, "look_at_postgresql", refused)
    seen = Snapshot(shards)
    looks.wait(seen.all, 5)
    assert seen.facts().postgresql_down
    shards.client.hincrby("notify:{0}:counters", "stored", 1)
    wait_until(lambda: looked([seen.gauges]) and not seen.facts().postgresql_down, timeout=5)
    assert (seen.servers()[1].state, seen.servers()[1].detail) == ("slow", "answers late")
    wait_until(lambda: looked([seen.gauges]) and seen.facts().postgresql_down, timeout=10)


def test_a_limit_of_memory_is_seen_as_far_as_it_refuses_anything(shards: Shards) -> None:
    client = shards.client
    assert servers.look_at_redis(client).memory is None
    try:
        client.config_set("maxmemory", "1mb")
        assert (servers.look_at_redis(client).memory or 0) > 0.5
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert servers.look_at_redis(client).memory is None
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "0")


@pytest.mark.django_db(transaction=True)
def test_nobody_is_missed_in_a_register_that_was_emptied(shards: Shards) -> None:
    seen = Snapshot(shards)

    def tell(kind: str, name: str) -> None:
        about = register.Report(kind=kind, host="host", pid=1, handled=0, rate=0.0, rss_bytes=0)
        Register(shards, name).report(about, {}, age_ms=60_000)

    def workers() -> tuple[int | None, str]:
        tell("web", process.consumer_name())
        looks.wait(seen.all, 5)
        found = seen.facts()
        return found.running("worker"), judge(found, Trend())["workers"].state

    tell("worker", "host:2:worker")
    assert workers() == (1, "idle")
    shards.client.flushall()
    wait_until(lambda: workers() == (None, "idle"), timeout=4, message="it was believed at once")
    wait_until(lambda: workers() == (0, "down"), timeout=15, message="it was never believed")


@pytest.mark.django_db(transaction=True)
def test_jobs_that_are_paused_hide_none_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_JOBS", 2)
    for status in (BulkJob.Status.PAUSED, BulkJob.Status.PAUSED, BulkJob.Status.QUEUED):
        make_job(["alice"], status=status)
    jobs = kept.look().jobs
    connections.close_all()
    assert (jobs.paused, jobs.queued) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_the_first_point_that_there_is_comes_to_whoever_watched_it(shards: Shards) -> None:
    seen, told = Snapshot(shards), list[dict[str, Any]]()
    shown = Shown(seen, lambda frame: told.append(json.loads(frame)))
    looks.wait(seen.all, 5)
    shown.tell()
    client: Any = shards.client
    present = int(client.time()[0]) // register.SPAN_SECONDS
    for timespan, accepted in ((present - 1, 0), (present, 500)):
        client.hset(keys.timespan(timespan), "totals", f"{timespan * register.SPAN_MS} {accepted} 0 0 0 0")
    wait_until(lambda: looked(seen.all) and seen.slices.value)
    shown.tell()
    assert [frame["accepted"] for frame in told if frame["type"] == "point"] == [500]
