"""Every page for people: by axe's rules, in light and dark, at the width of a phone, and by the keyboard alone."""

import re
from collections.abc import Callable, Iterator
from typing import Final, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, StorageState, expect

from tests import accessibility
from tests.api import Api
from tests.browser import Complaints
from tests.stack import ADMIN_PASSWORD, ADMIN_USER, Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

ANSWER_MS: Final = 15_000
DESK: Final = 1280
PHONE: Final = 375
LOOKS: Final[tuple[tuple[Literal["light", "dark"], int], ...]] = (
    ("light", DESK),
    ("dark", DESK),
    ("dark", PHONE),
    ("light", PHONE),
)
HOSTILE: Final = "<script>alert(1)</script> \u202eabc " + "W" * 150
RECIPIENT: Final = "ann"

Opening = Callable[[Page], None]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Every process of a deployment, and something on each page."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.start_web()
        for start in (running.start_worker, running.start_scheduler, running.start_dlq_worker):
            start()
        running.start_bulk_worker()
        with Api(running) as api:
            _fill(running, api)
        yield running


def _fill(stack: Stack, api: Api) -> None:
    api.notify(RECIPIENT, "Your order has shipped", body="It is on its way.", data={"order": 7})
    api.notify("long/" + "x" * 120, HOSTILE, body="y" * 4096)
    for _ in range(2):
        api.notify(RECIPIENT, "Never arrives", data={"fault": {"invalid": True}})
    schedule = {"recipient": RECIPIENT, "type": "digest", "title": "Good morning", "daily": "08:00"}
    assert api.post("/api/schedule", schedule).status_code == 201
    job = {
        "notification": {"type": "news", "title": "Newsletter"},
        "recipients": [f"u{number}" for number in range(500)],
    }
    assert api.post("/api/bulk", {**job, "rate": "1/s"}).status_code == 202
    wait_until(lambda: stack.sql("SELECT count(*) FROM dlq_deadletter") == [(2,)], message="no letters")
    wait_until(lambda: stack.sql("SELECT count(*) FROM scheduler_schedule") == [(1,)], message="no schedule")


def _context(browser: Browser, stack: Stack, session: StorageState | None, width: int = DESK) -> BrowserContext:
    context = browser.new_context(
        base_url=stack.url,
        storage_state=session,
        viewport={"width": width, "height": 800},
        color_scheme="light",
        reduced_motion="reduce",
        locale="en-GB",
    )
    context.set_default_timeout(ANSWER_MS)
    return context


@pytest.fixture
def stranger(browser: Browser, stack: Stack) -> Iterator[Page]:
    """The tab of somebody who is not signed in."""
    context = _context(browser, stack, None)
    yield context.new_page()
    context.close()


@pytest.fixture
def desk(browser: Browser, stack: Stack, session: StorageState) -> Iterator[Page]:
    """A tab of a member of staff."""
    context = _context(browser, stack, session)
    complaints = Complaints()
    page = context.new_page()
    complaints.listen_to(page)
    yield page
    assert complaints.unexpected() == []
    context.close()


@pytest.fixture
def phone(browser: Browser, stack: Stack, session: StorageState) -> Iterator[Page]:
    """The same, as narrow as a phone."""
    context = _context(browser, stack, session, PHONE)
    yield context.new_page()
    context.close()


def faults(page: Page) -> list[str]:
    """What is wrong with an open page in any theme and width."""
    found: list[str] = []
    for theme, width in LOOKS:
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": 800})
        expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
        wide = accessibility.overhang(page)
        found += [f"{theme}, {width} px: {wide} px too wide"] if wide > 0 else []
        found += [f"{theme}, {width} px: {violation}" for violation in accessibility.violations(page)]
    return found


def flow(page: Page) -> None:
    """The first page, live."""
    page.goto("/")
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")


def one_way_to_try(name: str) -> Opening:
    """The first page, with one of the tabs of "Try it" open."""

    def opening(page: Page) -> None:
        flow(page)
        page.get_by_role("tab", name=name, exact=True).click()
        expect(page.get_by_role("tabpanel", name=name, exact=True)).to_be_visible()

    return opening


def lives(page: Page) -> None:
    """What was sent to somebody."""
    page.goto(f"/lives/?q={RECIPIENT}")
    expect(page.locator(".lives-results li").first).to_be_visible()


def life(page: Page) -> None:
    """A life that ended as a dead letter."""
    lives(page)
    page.locator(".lives-results a").filter(has_text="Never arrives").first.click()
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()


def inbox(page: Page) -> None:
    """Somebody's inbox, with notifications."""
    page.goto(f"/inbox/?recipient={RECIPIENT}")
    expect(page.get_by_text("Your order has shipped", exact=True)).to_be_visible()


def letters(page: Page) -> None:
    """Dead letters, with a group open."""
    page.goto("/dead-letters/")
    page.locator(".group-toggle").first.click()
    expect(page.locator(".letter-row").first).to_be_visible()


def letter(page: Page) -> None:
    """One dead letter, in its dialog."""
    letters(page)
    page.locator(".letter-row").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    # What is said of it comes a moment after the dialog, and takes the focus along.
    expect(page.get_by_role("dialog").locator(".letter-replay")).to_be_enabled()


def processes(page: Page) -> None:
    """Processes and servers, live."""
    page.goto("/processes/")
    expect(page.locator("#processes tbody tr").first).to_be_visible()
    expect(page.locator("#servers .server")).to_have_count(2)


def admin(path: str) -> Opening:
    """A page of the admin."""

    def opening(page: Page) -> None:
        page.goto(f"/admin/{path}")
        expect(page.locator('nav[aria-label="Main"]')).to_be_attached()

    return opening


def first_of(path: str) -> Opening:
    """The first that a list of the admin has."""

    def opening(page: Page) -> None:
        page.goto(f"/admin/{path}")
        page.locator("#result_list tbody th a").first.click()
        page.wait_for_url(re.compile("/change/$"))

    return opening


DASHBOARD: Final[dict[str, Opening]] = {
    "flow": flow,
    "burst": one_way_to_try("Burst"),
    "schedule": one_way_to_try("Schedule"),
    "bulk": one_way_to_try("Bulk"),
    "simulator": one_way_to_try("Simulator"),
    "lives": lives,
    "life": life,
    "inbox": inbox,
    "letters": letters,
    "letter": letter,
    "processes": processes,
}
ADMIN: Final[dict[str, Opening]] = {
    "admin": admin(""),
    "admin-keys": admin("notifications/apikey/"),
    "admin-new-key": admin("notifications/apikey/add/"),
    "admin-notifications": admin("notifications/notification/"),
    "admin-notification": first_of("notifications/notification/"),
    "admin-letters": admin("dlq/deadletter/"),
    "admin-letter": first_of("dlq/deadletter/"),
    "admin-schedules": admin("scheduler/schedule/"),
    "admin-new-schedule": admin("scheduler/schedule/add/"),
    "admin-schedule": first_of("scheduler/schedule/"),
    "admin-jobs": admin("bulk/bulkjob/"),
    "admin-job": first_of("bulk/bulkjob/"),
    "admin-users": admin("auth/user/"),
    "admin-password": admin("password_change/"),
}
PAGES: Final = {**DASHBOARD, **ADMIN}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_breaks_no_grave_rule_and_fits_its_window_in_light_and_dark(desk: Page, name: str) -> None:
    PAGES[name](desk)
    assert faults(desk) == []


def test_the_sign_in_breaks_no_grave_rule_and_says_what_was_wrong(stranger: Page) -> None:
    stranger.goto("/lives/")
    assert faults(stranger) == []
    stranger.get_by_label("Username").fill(ADMIN_USER)
    stranger.get_by_label("Password").fill("wrong")
    stranger.get_by_role("button", name="Log in").click()
    expect(stranger.get_by_role("alert")).to_contain_text("correct username and password")
    expect(stranger.get_by_label("Password")).to_be_focused()
    assert faults(stranger) == []


def test_what_is_not_there_says_so_and_breaks_no_grave_rule(stranger: Page) -> None:
    stranger.goto("/nothing")
    expect(stranger.get_by_role("heading")).to_have_text("There is nothing here")
    assert faults(stranger) == []


@pytest.mark.parametrize("name", DASHBOARD)
def test_tab_reaches_all_that_can_be_used_and_one_sees_where_it_is(desk: Page, name: str) -> None:
    DASHBOARD[name](desk)
    desk.evaluate("document.activeElement.blur()")
    missed, unseen = accessibility.walk(desk)
    assert missed == []
    assert unseen == []


def test_signing_in_needs_no_pointer(stranger: Page) -> None:
    stranger.goto("/processes/")
    expect(stranger.get_by_label("Username")).to_be_focused()
    stranger.keyboard.type(ADMIN_USER)
    stranger.keyboard.press("Tab")
    stranger.keyboard.type(ADMIN_PASSWORD)
    stranger.keyboard.press("Enter")
    expect(stranger.get_by_role("heading", name="Processes", level=1)).to_be_visible()


def test_the_first_tab_leads_past_the_menu(desk: Page) -> None:
    flow(desk)
    desk.keyboard.press("Tab")
    skip = desk.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    desk.keyboard.press("Enter")
    expect(desk.locator("main")).to_be_focused()


def test_the_menu_of_a_phone_opens_and_closes_by_the_keyboard(phone: Page) -> None:
    for opening in (flow, ADMIN["admin-keys"]):
        opening(phone)
        menu = phone.get_by_role("button", name="Menu")
        menu.focus()
        phone.keyboard.press("Enter")
        expect(phone.get_by_role("navigation", name="Main")).to_be_visible()
        phone.keyboard.press("Tab")
        expect(phone.get_by_role("link", name="Flow", exact=True)).to_be_focused()
        phone.keyboard.press("Escape")
        expect(phone.get_by_role("navigation", name="Main")).to_be_hidden()
        expect(menu).to_be_focused()


def test_the_theme_that_was_chosen_on_a_page_is_that_of_the_admin_and_of_the_sign_in(desk: Page) -> None:
    flow(desk)
    desk.get_by_role("radio", name="Light", exact=True).focus()
    desk.keyboard.press("ArrowRight")
    expect(desk.get_by_role("radio", name="Dark")).to_be_checked()
    for opening in (ADMIN["admin"], ADMIN["admin-jobs"], processes):
        opening(desk)
        expect(desk.locator("html")).to_have_attribute("data-bs-theme", "dark")
        expect(desk.get_by_role("radio", name="Dark")).to_be_checked()
    desk.context.clear_cookies()
    desk.goto("/")
    expect(desk.get_by_label("Username")).to_be_visible()
    expect(desk.locator("html")).to_have_attribute("data-bs-theme", "dark")


def test_a_letter_is_looked_at_and_left_again_by_the_keyboard(desk: Page) -> None:
    desk.goto("/dead-letters/")
    toggle = desk.locator(".group-toggle").first
    toggle.focus()
    desk.keyboard.press("Enter")
    expect(toggle).to_have_attribute("aria-expanded", "true")
    row = desk.locator(".letter-row").first
    expect(row).to_be_visible()
    row.focus()
    desk.keyboard.press("Enter")
    expect(desk.get_by_role("dialog")).to_be_visible()
    desk.keyboard.press("Escape")
    expect(desk.get_by_role("dialog")).to_be_hidden()
    expect(row).to_be_focused()


def test_the_arrows_lead_from_one_way_to_try_to_the_next(desk: Page) -> None:
    flow(desk)
    desk.get_by_role("tab", name="Send one").focus()
    desk.keyboard.press("ArrowRight")
    expect(desk.get_by_role("tab", name="Burst")).to_be_focused()
    expect(desk.get_by_role("tabpanel", name="Burst")).to_be_visible()
    desk.keyboard.press("ArrowLeft")
    expect(desk.get_by_role("tab", name="Send one")).to_be_focused()


def test_a_life_is_found_by_the_keyboard(desk: Page) -> None:
    desk.goto("/lives/")
    desk.get_by_role("searchbox").focus()
    desk.keyboard.type(RECIPIENT)
    desk.keyboard.press("Enter")
    result = desk.locator(".lives-results a").first
    expect(result).to_be_visible()
    result.focus()
    desk.keyboard.press("Enter")
    expect(desk.get_by_role("heading", name="What happened")).to_be_visible()
