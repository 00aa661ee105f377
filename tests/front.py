"""The first page as its user sees it: what there is to type, to press and to read."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
from playwright.sync_api import Locator, Page, StorageState, WebSocketRoute, expect

from tests.browser import Complaints
from tests.stack import ADMIN_PASSWORD, ADMIN_USER, HOST, Process, Stack

ANSWER_MS: Final = 10_000
# Long enough for a frame that should not have been sent to be here.
SILENCE_MS: Final = 300
POLL_MS: Final = 20
LOGIN: Final = "/admin/login/"
# Where a cookie counts.
HERE: Final = {"domain": HOST, "path": "/", "expires": -1, "httpOnly": False, "secure": False, "sameSite": "Lax"}


@dataclass
class Deployment:
    """A stack whose web can be killed and come back at the same address."""

    stack: Stack
    web: Process

    def restart_web(self) -> None:
        """Start it again, where it was."""
        self.web = self.stack.start_web(urlsplit(self.stack.url).port or 0)


def sign_in(page: Page, stack: Stack) -> None:
    """Sign in as a member of staff; ends on the first page."""
    page.goto(stack.url)
    page.get_by_label("Username").fill(ADMIN_USER)
    page.get_by_label("Password").fill(ADMIN_PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{stack.url}/")


def signed_in(stack: Stack) -> StorageState:
    """The cookies of a member of staff, for a browser that is not to spend its time on signing in."""
    with httpx.Client(base_url=stack.url, trust_env=False, timeout=30) as client:
        client.get(LOGIN)
        typed = {"username": ADMIN_USER, "password": ADMIN_PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        client.post(LOGIN, data=typed)
        cookies: list[Any] = [{"name": cookie.name, "value": cookie.value, **HERE} for cookie in client.cookies.jar]
    return StorageState(cookies=cookies, origins=[])


def quoted(recipient: str) -> str:
    """A recipient as a part of an address."""
    return quote(recipient, safe="")


class FrontPage:
    """One tab that shows the first page, signed in."""

    def __init__(self, page: Page, stack: Stack, complaints: Complaints) -> None:
        self.page = page
        self.complaints = complaints
        self._stack = stack
        complaints.listen_to(page)

    def open(self, recipient: str = "") -> None:
        """Load the page, watching a recipient."""
        self.page.goto(f"{self._stack.url}/inbox/?recipient={quoted(recipient)}")

    def watch(self, recipient: str) -> None:
        """Watch a recipient's inbox, and wait until it is live."""
        self.page.get_by_role("region", name="Watch an inbox").get_by_label("Recipient").fill(recipient)
        self.page.get_by_role("button", name="Watch", exact=True).click()
        self.expect_state("live")

    def type_event(self, recipient: str, title: str, **fields: str) -> None:
        """Fill the form that sends."""
        form = self.page.get_by_role("region", name="Send")
        for label, text in {"Recipient": recipient, "Title": title, **fields}.items():
            form.get_by_label(label).fill(text)

    def press_send(self) -> None:
        """Send what was typed."""
        self.page.get_by_role("button", name="Send", exact=True).click()

    def press(self, name: str) -> None:
        """Press the first button of that name."""
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def item(self, title: str) -> Locator:
        """The notifications with a title."""
        return self.page.locator(".notification").filter(has=self.page.get_by_text(title, exact=True))

    def expect_titles(self, titles: Sequence[str]) -> None:
        """The list shows these, in this order."""
        expect(self.page.locator(".notification .title")).to_have_text(list(titles))

    def expect_unread(self, count: int) -> None:
        """The badge, the words for screen readers and the window's title agree on how many are unread."""
        badge = self.page.locator(".badge")
        if count:
            expect(badge).to_have_text(str(count))
        expect(badge).to_be_visible(visible=count > 0)
        expect(self.page.locator(".unread-count")).to_have_text(f"{count} unread")
        expect(self.page).to_have_title(f"({count}) Inbox · Notify" if count else "Inbox · Notify")
        expect(self.page.locator(".notification.unread")).to_have_count(count)

    def expect_state(self, state: str, seconds: float = 10) -> None:
        """What the connection is said to be, in so many seconds at most."""
        expect(self.page.locator(".connection-state")).to_have_text(state, timeout=seconds * 1000)


class ScriptedServer:
    """Stands in for the server at the other end of the tab's sockets, and says what a test tells it to."""

    def __init__(self, tab: FrontPage) -> None:
        self.tab = tab
        self._sockets: list[WebSocketRoute] = []
        self._heard: list[Any] = []
        tab.page.route_web_socket("**/ws/inbox/", self._connected)

    def watch(self) -> None:
        """Have the tab open its first socket."""
        self.tab.open("scripted")
        self.expect_sockets(1)

    def watched(self, seq: int) -> None:
        """Have the tab open its first socket, and greet it."""
        self.watch()
        self.hello(seq)
        expect(self.tab.page.get_by_text("Nothing here yet.")).to_be_visible()

    def hello(self, seq: int) -> None:
        """Greet the newest socket."""
        self._until(lambda: self.tab.page.locator(".connection-state").text_content() == "connecting")
        self.says(type="hello", recipient="scripted", unread=seq, seq=seq, heartbeat=30)
        self.tab.expect_state("live")

    def says(self, **frame: object) -> None:
        """Send a frame to the newest socket."""
        self._sockets[-1].send(json.dumps(frame))

    def notification(self, seq: int) -> None:
        """Send a notification, with its seq for a title."""
        moment = "2026-01-31T08:15:00.250Z"
        shown = {"id": f"id-{seq}", "recipient": "scripted", "seq": seq, "type": "t", "title": str(seq), "body": ""}
        times = {"accepted_at": moment, "stored_at": moment, "read_at": None}
        self.says(type="notification", unread=seq, notification={**shown, **times, "data": {}})

    def closes(self, code: int) -> None:
        """Close the newest socket."""
        self._sockets[-1].close(code=code)

    def heard(self) -> Any:
        """The next frame from the page."""
        self._until(lambda: bool(self._heard))
        return self._heard.pop(0)

    def expect_silence(self) -> None:
        """The page has nothing more to say."""
        self.tab.page.wait_for_timeout(SILENCE_MS)
        assert self._heard == []

    def expect_sockets(self, count: int) -> None:
        """So many sockets were opened, the last of them by now."""
        self._until(lambda: len(self._sockets) >= count)
        self.tab.page.wait_for_timeout(SILENCE_MS)
        assert len(self._sockets) == count

    def _connected(self, socket: WebSocketRoute) -> None:
        socket.on_message(lambda text: self._heard.append(json.loads(text)))
        self._sockets.append(socket)

    def _until(self, condition: Callable[[], bool]) -> None:
        # Playwright's own wait: only while it waits does it tell of what happens in the page.
        deadline = time.monotonic() + ANSWER_MS / 1000
        while not condition():
            assert time.monotonic() < deadline, "the page did not do it"
            self.tab.page.wait_for_timeout(POLL_MS)
