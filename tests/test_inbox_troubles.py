"""The inbox when things go wrong or come in an unlucky order: what is shown, said and done next."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, StorageState, expect

from tests.browser import Complaints
from tests.front import FrontPage, ScriptedServer
from tests.stack import Stack

pytestmark = pytest.mark.one_shard_is_enough

PAGES = re.compile(r"/api/notifications\?")
MOMENT = "2026-01-31T08:15:00.250Z"
# What the list holds; more push the oldest out.
ROOM = 500


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.start_web()
        yield running


@pytest.fixture
def server(browser: Browser, session: StorageState, stack: Stack) -> Iterator[ScriptedServer]:
    """What says to a tab's sockets what the test tells it to; nothing else may be complained of."""
    context = browser.new_context(storage_state=session, locale="en-GB", timezone_id="Asia/Kolkata")
    context.set_default_timeout(15_000)
    complaints = Complaints()
    yield ScriptedServer(FrontPage(context.new_page(), stack, complaints))
    context.close()
    assert complaints.unexpected() == []


class Pages:
    """Holds what a tab asks of the API's pages until the test answers it."""

    def __init__(self, server: ScriptedServer) -> None:
        self._page = server.tab.page
        self._asked: list[Route] = []
        self._page.route(PAGES, self._hold)

    def answer(self, *seqs: int, more: str | None = None) -> None:
        """Answer the oldest request with these, all of them unread."""
        self._next().fulfill(json={"results": [shown(seq) for seq in seqs], "next": more})

    def fail(self) -> None:
        """Answer the oldest request with an outage."""
        self._next().fulfill(status=503, json={"detail": "PostgreSQL does not answer."})

    def wait(self) -> None:
        """Until something was asked."""
        until(self._page, lambda: bool(self._asked))

    def _hold(self, route: Route) -> None:
        self._asked.append(route)

    def _next(self) -> Route:
        self.wait()
        return self._asked.pop(0)


@pytest.fixture
def pages(server: ScriptedServer) -> Pages:
    return Pages(server)


def until(page: Page, condition: Callable[[], bool]) -> None:
    """Wait by Playwright's own clock: only then does it tell of what happens in the page."""
    for _ in range(500):
        if condition():
            return
        page.wait_for_timeout(20)
    raise AssertionError("it never came")


def shown(seq: int) -> dict[str, Any]:
    """A notification as the API tells it, with its seq for a title."""
    named = {"id": f"id-{seq}", "recipient": "scripted", "seq": seq, "type": "t", "title": str(seq), "body": ""}
    return {**named, "data": {}, "accepted_at": MOMENT, "stored_at": MOMENT, "read_at": None}


def greeted(server: ScriptedServer, seq: int) -> FrontPage:
    """A tab whose socket is live, and whose first page is asked for."""
    server.watch()
    server.hello(seq)
    return server.tab


def test_a_first_page_that_does_not_come_is_asked_for_again(server: ScriptedServer, pages: Pages) -> None:
    server.tab.complaints.expect("status of 503")
    tab = greeted(server, seq=1)
    pages.fail()
    expect(tab.page.get_by_text("PostgreSQL does not answer.")).to_be_visible()
    retry = tab.page.get_by_role("button", name="Retry now")
    retry.press("Enter")
    pages.fail()
    expect(tab.page.get_by_text("PostgreSQL does not answer.")).to_be_visible()
    expect(retry).to_be_focused()
    retry.press("Enter")
    pages.answer(1)
    tab.expect_titles(["1"])
    expect(tab.page.get_by_text("PostgreSQL does not answer.")).to_be_hidden()
    expect(retry).to_be_hidden()


def test_a_server_that_takes_a_request_and_says_nothing_is_given_up(server: ScriptedServer, pages: Pages) -> None:
    server.tab.page.clock.install()
    tab = greeted(server, seq=1)
    pages.wait()
    tab.page.clock.run_for(31_000)
    expect(tab.page.get_by_text("The server does not answer.")).to_be_visible()


def test_what_is_read_while_a_page_is_under_way_is_shown_as_read(server: ScriptedServer, pages: Pages) -> None:
    tab = greeted(server, seq=3)
    pages.wait()
    server.says(type="read", ids=["id-2"], unread=2)
    expect(tab.page.locator(".badge")).to_have_text("2")
    # Looked up before that.
    pages.answer(3, 2, 1)
    expect(tab.page.locator(".notification.unread .title")).to_have_text(["3", "1"])


def test_what_live_ones_push_out_while_a_page_is_under_way_is_found_again(server: ScriptedServer, pages: Pages) -> None:
    tab = greeted(server, seq=10)
    pages.answer(*range(10, 0, -1), more="older")
    for seq in range(11, ROOM + 1):
        server.notification(seq)
    items = tab.page.locator(".notification")
    expect(items).to_have_count(ROOM)
    tab.press("Load more")
    pages.wait()
    server.notification(ROOM + 1)
    expect(items.first.locator(".title")).to_have_text(str(ROOM + 1))
    pages.answer(0, more=None)
    expect(items).to_have_count(ROOM + 1)
    tab.press("Load more")
    pages.answer(*range(2, -1, -1))
    expect(items).to_have_count(ROOM + 2)


def test_of_another_day_the_date_is_told_too(server: ScriptedServer, pages: Pages) -> None:
    clock = server.tab.page.clock
    clock.install(time=datetime(2026, 1, 31, 18, 25, tzinfo=UTC))  # five minutes to midnight, there
    tab = greeted(server, seq=1)
    pages.answer(1)
    time = tab.page.locator(".notification time")
    expect(time).to_have_text("13:45:00")
    clock.fast_forward("10:00")
    server.says(type="sync", unread=1, seq=1)
    expect(time).to_have_text("31 Jan 2026, 13:45:00")


def test_of_many_that_arrive_a_screen_reader_is_told_now_and_then(server: ScriptedServer, pages: Pages) -> None:
    tab = greeted(server, seq=0)
    pages.answer()
    expect(tab.page.locator(".unread-count")).to_have_text("0 unread")
    tab.page.locator(".unread-count").evaluate(
        """region => {
            window.spoken = [];
            new MutationObserver(() => window.spoken.push(region.textContent)).observe(region, {childList: true});
        }"""
    )
    for seq in range(1, 101):
        server.notification(seq)
    expect(tab.page.locator(".badge")).to_have_text("99+")
    expect(tab.page.locator(".unread-count")).to_have_text("100 unread")
    # A hundred frames take a moment, in which it may be told once or twice on the way.
    assert len(tab.page.evaluate("spoken")) <= 4


def test_the_keyboard_keeps_its_place_when_a_button_goes(server: ScriptedServer, pages: Pages) -> None:
    tab = greeted(server, seq=3)
    pages.answer(3, more="older")
    more = tab.page.get_by_role("button", name="Load more")
    more.press("Enter")
    expect(more).to_be_disabled()
    pages.answer(2, more="oldest")
    tab.expect_titles(["3", "2"])
    expect(more).to_be_focused()
    more.press("Enter")
    pages.answer(1)
    tab.expect_titles(["3", "2", "1"])
    expect(tab.page.locator(".notification").last).to_be_focused()

    read_all = tab.page.get_by_role("button", name="Mark all read")
    read_all.press("Enter")
    assert server.heard() == {"type": "read", "all": True}
    server.says(type="read", ids="all", unread=0)
    expect(read_all).to_be_disabled()
    expect(read_all).to_be_focused()
    read_all.press("Enter")
    server.expect_silence()

    server.closes(4429)
    tab.page.get_by_role("button", name="Retry now").press("Enter")
    expect(tab.page.get_by_role("button", name="Retry now")).to_be_hidden()
    expect(tab.page.locator("notify-inbox .panel")).to_be_focused()


def test_what_was_not_possible_is_said_no_longer_than_that(server: ScriptedServer, pages: Pages) -> None:
    tab = greeted(server, seq=5)
    pages.answer()
    server.notification(7)
    assert server.heard() == {"type": "resume", "after": 5}
    server.says(type="error", code="unavailable", detail="not possible now; try again soon")
    notice = tab.page.locator(".inbox-notice")
    expect(notice).to_contain_text("not possible now")
    assert server.heard() == {"type": "resume", "after": 5}
    server.notification(6)
    server.says(type="resumed", count=2, seq=7, complete=True)
    expect(notice).to_be_empty()
