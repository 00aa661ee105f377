"""Looks at what may not answer: how often, by how many threads, and what is known meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from notify_project.dashboard import looks
from notify_project.dashboard.looks import Look
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
