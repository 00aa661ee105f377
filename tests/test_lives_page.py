"""One notification's life in a browser, against every process of a deployment: found, followed live, told in full."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, StorageState, expect

from tests import accessibility
from tests.api import Api
from tests.browser import Complaints
from tests.front import signed_in
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

RETRY_DELAYS = "0.3,3,600"
ANSWER_MS = 20_000
HOSTILE = "<script>alert('title')</script><img src=x onerror=alert(1)>"
BIDI = "\u202eright to left\u202c אבג 😀"
LONG = "It waits long: is a worker running? Look at Flow."
NOBODY = "019aab5e-0000-7000-8000-000000006f31"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), NOTIFY_RETRY_DELAYS=RETRY_DELAYS) as running:
        running.start_web()
        running.start_worker()
        running.start_scheduler()
        running.start_dlq_worker()
        yield running


@pytest.fixture
def page(browser: Browser, session: StorageState, complaints: Complaints) -> Iterator[Page]:
    """A tab of somebody's in India; what goes wrong in it is an error."""
    context = browser.new_context(storage_state=session, locale="en-GB", timezone_id="Asia/Kolkata")
    context.set_default_timeout(ANSWER_MS)
    tab = context.new_page()
    complaints.listen_to(tab)
    yield tab
    context.close()


def open_life(page: Page, stack: Stack, event_id: str) -> None:
    page.goto(f"{stack.url}/lives/?id={event_id}")
    expect(page.locator("#life")).to_be_visible()


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox").fill(text)
    page.get_by_role("button", name="Search").click()


def titles(page: Page) -> Locator:
    return page.locator("#steps strong")


def test_somebody_who_comes_first_is_told_what_to_look_for(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/lives/")
    expect(page.get_by_role("heading", name="What are you looking for?")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_focused()
    expect(page.get_by_role("link", name="Send something")).to_have_attribute("href", "/#try")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Type an id, a recipient or a type.")


def test_a_notification_is_followed_live_from_its_failures_to_being_read(page: Page, stack: Stack, api: Api) -> None:
    event_id = api.notify("alice", "Two tries", data={"fault": {"fail": 2}})
    open_life(page, stack, event_id)
    expect(titles(page)).to_have_text(["Accepted", "Attempt 1 failed", "Attempt 2 failed", "Waits for attempt 3"])
    expect(page.locator("#life-state")).to_have_text("retrying")
    countdown = page.locator("#steps li:last-child .lives-clock")
    expect(countdown).to_have_text(re.compile(r"^in [0-3]\.\d s, at "))
    said = countdown.inner_text()
    expect(countdown).not_to_have_text(said)

    # Nobody loads the page again.
    stored = ["Accepted", "Attempt 1 failed", "Attempt 2 failed", "Stored", "Not read yet"]
    expect(titles(page)).to_have_text(stored)
    expect(page.locator("#life-state")).to_have_text("stored")
    gaps = page.locator("#steps .lives-gap").all_inner_texts()
    assert gaps[0] == gaps[4] == ""
    assert re.fullmatch(r"\+\d+ ms", gaps[1])
    assert re.fullmatch(r"\+[23]\.\d\d s", gaps[3])
    expect(page.locator("#steps li").nth(1)).to_contain_text("attempt 1 fails, as the event asks for")
    expect(page.locator("#steps li").nth(2)).to_contain_text(re.compile(r"The next attempt after [23]\.\d\d s"))
    expect(page.locator("#said")).not_to_be_empty()

    assert api.post("/api/recipients/alice/read", {"ids": [event_id]}).status_code == 200
    expect(titles(page)).to_have_text([*stored[:-1], "Read"])


def test_a_dead_letter_is_followed_through_its_replay(page: Page, stack: Stack, api: Api) -> None:
    event_id = api.notify("bob", "Half baked", data={"fault": {"invalid": True}})
    open_life(page, stack, event_id)
    expect(titles(page)).to_have_text(
        ["Accepted", "Attempt 1 failed", "Given up: a dead letter", "Waits for a decision"]
    )
    expect(page.get_by_role("link", name="Dead letter", exact=True)).to_have_attribute(
        "href", f"/admin/dlq/deadletter/{event_id}/change/"
    )
    mended = {"recipient": "bob", "type": "test", "title": "Well baked"}
    assert api.post(f"/api/dlq/{event_id}/replay", {"notification": mended}).status_code == 202
    replayed = ["Edited", "Replay ordered", "Replayed: in its lane again", "Stored", "Not read yet"]
    expect(titles(page)).to_have_text(["Accepted", "Attempt 1 failed", "Given up: a dead letter", *replayed])
    expect(page.locator("#steps li").nth(3)).to_contain_text("by API key")
    expect(page.get_by_role("heading", name="Well baked")).to_be_visible()


def test_a_scheduled_one_counts_down_and_leads_to_its_schedule(page: Page, stack: Stack, api: Api) -> None:
    event = {"recipient": "carol", "type": "report.due", "title": "Report"}
    schedule = api.post("/api/schedule", {**event, "delay": 3600}).json()["id"]
    open_life(page, stack, schedule)
    expect(titles(page)).to_have_text(["Scheduled", "Waits for its time"])
    expect(page.locator("#steps li:last-child .lives-clock")).to_have_text(re.compile(r"^in (59 min|1 h)"))
    expect(page.get_by_role("link", name="Schedule", exact=True)).to_be_visible()


def test_a_recipient_is_searched_and_one_of_its_notifications_opened(page: Page, stack: Stack, api: Api) -> None:
    ids = [api.notify("dave", f"Number {number}") for number in range(3)]
    wait_until(lambda: stack.sql("SELECT count(*) FROM notifications_notification WHERE recipient = 'dave'") == [(3,)])
    page.goto(f"{stack.url}/lives/")
    search(page, " dave ")
    expect(page.get_by_role("heading", name="All 3 for")).to_be_visible()
    expect(page.locator(".lives-result-title")).to_have_text(["Number 2", "Number 1", "Number 0"])
    expect(page.get_by_role("searchbox")).to_have_value("dave")
    page.get_by_role("link", name="Number 1").click()
    expect(page.locator("#life-id")).to_have_text(ids[1])
    expect(page.get_by_role("link", name="Inbox of the recipient")).to_have_attribute("href", "/inbox/?recipient=dave")
    page.get_by_role("link", name="Back to the results").click()
    expect(page.locator(".lives-result-title")).to_have_count(3)


def test_an_id_opens_the_notification_and_times_are_the_viewers(page: Page, stack: Stack, api: Api) -> None:
    event_id = api.notify("erin", "By its id")
    page.goto(f"{stack.url}/lives/")
    search(page, event_id)
    expect(page.get_by_role("heading", name="By its id")).to_be_visible()
    time = page.locator("#steps time").first
    accepted = datetime.fromisoformat(api.get(f"/api/notifications/{event_id}")["accepted_at"])
    expect(time).to_have_attribute("title", f"{accepted.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{accepted:%f}"[:23] + " UTC")
    # India is five and a half hours ahead.
    assert int(time.inner_text()[-5:-3]) == (accepted.minute + 30) % 60


def test_what_is_not_there_is_said_with_what_was_looked_for(page: Page, stack: Stack, complaints: Complaints) -> None:
    complaints.expect("404 (Not Found)", "400 (Bad Request)")
    page.goto(f"{stack.url}/lives/?q=no.such.thing")
    expect(page.get_by_role("heading", name="Nothing found for")).to_contain_text("no.such.thing")
    expect(page.locator("#nothing")).to_contain_text("Nobody of this name was sent anything")
    expect(page.locator("#nothing")).to_contain_text("No notification has this type.")
    page.goto(f"{stack.url}/lives/?id={NOBODY}")
    expect(page.locator("#nothing")).to_contain_text("No notification has this id.")
    page.goto(f"{stack.url}/lives/?q=two+words")
    expect(page.get_by_role("alert")).to_contain_text("must be an id, a recipient or a type")


def test_an_id_is_copied_and_where_there_is_no_clipboard_selected(page: Page, stack: Stack, api: Api) -> None:
    event_id = api.notify("frida")
    open_life(page, stack, event_id)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy id").click()
    expect(page.locator("#copy")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == event_id

    # As on plain HTTP beyond localhost.
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.reload()
    page.get_by_role("button", name="Copy id").click()
    expect(page.locator("#copy")).to_contain_text("press Ctrl+C")
    assert page.evaluate("getSelection().toString()") == event_id


def test_what_is_found_after_all_takes_the_place_of_what_was_not(
    page: Page, stack: Stack, api: Api, complaints: Complaints
) -> None:
    complaints.expect("404 (Not Found)")
    event_id = api.notify("gerd", "Late")
    page.route("**/dashboard/lives/*", lambda route: route.fulfill(json={"detail": "No."}, status=404), times=1)
    page.goto(f"{stack.url}/lives/?id={event_id}")
    expect(page.locator("#nothing")).to_be_visible()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("heading", name="Late")).to_be_visible()
    expect(page.locator("#nothing")).to_be_hidden()


def test_text_from_notifications_and_errors_is_shown_as_text(page: Page, stack: Stack, api: Api) -> None:
    recipient = "אבג😀<b>"
    event_id = api.notify(recipient, HOSTILE + BIDI, body="x" * 4096, data={"<script>": HOSTILE, "bidi": BIDI})
    kept = "SELECT id FROM notifications_notification WHERE id = %s"
    wait_until(lambda: stack.sql(kept, [event_id]), message="it was not stored")
    stack.sql(
        "INSERT INTO notifications_attempt (notification_id, life, number, at, error) VALUES (%s, 0, 1, now(), %s)",
        [event_id, f"{HOSTILE}\n{BIDI}\n{'y' * 900}"],
    )
    page.set_viewport_size({"width": 375, "height": 800})
    open_life(page, stack, event_id)
    expect(page.locator("#life-title")).to_have_text(HOSTILE + BIDI)
    expect(page.locator("#life-recipient bdi")).to_have_text(recipient)
    error = page.locator("#steps .lives-error").locator("visible=true")
    expect(error.locator("summary")).to_have_text(HOSTILE)
    error.locator("summary").click()
    expect(error.locator("pre")).to_contain_text("y" * 900)
    page.get_by_text("Content", exact=True).click()
    expect(page.locator(".lives-body")).to_have_text("x" * 4096)
    expect(page.locator(".lives-data")).to_contain_text(HOSTILE)
    expect(page.locator(".lives-data")).to_contain_text("\\u202eright to left")
    # What was opened stays so while it is asked for again.
    with page.expect_response("**/dashboard/lives/**"):
        pass
    expect(error.locator("pre")).to_be_visible()
    assert accessibility.overhang(page) == 0
    page.goto(f"{stack.url}/lives/?q={recipient}")
    expect(page.locator(".lives-result-title")).to_have_text([HOSTILE + BIDI])
    assert accessibility.overhang(page) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(page: Page, stack: Stack, api: Api, scheme: Any, complaints: Complaints) -> None:
    complaints.expect("400 (Bad Request)")
    event_id = api.notify("frank", "For everybody", data={"fault": {"invalid": True}})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    for address in ("", "?q=frank", "?q=no.such.thing", "?q=two+words", f"?id={event_id}&q=frank"):
        page.goto(f"{stack.url}/lives/{address}")
        expect(
            page.locator("#empty, #results, #nothing, #life, #q-problem:not(:empty)").locator("visible=true")
        ).to_be_visible()
        assert not accessibility.violations(page), address
        page.set_viewport_size({"width": 375, "height": 800})
        assert accessibility.overhang(page) == 0, address
        page.set_viewport_size({"width": 1280, "height": 900})


def test_the_keyboard_gets_everywhere(page: Page, stack: Stack, api: Api) -> None:
    event_id = api.notify("grace", "By keyboard", data={"fault": {"invalid": True}})
    for address in ("?q=grace", f"?id={event_id}&q=grace"):
        page.goto(f"{stack.url}/lives/{address}")
        expect(page.locator("#results, #life").locator("visible=true")).to_be_visible()
        assert accessibility.walk(page) == ([], []), address


def test_while_postgresql_is_away_it_says_so_and_then_goes_on(
    browser: Browser, own_stack: Stack, complaints: Complaints
) -> None:
    own_stack.start_web()
    context = browser.new_context(storage_state=signed_in(own_stack))
    page = context.new_page()
    with Api(own_stack) as api:
        event_id = api.notify("alice", "Waits")
        open_life(page, own_stack, event_id)
        expect(titles(page)).to_have_text(["Accepted", "Waits for a worker"])
        expect(page.locator("#steps li:last-child .lives-advice")).to_have_text(LONG, timeout=ANSWER_MS)

        own_stack.postgresql.stop()
        expect(page.locator("#trouble")).to_contain_text("PostgreSQL does not answer just now.", timeout=ANSWER_MS)
        expect(titles(page)).to_have_text(["Accepted", "Waits for a worker"])
        # A program's key needs no session, and Redis knows the event.
        assert api.get(f"/api/notifications/{event_id}")["status"] == "queued"

        own_stack.postgresql.start()
        own_stack.start_worker()
        expect(titles(page)).to_have_text(["Accepted", "Stored", "Not read yet"], timeout=ANSWER_MS)
        expect(page.locator("#trouble")).to_be_hidden()
    context.close()
