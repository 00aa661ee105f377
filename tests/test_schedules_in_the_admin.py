"""Schedules in the admin as an operator meets them: a browser, and every process of a deployment."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from tests.stack import Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

ANSWER_MS = 30_000
SCHEDULES = "/admin/scheduler/schedule/"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.start_web()
        running.start_worker()
        running.start_scheduler()
        yield running


@pytest.fixture
def page(browser: Browser, session: StorageState) -> Iterator[Page]:
    """An operator's tab, signed in."""
    context = browser.new_context(storage_state=session, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(ANSWER_MS)
    tab = context.new_page()
    yield tab
    context.close()


def fill(page: Page, stack: Stack, recipient: str, title: str) -> None:
    """Open the form for a new schedule and say what it is to send."""
    page.goto(f"{stack.url}{SCHEDULES}add/")
    page.get_by_label("Recipient").fill(recipient)
    page.get_by_label("Type").fill("report.due")
    page.get_by_label("Title").fill(title)


def rows(stack: Stack, recipient: str) -> list[str]:
    """The titles in somebody's inbox."""
    query = "SELECT title FROM notifications_notification WHERE recipient = %s ORDER BY seq"
    return [title for (title,) in stack.sql(query, [recipient])]


def test_a_schedule_is_previewed_made_edited_run_and_cancelled(page: Page, stack: Stack) -> None:
    fill(page, stack, "alice", "Daily report")
    page.get_by_role("radio", name="Daily at").check()
    page.locator("#id_daily").fill("25:00")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_role("button", name="Preview the next times").click()
    expect(page.locator(".field-daily .errorlist")).to_contain_text("/daily must be HH:MM")
    page.locator("#id_daily").fill("23:30")
    page.get_by_role("button", name="Preview the next times").click()
    expect(page.locator(".schedule-preview tbody tr")).to_have_count(5)
    page.get_by_role("button", name="Schedule it").dblclick()

    expect(page.locator(".dlq-name")).to_contain_text("Daily report")
    wait_until(lambda: stack.sql("SELECT count(*) FROM scheduler_schedule") == [(1,)], message="it was not recorded")
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Title").fill("Nightly report")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".messagelist")).to_contain_text("Saved.")
    page.get_by_role("button", name="Run now").dblclick()
    expect(page.locator(".messagelist")).to_contain_text("It fired")
    wait_until(lambda: rows(stack, "alice"), message="it did not arrive")

    page.get_by_role("link", name="Cancel …").click()
    page.get_by_role("button", name="Cancel this schedule").click()
    expect(page.locator(".dlq-name .dlq-state")).to_have_text("cancelled")
    assert rows(stack, "alice") == ["Nightly report"]
    assert stack.sql("SELECT runs FROM scheduler_schedule") == [(1,)]


def test_a_delay_fires_and_its_page_leads_to_the_notification(page: Page, stack: Stack) -> None:
    fill(page, stack, "bob", "Soon")
    page.get_by_role("radio", name="After").check()
    page.locator("#id_delay").fill("1")
    page.get_by_role("button", name="Schedule it").click()
    wait_until(lambda: rows(stack, "bob"), message="it did not arrive")
    page.reload()
    expect(page.locator(".dlq-name .dlq-state")).to_have_text("fired")
    page.get_by_role("link", name="stored: look at it").click()
    expect(page.locator(".field-shown_title .readonly")).to_have_text("Soon")


def test_what_was_typed_while_postgresql_was_away_is_sent_again_from_the_page_that_says_so(
    page: Page, stack: Stack
) -> None:
    fill(page, stack, "carol", "Kept")
    page.get_by_role("radio", name="Cron").check()
    page.locator("#id_cron").fill("0 8 * * MON")
    stack.postgresql.kill()
    page.get_by_role("button", name="Schedule it").click()
    expect(page.get_by_role("heading")).to_have_text("Not just now")
    expect(page.locator("p")).to_contain_text(re.compile("PostgreSQL does not answer"))
    stack.postgresql.start()
    page.get_by_role("button", name="Send it again").click()
    expect(page.locator(".dlq-name")).to_contain_text("Kept", timeout=ANSWER_MS)
    made = "SELECT count(*) FROM scheduler_schedule WHERE recipient = 'carol'"
    wait_until(lambda: stack.sql(made) == [(1,)], message="it was not recorded")
