"""Dead letters in the admin as an operator meets them: a browser, and every process of a deployment."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, StorageState, expect
from playwright.sync_api import Error as PageChanges

from tests.api import Api
from tests.browser import Complaints
from tests.stack import ADMIN_USER, Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

RETRY_DELAYS = "0.2,0.2,0.2,0.2,0.2"
FAILS_ALWAYS = {"fail": -1}
ANSWER_MS = 30_000


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
    """An operator's tab, signed in; what goes wrong in it is an error."""
    context = browser.new_context(storage_state=session, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(ANSWER_MS)
    tab = context.new_page()
    complaints.listen_to(tab)
    yield tab
    context.close()


def bury(api: Api, stack: Stack, *recipients: str, fault: Any = FAILS_ALWAYS, **fields: Any) -> list[str]:
    """Events that fail until they are dead letters; their ids."""
    ids = [api.notify(recipient, data={"fault": fault}, **fields) for recipient in recipients]
    buried = "SELECT count(*) FROM dlq_deadletter WHERE status = 0 AND recipient = ANY(%s)"
    wait_until(lambda: stack.sql(buried, [list(recipients)])[0][0] == len(recipients), message="nothing died")
    return ids


def passages(stack: Stack, letter_id: str) -> list[tuple[int, str]]:
    """What happened to a letter and who did it."""
    return stack.sql('SELECT kind, "by" FROM dlq_passage WHERE letter_id = %s ORDER BY id', [letter_id])


def open_letters(page: Page, stack: Stack, query: str = "") -> None:
    page.goto(f"{stack.url}/admin/dlq/deadletter/{query}")


def middles(button: Locator) -> list[tuple[float, float]]:
    """Where such buttons are just now, if any."""
    boxes: list[dict[str, float]] = button.evaluate_all("found => found.map(one => one.getBoundingClientRect())")
    return [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]


def test_an_event_that_always_fails_is_edited_and_replayed_into_one_row(page: Page, stack: Stack, api: Api) -> None:
    (event_id,) = bury(api, stack, "alice", title="Half baked", body="a\nb")
    open_letters(page, stack, "?q=alice")
    row = page.locator("#result_list tbody tr")
    expect(row).to_have_count(1)
    expect(row.locator(".field-reason")).to_have_text("retries_exhausted")
    expect(row.locator(".field-attempts")).to_have_text("6")
    row.locator(".field-when a, th a").first.click()
    page.get_by_role("link", name="Edit and replay").click()

    page.get_by_label("Title").fill("")
    page.get_by_label("Data").fill('{"oven": "hot"}')
    page.get_by_role("button", name="Replay as corrected").click()
    expect(page.locator(".field-title .errorlist")).to_contain_text("/title must be 1 to 200 characters")
    expect(page.get_by_label("Data")).to_have_value('{"oven": "hot"}')
    page.get_by_label("Title").fill("Well baked")
    page.get_by_role("button", name="Replay as corrected").click()

    expect(page.locator(".messagelist")).to_contain_text("1 letter replayed, as you corrected it.")
    expect(page.locator(".dlq-fate")).to_contain_text("It is stored", timeout=ANSWER_MS)
    expect(page.locator(".dlq-name .dlq-state")).to_have_text("replayed")
    stored = stack.sql("SELECT id, title, body, data FROM notifications_notification WHERE recipient = 'alice'")
    assert [(str(row_id), *rest) for row_id, *rest in stored] == [(event_id, "Well baked", "a\nb", {"oven": "hot"})]
    assert passages(stack, event_id) == [(0, ""), (3, ADMIN_USER), (1, ADMIN_USER), (2, "")]
    page.get_by_role("link", name="stored: look at it").click()
    expect(page.locator(".field-shown_title .readonly")).to_have_text("Well baked")


@pytest.mark.parametrize("gap_ms", [0, 150, 400])
def test_a_double_click_replays_once(page: Page, stack: Stack, api: Api, gap_ms: int) -> None:
    """However slow the click is, and though an invalid event is dead again before its second half."""
    (event_id,) = bury(api, stack, f"bob-{gap_ms}", fault={"invalid": True})
    page.goto(f"{stack.url}/admin/dlq/deadletter/{event_id}/change/")
    button = page.get_by_role("button", name="Replay", exact=True)
    (spot,) = middles(button)
    page.mouse.click(*spot)
    if gap_ms:
        # How long the hand takes; and at worst the new page, if it is there by then, has it under the pointer.
        page.wait_for_timeout(gap_ms)
        with suppress(PageChanges):
            spot = next(iter(middles(button)), spot)
    page.mouse.click(*spot)
    expect(page.locator(".messagelist")).to_be_visible()
    died = "SELECT count(*) FROM dlq_passage WHERE letter_id = %s AND kind = 0"
    wait_until(lambda: stack.sql(died, [event_id])[0][0] > 1, message="it did not die again")
    # The buttons are there again, of themselves, and by then whatever the second half did is done.
    expect(button).to_be_visible()
    assert [kind for kind, _ in passages(stack, event_id)] == [0, 1, 2, 0]


def test_a_canary_that_dies_again_stops_the_operator_in_time(page: Page, stack: Stack, api: Api) -> None:
    ids = bury(api, stack, "carol", "dave", "erin", type="canary.test")
    open_letters(page, stack, "?type=canary.test")
    page.get_by_role("link", name="Replay all that match").click()
    expect(page.locator(".dlq-count")).to_have_text("3 letters would be replayed:")
    page.get_by_role("button", name="Canary: replay one first").click()
    # It looks again by itself.
    expect(page.locator(".dlq-fate")).to_contain_text("It died again", timeout=ANSWER_MS)
    expect(page.locator(".dlq-fate")).to_contain_text("fault")
    expect(page.get_by_role("button", name="Replay the rest (2)")).to_be_visible()
    page.get_by_role("link", name="Stop here").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(3)
    ordered = [letter_id for letter_id in ids if (1, ADMIN_USER) in passages(stack, letter_id)]
    assert len(ordered) == 1
