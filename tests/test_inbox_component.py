"""`<notify-inbox>` in a customer's page, on another origin, against a real web and a real worker."""

import re
import time
import uuid
from collections.abc import Callable, Iterator
from http import HTTPStatus

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, WebSocket, expect

from notify_project.configuration import Configuration, ConfigurationError
from notify_project.local.web import Address
from tests.api import Api
from tests.browser import Complaints
from tests.customer import Answer, Customer
from tests.stack import HOST, Process, Stack, free_port, wait_until, web_command

pytestmark = pytest.mark.one_shard_is_enough

BELL = '<notify-inbox token-url="/token?of={who}"></notify-inbox>'
LIST = '<notify-inbox mode="panel" token-url="/token?of={who}"></notify-inbox>'
BEFORE_THE_SCRIPT = """<notify-inbox mode="panel" recipient="Zoë <b>"></notify-inbox>
<script nonce="page">
  // Modules come after the page is read.
  const element = document.querySelector("notify-inbox");
  element.labels = { unread: ({ count }) => (count === 1 ? "eine neue" : `${count} neue`), live: "verbunden" };
  element.getToken = () => fetch("/token?of=WHO").then((answer) => answer.json());
</script>"""
DARK, LIGHT = "rgb(27, 30, 40)", "rgb(255, 255, 255)"


@pytest.fixture(scope="module")
def customer() -> Iterator[Customer]:
    with Customer() as customer:
        yield customer


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, customer: Customer) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), NOTIFY_ALLOWED_ORIGINS=customer.origin) as running:
        running.start_web()
        running.start_worker()
        customer.notify = running.url
        yield running


@pytest.fixture
def page(browser: Browser, stack: Stack, complaints: Complaints) -> Iterator[Page]:
    """A tab of somebody whom Notify knows nothing of; nothing but what a test expects may be complained of."""
    context = browser.new_context(locale="en-GB", timezone_id="Asia/Kolkata")
    context.set_default_timeout(15_000)
    page = context.new_page()
    complaints.listen_to(page)
    yield page
    context.close()


@pytest.fixture
def who() -> str:
    return f"customer-{uuid.uuid4().hex[:12]}"


@pytest.fixture(autouse=True)
def _tokens(customer: Customer, api: Api) -> None:
    """The customer's server gives everybody a token, whom it knows by its own means."""
    customer.token = tokens(api)


def tokens(api: Api, ttl: int = 3600) -> Callable[[str], Answer]:
    return lambda recipient: (HTTPStatus.OK, {"token": api.token(recipient, ttl), "expires_at": ""})


def visit(page: Page, customer: Customer, body: str, *, style: str = "", script: str = "") -> Locator:
    """Open the customer's page with this in it; the (first) element."""
    customer.shows(body, style=style, script=script)
    page.goto(customer.origin)
    return page.locator("notify-inbox").first


def told(page: Page, name: str) -> list[object]:
    """The details of all events of a name that the page was told of."""
    details: list[object] = page.evaluate(
        "(name) => told.filter(([other]) => other === name).map(([, it]) => it)", name
    )
    return details


def until(page: Page, condition: Callable[[], bool]) -> None:
    """Wait by Playwright's own clock: only then does it tell of what happens in the page."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        page.wait_for_timeout(20)


def end_of(element: Locator) -> float:
    box = element.bounding_box()
    return box["x"] + box["width"] if box else 0


def titles(element: Locator) -> Locator:
    return element.locator(".notification .title")


def test_a_script_and_an_element_are_all_it_takes(page: Page, customer: Customer, api: Api, who: str) -> None:
    element = visit(page, customer, BELL.format(who=who))
    api.notify(who, "Parcel", body="On its way.")
    bell = element.get_by_role("button", name="Notifications, 1 unread")
    expect(bell).to_be_visible()
    expect(element.locator(".badge")).to_have_text("1")
    bell.click()
    dialog = element.get_by_role("dialog", name="Notifications")
    expect(dialog).to_be_visible()
    expect(titles(element)).to_have_text(["Parcel"])
    expect(element.locator(".type")).to_be_hidden()  # readers have no use for it
    element.get_by_role("button", name="Mark read").click()
    expect(element.locator(".badge")).to_be_hidden()
    assert told(page, "notify-unread") == [{"unread": 1}, {"unread": 0}]


def test_the_list_is_asked_for_when_somebody_opens_it_and_pages_follow(
    page: Page, customer: Customer, api: Api, who: str
) -> None:
    api.notify_all([who] * 25)
    wait_until(lambda: api.get(f"/api/recipients/{who}/unread") == {"unread": 25}, message="never stored")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/" in request.url else None)
    element = visit(page, customer, BELL.format(who=who))
    expect(element.locator(".badge")).to_have_text("25")
    api.notify(who, "newest")
    expect(element.locator(".badge")).to_have_text("26")
    assert asked == []
    element.get_by_role("button", name="Notifications").click()
    expect(titles(element)).to_have_count(20)
    element.get_by_role("button", name="Load more").click()
    expect(titles(element)).to_have_count(26)
    expect(titles(element).first).to_have_text("newest")


def test_the_bell_works_by_keyboard_and_says_what_it_does(page: Page, customer: Customer, api: Api, who: str) -> None:
    element = visit(page, customer, BELL.format(who=who))
    api.notify(who, "Parcel")
    bell = element.get_by_role("button", name="Notifications, 1 unread")
    expect(bell).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Tab")
    expect(bell).to_be_focused()
    page.keyboard.press("Enter")
    expect(bell).to_have_attribute("aria-expanded", "true")
    expect(element.get_by_role("dialog")).to_be_focused()
    expect(titles(element)).to_have_text(["Parcel"])
    for name in ("Mark all read", "Parcel", "Mark read"):
        page.keyboard.press("Tab")
        expect(element.get_by_role("button", name=name, exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    # The button is gone; its item has the focus, so that the next Tab goes on from there.
    expect(element.locator(".notification")).to_be_focused()
    page.keyboard.press("Escape")
    expect(element.get_by_role("dialog")).to_be_hidden()
    expect(element.locator("button.bell")).to_be_focused()


def test_a_new_one_is_told_once_and_a_click_can_be_the_pages_own(
    page: Page, customer: Customer, api: Api, who: str
) -> None:
    element = visit(
        page,
        customer,
        LIST.format(who=who),
        script="""addEventListener("notify-click", (event) => {
          if (event.detail.notification.data.stop) event.preventDefault();
        });""",
    )
    expect(element.locator(".connection-state")).to_have_text("live")
    api.notify(who, "stays", data={"stop": True})
    api.notify(who, "goes")
    expect(titles(element)).to_have_text(["goes", "stays"])
    element.get_by_role("button", name="stays").click()
    element.get_by_role("button", name="goes").click()
    expect(element.locator(".notification.unread .title")).to_have_text(["stays"])
    page.reload()
    expect(titles(element)).to_have_text(["goes", "stays"])
    assert told(page, "notify-notification") == [], "what was there before is not new"


def test_several_elements_do_not_disturb_each_other_and_one_that_is_gone_is_gone(
    page: Page, customer: Customer, api: Api, who: str
) -> None:
    closed: list[WebSocket] = []

    def opened(socket: WebSocket) -> None:
        def gone(_socket: WebSocket) -> None:
            closed.append(socket)

        socket.on("close", gone)

    page.on("websocket", opened)
    visit(page, customer, LIST.format(who=who) + LIST.format(who=f"{who}-too") + BELL.format(who=who))
    first, second, third = page.locator("notify-inbox").all()
    for element in (first, second):
        expect(element.locator(".connection-state")).to_have_text("live")
    api.notify(who, "for one")
    api.notify(f"{who}-too", "for the other")
    expect(titles(first)).to_have_text(["for one"])
    expect(titles(second)).to_have_text(["for the other"])
    expect(third.locator(".badge")).to_have_text("1")
    first.get_by_role("button", name="Mark all read").click()
    expect(third.locator(".badge")).to_be_hidden()
    expect(second.locator(".badge")).to_have_text("1")

    assert closed == []
    first.evaluate("(element) => element.remove()")
    expect(page.locator("notify-inbox")).to_have_count(2)
    until(page, lambda: len(closed) == 1)
    api.notify(f"{who}-too", "goes on")
    expect(titles(page.locator("notify-inbox").first)).to_have_text(["goes on", "for the other"])


def test_an_expired_token_is_asked_for_again(page: Page, customer: Customer, api: Api, who: str) -> None:
    customer.token = tokens(api, ttl=2)
    element = visit(page, customer, LIST.format(who=who))
    expect(element.locator(".connection-state")).to_have_text("live")
    customer.token = tokens(api)
    page.wait_for_event("websocket")
    expect(element.locator(".connection-state")).to_have_text("live")
    assert customer.asked == [who, who]
    api.notify(who, "still here")
    expect(titles(element)).to_have_text(["still here"])


def test_a_token_of_the_page_that_has_expired_is_explained(page: Page, customer: Customer, api: Api, who: str) -> None:
    element = visit(page, customer, f'<notify-inbox mode="panel" token="{api.token(who, ttl=2)}"></notify-inbox>')
    expect(element.locator(".connection-state")).to_have_text("stopped")
    expect(element.get_by_text("has expired. Reload the page")).to_be_visible()
    element.evaluate("(element, token) => element.setAttribute('token', token)", api.token(who))
    expect(element.locator(".connection-state")).to_have_text("live")


def test_a_customers_server_that_fails_is_asked_again_and_one_that_refuses_is_not(
    page: Page, customer: Customer, api: Api, who: str, complaints: Complaints
) -> None:
    complaints.expect("status of 503", "status of 403")
    customer.token = lambda _who: (HTTPStatus.SERVICE_UNAVAILABLE, {"detail": "The shop is closed."})
    element = visit(page, customer, LIST.format(who=who))
    expect(element.get_by_text("The shop is closed.")).to_be_visible()
    customer.token = tokens(api)
    expect(element.locator(".connection-state")).to_have_text("live", timeout=30_000)

    customer.token = lambda _who: (HTTPStatus.FORBIDDEN, {"detail": "Sign in first."})
    page.reload()
    expect(element.locator(".connection-state")).to_have_text("stopped")
    expect(element.get_by_text("Sign in first.")).to_be_visible()


def test_who_is_sent_to_a_page_to_sign_in_is_told_so_and_asks_no_more(page: Page, customer: Customer, who: str) -> None:
    page.route("**/token?*", lambda route: route.fulfill(status=302, headers={"Location": "/"}))
    element = visit(page, customer, LIST.format(who=who))
    expect(element.locator(".connection-state")).to_have_text("stopped")
    expect(element.get_by_text("You are signed out. Sign in, then load this page again.")).to_be_visible()


def test_without_a_token_it_says_so_until_there_is_one(page: Page, customer: Customer, api: Api, who: str) -> None:
    element = visit(page, customer, '<notify-inbox mode="panel"></notify-inbox>')
    expect(element.get_by_text("This inbox has no token yet.")).to_be_visible()
    element.evaluate("(element, token) => { element.getToken = async () => ({ token }); }", api.token(who))
    expect(element.locator(".connection-state")).to_have_text("live")


def test_a_function_that_gives_no_token_is_asked_again(page: Page, customer: Customer, api: Api, who: str) -> None:
    element = visit(page, customer, '<notify-inbox mode="panel"></notify-inbox>')
    element.evaluate(
        """(element, token) => {
          let asked = 0;
          element.getToken = async () => (asked++ ? { token } : { detail: "The shop is closed." });
        }""",
        api.token(who),
    )
    expect(element.get_by_text("The shop is closed.")).to_be_visible()
    expect(element.locator(".connection-state")).to_have_text("live")


def test_what_a_page_sets_before_the_script_is_here_counts(page: Page, customer: Customer, api: Api, who: str) -> None:
    element = visit(page, customer, BEFORE_THE_SCRIPT.replace("WHO", who))
    expect(element.locator(".connection-state")).to_have_text("verbunden")
    api.notify(who)
    expect(element.locator(".unread-count")).to_have_text("eine neue")
    expect(element.get_by_role("heading")).to_have_text("Zoë <b>")


def test_a_page_of_an_origin_that_is_not_named_is_told_so(
    page: Page, customer: Customer, who: str, complaints: Complaints
) -> None:
    complaints.expect("CORS", "net::ERR_FAILED")
    customer.shows(LIST.format(who=who))
    page.goto(f"http://localhost:{customer.port}")
    element = page.locator("notify-inbox")
    expect(element.locator(".connection-state")).to_have_text("stopped")
    expect(element.get_by_text("takes no connections from pages of this address")).to_be_visible()


def test_the_panel_is_on_the_screen_whatever_is_around_the_bell(
    page: Page, customer: Customer, api: Api, who: str
) -> None:
    style = "nav { position: fixed; inset: auto 100px 0 auto; overflow: hidden; } button { display: none }"
    page.set_viewport_size({"width": 375, "height": 700})
    element = visit(page, customer, f"<nav>{BELL.format(who=who)}</nav>", style=style)
    for _ in range(12):
        api.notify(who, "T" * 200, body="B" * 4096)
    expect(element.locator(".badge")).to_have_text("12")
    element.locator("button.bell").click()
    expect(titles(element)).to_have_count(12)
    box = element.get_by_role("dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 8
    assert box["y"] >= 0
    assert box["x"] + box["width"] <= 375 - 8
    assert box["y"] + box["height"] <= 700
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    page.set_viewport_size({"width": 1000, "height": 700})
    until(page, lambda: abs(end_of(element.get_by_role("dialog")) - end_of(element.locator("button.bell"))) < 1)
    page.mouse.click(5, 5)
    expect(element.get_by_role("dialog")).to_be_hidden()


def test_it_is_as_dark_as_the_page_and_takes_the_pages_colours(page: Page, customer: Customer, who: str) -> None:
    body = BELL.format(who=who) + '<notify-inbox theme="light"></notify-inbox><notify-inbox id="own"></notify-inbox>'
    visit(page, customer, body, style=":root { color-scheme: dark } #own { --notify-surface: rgb(1, 2, 3) }")
    for element, colour in zip(page.locator("notify-inbox").all(), (DARK, LIGHT, "rgb(1, 2, 3)"), strict=True):
        expect(element.locator(".panel")).to_have_css("background-color", colour)


def test_the_api_is_open_to_named_origins_only_and_never_with_cookies(
    stack: Stack, customer: Customer, api: Api, who: str
) -> None:
    headers = {"Authorization": f"Bearer {api.token(who)}"}
    address = f"{stack.url}/api/notifications"
    with httpx.Client(trust_env=False) as client:
        ours = client.get(address, headers=headers | {"Origin": customer.origin})
        assert ours.headers["Access-Control-Allow-Origin"] == customer.origin
        assert ours.headers["Access-Control-Expose-Headers"] == "Retry-After"
        assert "Access-Control-Allow-Credentials" not in ours.headers
        assert "origin" in ours.headers["Vary"].lower()
        asked = {"Origin": customer.origin, "Access-Control-Request-Method": "GET"}
        preflight = client.options(address, headers=asked | {"Access-Control-Request-Headers": "authorization"})
        assert preflight.status_code == HTTPStatus.OK
        assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]
        for other in (
            client.get(address, headers=headers | {"Origin": "https://evil.example"}),
            client.get(f"{stack.url}/inbox/", headers={"Origin": customer.origin}),
        ):
            assert "Access-Control-Allow-Origin" not in other.headers
        script = client.get(f"{stack.url}/static/notify/notify-inbox.js", headers={"Origin": "https://any.example"})
        assert script.headers["Access-Control-Allow-Origin"] == "*"
        assert re.match("text/javascript|application/javascript", script.headers["Content-Type"])


@pytest.mark.parametrize("origins", ["https://app.example.org", "https://a.example, capacitor://localhost", "*"])
def test_origins_are_taken_as_browsers_write_them(origins: str) -> None:
    assert Configuration.from_environment({"NOTIFY_ALLOWED_ORIGINS": origins}).allowed_origins == origins


@pytest.mark.parametrize(
    "origins", ["app.example.org", "https://app.example.org/", "https://App.example.org", "https://a.example;*", "null"]
)
def test_an_origin_that_no_browser_sends_stops_the_start(origins: str) -> None:
    with pytest.raises(ConfigurationError, match=r"NOTIFY_ALLOWED_ORIGINS: .* it takes origins"):
        Configuration.from_environment({"NOTIFY_ALLOWED_ORIGINS": origins})


def test_a_star_lets_every_page_call_the_api(stack: Stack, api: Api, who: str) -> None:
    address = Address(HOST, free_port())
    process = Process(web_command(address.port), stack.env | {"NOTIFY_ALLOWED_ORIGINS": "*"}, stack.folder / "star.log")
    try:
        headers = {"Authorization": f"Bearer {api.token(who)}", "Origin": "https://any.example"}
        wait_until(lambda: alive(address.url), message="no answer from the web")
        answer = httpx.get(f"{address.url}/api/recipients/{who}/unread", headers=headers, trust_env=False)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
    finally:
        process.kill()


def alive(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False
