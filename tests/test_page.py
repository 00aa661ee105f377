"""The first page in a browser, against a real web and a real worker."""

import re
import uuid
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Route, StorageState, WebSocketRoute, expect

from tests.api import Api
from tests.browser import Complaints
from tests.front import Deployment, FrontPage, ScriptedServer, quoted, sign_in
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

RIGHT_TO_LEFT_OVERRIDE = "\u202e"
HOSTILE = "<script>alert('title')</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Stack(tmp_path_factory.mktemp("stack"), NOTIFY_HEARTBEAT_SECONDS="2") as stack:
        web = stack.start_web()
        stack.start_worker()
        yield Deployment(stack, web)


@pytest.fixture(scope="module")
def stack(deployment: Deployment) -> Stack:
    return deployment.stack


@pytest.fixture
def context(browser: Browser, session: StorageState) -> Iterator[BrowserContext]:
    context = browser.new_context(storage_state=session, locale="en-GB", timezone_id="Asia/Kolkata")
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def new_tab(context: BrowserContext, stack: Stack) -> Iterator[Callable[[], FrontPage]]:
    """Opens a tab, signed in; at the end none may have complained of anything that the test did not expect."""
    complaints = Complaints()
    yield lambda: FrontPage(context.new_page(), stack, complaints)
    assert complaints.unexpected() == []


@pytest.fixture
def tab(new_tab: Callable[[], FrontPage]) -> FrontPage:
    tab = new_tab()
    tab.open()
    return tab


@pytest.fixture
def who() -> str:
    """A recipient of the test's own, with a name that has to be escaped in an address."""
    return f"team/ü?&#%2F-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def server(new_tab: Callable[[], FrontPage]) -> ScriptedServer:
    """What says to a tab's sockets what the test tells it to."""
    return ScriptedServer(new_tab())


def test_signing_in_leads_to_the_page_and_signing_out_away_from_it(browser: Browser, stack: Stack) -> None:
    context, complaints = browser.new_context(), Complaints()
    page = context.new_page()
    complaints.listen_to(page)
    sign_in(page, stack)
    expect(page.get_by_role("heading", name="Flow", level=1)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Logged out")).to_be_visible()
    page.goto(stack.url)
    expect(page.get_by_label("Password")).to_be_visible()
    assert complaints.unexpected() == []
    context.close()


def test_what_the_form_sends_appears_in_the_open_inbox_by_itself(tab: FrontPage, who: str) -> None:
    tab.watch(who)
    expect(tab.page.get_by_text("Nothing here yet.")).to_be_visible()
    tab.type_event(who, "Parcel", Body="It is on its way.", Data='{"order": 12345678901234567890}')
    tab.press_send()
    tab.expect_titles(["Parcel"])
    tab.expect_unread(1)
    expect(tab.page.locator(".sent .life")).to_have_text(re.compile(r"stored after \d+ ms"))
    expect(tab.page.locator(".sent .id")).to_have_text(re.compile(r"[0-9a-f-]{36}"))

    item = tab.item("Parcel")
    expect(item.locator(".body")).to_have_text("It is on its way.")
    expect(item.locator(".type")).to_have_text("message")
    expect(item.locator("time")).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC$"))
    item.get_by_text("Data").click()
    # A double cannot hold this number: neither the form nor the list may change it.
    expect(item.locator("pre")).to_have_text('{\n  "order": 12345678901234567890\n}')

    tab.type_event(who, "Second", Data="")
    tab.press_send()
    tab.expect_titles(["Second", "Parcel"])
    tab.expect_unread(2)


def test_those_watched_lately_are_a_click_away_after_a_reload_too(tab: FrontPage, who: str) -> None:
    tab.watch("alice")
    tab.watch(who)
    tab.open()
    recent = tab.page.get_by_role("group", name="Recent")
    expect(recent.get_by_role("button")).to_have_text([who, "alice"])
    recent.get_by_role("button", name="alice").click()
    tab.expect_state("live")
    expect(tab.page.locator("notify-inbox .whose")).to_have_text("alice")
    expect(recent.get_by_role("button")).to_have_text(["alice", who])
    expect(recent.get_by_role("button", name="alice")).to_be_focused()


def test_what_to_put_into_a_page_is_copied_as_it_stands(tab: FrontPage, context: BrowserContext, stack: Stack) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.press("Copy")
    expect(tab.page.get_by_text("Copied.")).to_be_visible()
    assert tab.page.evaluate("navigator.clipboard.readText()") == (
        f'<script type="module" src="{stack.url}/static/notify/notify-inbox.js"></script>\n'
        '<notify-inbox token-url="/notify-token"></notify-inbox>'
    )


def test_wrong_input_is_told_at_its_field_and_nothing_typed_is_lost(tab: FrontPage, who: str) -> None:
    tab.complaints.expect("status of 400")
    typed = {"Recipient": "white space", "Type": "Ünfit", "Title": "", "Body": "kept", "Data": "[1]"}
    tab.type_event("white space", "", Type="Ünfit", Body="kept", Data="[1]")
    tab.press_send()
    form = tab.page.get_by_role("region", name="Send")
    for label, message in {
        "Recipient": "Must be 1 to 128 characters, without white space or control characters.",
        "Type": "Must be 1 to 100 of a-z 0-9 . _ - and begin with a letter or a digit.",
        "Title": "Must be 1 to 200 characters, without NUL.",
        "Data": "Must be a JSON object.",
    }.items():
        expect(form.get_by_label(label)).to_have_attribute("aria-invalid", "true")
        expect(form.get_by_label(label)).to_have_accessible_description(message)
    expect(form.get_by_label("Recipient")).to_be_focused()
    for label, text in typed.items():
        expect(form.get_by_label(label)).to_have_value(text)

    tab.type_event(who, "Now", Type="fit", Data="{not json")
    tab.press_send()
    expect(form.get_by_label("Data")).to_have_accessible_description(re.compile("^Is not JSON"))
    expect(form.get_by_label("Recipient")).to_have_attribute("aria-invalid", "false")
    tab.type_event(who, "Now", Data="")
    tab.press_send()
    expect(tab.page.locator(".sent .to")).to_have_text([who])


def test_two_tabs_stay_in_step(new_tab: Callable[[], FrontPage], api: Api, who: str) -> None:
    tabs = [new_tab(), new_tab()]
    for tab in tabs:
        tab.open(who)
        tab.expect_state("live")
    for title in ("one", "two", "three"):
        api.notify(who, title)
    for tab in tabs:
        tab.expect_unread(3)
    tabs[0].item("two").get_by_role("button", name="Mark read").click()
    for tab in tabs:
        tab.expect_unread(2)
        expect(tab.item("two").get_by_text("Unread:")).to_be_hidden()
    tabs[1].press("Mark all read")
    for tab in tabs:
        tab.expect_unread(0)
        expect(tab.page.get_by_role("button", name="Mark all read")).to_be_disabled()


def test_hostile_text_is_text_and_breaks_no_layout(tab: FrontPage, api: Api, who: str) -> None:
    body = f"{HOSTILE}\n{RIGHT_TO_LEFT_OVERRIDE}gnp.exe 👩‍👩‍👧 שלום\n"
    body += "x" * (4096 - len(body))
    api.notify(who, "before", body="plain")
    api.notify(who, HOSTILE, body=body, data={HOSTILE: f"{RIGHT_TO_LEFT_OVERRIDE}gnp.exe"})
    tab.page.set_viewport_size({"width": 390, "height": 844})
    tab.watch(who)
    tab.expect_titles([HOSTILE, "before"])
    item = tab.item(HOSTILE)
    assert item.locator(".body").text_content() == body
    item.get_by_role("button", name="Show all").click()
    item.get_by_text("Data").click()
    expect(item.locator("pre")).to_contain_text(HOSTILE)
    expect(item.locator("pre")).to_contain_text("\\u202egnp.exe")
    expect(item.locator(".title")).to_have_css("unicode-bidi", "isolate")
    assert tab.page.locator(".notification img, .notification script").count() == 0
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 390


def test_older_pages_come_on_demand_and_none_comes_twice(tab: FrontPage, api: Api, who: str) -> None:
    api.notify_all([who] * 44)
    wait_until(lambda: api.get(f"/api/recipients/{quoted(who)}/unread") == {"unread": 44}, message="never stored")
    tab.watch(who)
    items = tab.page.locator(".notification")
    expect(items).to_have_count(20)
    api.notify(who, "newest")
    expect(items).to_have_count(21)
    tab.press("Load more")
    expect(items).to_have_count(41)
    tab.press("Load more")
    expect(items).to_have_count(45)
    expect(tab.page.get_by_role("button", name="Load more")).to_be_hidden()
    expect(items.first.locator(".title")).to_have_text("newest")


def test_a_killed_web_is_found_again_with_what_arrived_meanwhile(
    deployment: Deployment, tab: FrontPage, who: str
) -> None:
    tab.complaints.expect("net::ERR_")
    tab.watch(who)
    deployment.web.kill()
    tab.expect_state("offline")
    expect(tab.page.locator(".connection-retry")).to_have_text(re.compile(r"Retrying in \d+ s\."))
    deployment.stack.manage("send", who, "while you were away")
    deployment.restart_web()
    tab.expect_state("live", seconds=30)  # its back-off grew while the web was starting
    tab.expect_titles(["while you were away"])
    tab.expect_unread(1)


def test_what_was_read_while_the_connection_was_away_is_shown_as_read(tab: FrontPage, api: Api, who: str) -> None:
    ids = [api.notify(who, title) for title in ("one", "two")]
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        if sockets:
            api.post(f"/api/recipients/{quoted(who)}/read", {"ids": ids[:1]})
        sockets.append(socket)
        socket.connect_to_server()

    tab.page.route_web_socket("**/ws/inbox/", connect)
    tab.open(who)
    tab.expect_unread(2)
    sockets[0].close(code=4000)
    tab.expect_unread(1)
    expect(tab.item("one")).not_to_have_class(re.compile("unread"))


def test_an_expired_token_is_replaced_without_anybody_noticing(tab: FrontPage, api: Api, who: str) -> None:
    asked: list[str] = []

    def short_lived_first(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            headers = {**route.request.headers, "content-type": "application/json"}
            route.continue_(headers=headers, post_data='{"ttl": 2}')
        else:
            route.continue_()

    tab.page.route("**/token", short_lived_first)
    with tab.page.expect_response(lambda answer: answer.url.endswith("/token") and len(asked) == 2):
        tab.watch(who)
    tab.expect_state("live")
    api.notify(who, "still here")
    tab.expect_titles(["still here"])


def test_a_gap_is_asked_for_and_what_comes_twice_is_shown_once(server: ScriptedServer) -> None:
    server.watched(seq=5)
    for seq in (6, 8, 9, 8):
        server.notification(seq)
    assert server.heard() == {"type": "resume", "after": 6}
    server.notification(7)
    server.notification(8)
    server.says(type="resumed", count=3, seq=9, complete=True)
    server.tab.expect_titles(["9", "8", "7", "6"])
    server.notification(10)
    server.expect_silence()


def test_what_is_too_much_for_one_resume_is_asked_for_in_parts(server: ScriptedServer) -> None:
    server.watched(seq=5)
    server.says(type="sync", unread=4, seq=9)
    assert server.heard() == {"type": "resume", "after": 5}
    server.notification(6)
    server.notification(7)
    server.says(type="resumed", count=2, seq=7, complete=False)
    assert server.heard() == {"type": "resume", "after": 7}
    server.notification(8)
    server.notification(9)
    server.says(type="resumed", count=2, seq=9, complete=True)
    server.says(type="sync", unread=4, seq=9)
    server.expect_silence()
    server.tab.expect_titles(["9", "8", "7", "6"])


def test_a_resume_that_the_server_could_not_do_is_asked_for_again(server: ScriptedServer) -> None:
    server.tab.page.clock.install()
    server.watched(seq=5)
    server.notification(7)
    assert server.heard() == {"type": "resume", "after": 5}
    server.says(type="error", code="unavailable", detail="not possible now; try again soon")
    expect(server.tab.page.get_by_text("not possible now")).to_be_visible()
    server.tab.page.clock.run_for(5_000)
    assert server.heard() == {"type": "resume", "after": 5}


def test_after_a_break_it_goes_on_where_it_was(server: ScriptedServer) -> None:
    server.watched(seq=5)
    server.notification(6)
    server.tab.expect_titles(["6"])
    server.closes(4503)
    server.hello(seq=8)
    assert server.heard() == {"type": "resume", "after": 6}


def test_who_can_be_no_recipient_is_told_so(tab: FrontPage) -> None:
    tab.complaints.expect("status of 400")
    tab.open("white space")
    tab.expect_state("stopped")
    expect(tab.page.get_by_text("A recipient must be 1 to 128 characters, without white space")).to_be_visible()


@pytest.mark.parametrize(("code", "reason"), [(4401, "does not accept the token"), (4403, "pages of this address")])
def test_a_refusal_ends_it_with_a_reason(server: ScriptedServer, code: int, reason: str) -> None:
    server.watch()
    server.closes(code)
    server.tab.expect_state("stopped")
    expect(server.tab.page.get_by_text(reason)).to_be_visible()
    server.expect_sockets(1)


def test_a_token_that_worked_before_is_replaced_once(server: ScriptedServer) -> None:
    server.watched(seq=0)
    server.closes(4503)
    server.expect_sockets(2)
    server.closes(4401)
    server.expect_sockets(3)
    server.closes(4401)
    server.tab.expect_state("stopped")
    server.expect_sockets(3)


def test_tokens_that_come_old_are_asked_for_ever_more_slowly(server: ScriptedServer) -> None:
    server.tab.page.add_init_script("Math.random = () => 0.99")
    server.watch()
    for number, seconds in enumerate((1, 2, 4), start=1):
        server.expect_sockets(number)
        server.closes(4408)
        server.tab.expect_state("offline")
        expect(server.tab.page.get_by_text("has expired")).to_be_visible()
        expect(server.tab.page.locator(".connection-retry")).to_have_text(f"Retrying in {seconds} s.")


def test_too_many_sockets_is_told_and_tried_again_slowly(server: ScriptedServer) -> None:
    server.watch()
    server.closes(4429)
    server.tab.expect_state("offline")
    expect(server.tab.page.get_by_text("too many open connections")).to_be_visible()
    expect(server.tab.page.locator(".connection-retry")).to_have_text(re.compile(r"Retrying in [2-6]\d s\."))
    server.tab.press("Retry now")
    server.expect_sockets(2)


def test_when_the_network_goes_it_looks_at_once_whether_the_connection_still_stands(server: ScriptedServer) -> None:
    # Or it might be back before anybody looks.
    server.tab.page.add_init_script("Math.random = () => 0.99")
    server.tab.page.clock.install()
    server.watched(seq=0)
    server.tab.page.evaluate("dispatchEvent(new Event('offline'))")
    assert server.heard() == {"type": "ping"}
    server.says(type="pong")
    server.tab.page.clock.run_for(5_000)
    server.tab.expect_state("live")
    server.tab.page.evaluate("dispatchEvent(new Event('offline'))")
    assert server.heard() == {"type": "ping"}
    server.tab.page.clock.run_for(3_100)
    server.tab.expect_state("offline")
    server.tab.page.evaluate("dispatchEvent(new Event('online'))")
    server.expect_sockets(2)


def test_a_server_that_falls_silent_is_asked_and_then_left(server: ScriptedServer) -> None:
    server.tab.page.clock.install()
    server.watched(seq=0)
    server.tab.page.clock.run_for(36_000)
    assert server.heard() == {"type": "ping"}
    server.says(type="pong")
    server.tab.page.clock.run_for(36_000)
    assert server.heard() == {"type": "ping"}
    server.tab.page.clock.run_for(12_000)
    server.expect_sockets(2)
