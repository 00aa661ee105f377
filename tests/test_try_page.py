"""What is tried on the flow page: a browser, and every process of a deployment."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, Locator, Page, StorageState, expect

from tests.api import Api
from tests.browser import Complaints
from tests.front import Deployment, signed_in
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

ANSWER_MS = 30_000
# The first is long enough to be seen.
RETRY_DELAYS = "2,0.2,0.2,0.2,0.2"
RIGHT_TO_LEFT_OVERRIDE = "\u202e"
HOSTILE = "<script>alert('title')</script><img src=x onerror=alert(1)>"

COUNT = "SELECT count(*) FROM notifications_notification WHERE recipient = ANY(%s)"
BURST = """
    SELECT count(*), count(DISTINCT title), count(DISTINCT recipient)
    FROM notifications_notification WHERE type = 'burst'
"""
NOBODY_YET = "DELETE FROM notifications_notification WHERE type = 'burst'"
OF_JOB = "SELECT count(*) FROM notifications_notification WHERE source_id = %s"
DUE = "SELECT next_run_at FROM scheduler_schedule WHERE recipient = %s"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Stack(tmp_path_factory.mktemp("stack"), NOTIFY_RETRY_DELAYS=RETRY_DELAYS) as running:
        web = running.start_web()
        running.start_worker()
        running.start_bulk_worker()
        running.start_scheduler()
        running.start_dlq_worker()
        yield Deployment(running, web)


@pytest.fixture(scope="module")
def stack(deployment: Deployment) -> Stack:
    return deployment.stack


@pytest.fixture
def context(browser: Browser, session: StorageState) -> Iterator[BrowserContext]:
    context = browser.new_context(storage_state=session, locale="en-GB", timezone_id="Asia/Tokyo")
    context.set_default_timeout(ANSWER_MS)
    yield context
    context.close()


@pytest.fixture
def tried(context: BrowserContext, stack: Stack, complaints: Complaints) -> "Tried":
    tried = Tried(context.new_page(), stack.url)
    complaints.listen_to(tried.page)
    return tried


@pytest.fixture
def who() -> str:
    """A recipient of the test's own."""
    return f"team/ü?&#-{uuid.uuid4().hex[:12]}"


class Tried:
    """A tab that shows the flow page, and in it "Try it"."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.section = page.get_by_role("region", name="Try it")
        self.items = self.section.locator(".try-item")
        page.goto(f"{url}/")

    def form(self, tab: str) -> Locator:
        """The form behind a tab, which is opened."""
        self.section.get_by_role("tab", name=tab).click()
        return self.section.get_by_role("tabpanel", name=tab)

    def fill(self, form: Locator, **fields: str) -> None:
        """Type into fields, by their names."""
        for name, text in fields.items():
            form.locator(f"[name={name}]").fill(text)

    def press(self, place: Locator, name: str) -> None:
        """Press a button."""
        place.get_by_role("button", name=name).click()

    def item(self, title: str) -> Locator:
        """What was done under a title."""
        return self.items.filter(has=self.page.get_by_text(title, exact=True))

    def burst(self, count: int, rate: int, recipients: int) -> Locator:
        """Start a burst; its item."""
        form = self.form("Burst")
        self.fill(form, count=str(count), rate=str(rate), recipients=str(recipients))
        self.press(form, "Start")
        return self.items.first

    def simulate(self, button: str, recipient: str) -> Locator:
        """Ask for trouble; the item."""
        form = self.form("Simulator")
        self.fill(form, recipient=recipient)
        self.press(form, button)
        return self.item(button)


def expect_state(item: Locator, state: str) -> None:
    """What an item is said to be, by now or soon."""
    expect(item.locator(".state")).to_have_text(state, timeout=ANSWER_MS)


def expect_note(item: Locator, pattern: str) -> None:
    """What is told of it."""
    expect(item.locator(".try-note")).to_have_text(re.compile(pattern), timeout=ANSWER_MS)


def expect_steps(item: Locator, *steps: str) -> None:
    """What happened to it, in order."""
    expect(item.locator(".try-steps li")).to_have_text(list(steps), timeout=ANSWER_MS)


def id_in(item: Locator, link: str, pattern: str) -> str:
    """An id in the address that a link leads to."""
    found = re.search(pattern, item.get_by_role("link", name=link).get_attribute("href") or "")
    assert found, f"no id in {link}"
    return found[1]


def life_id(item: Locator, link: str = "Its life") -> str:
    return id_in(item, link, r"/lives/\?id=([0-9a-f-]{36})$")


def job_id(item: Locator) -> str:
    return id_in(item, "Job", r"/bulkjob/([0-9a-f-]{36})/change/$")


def schedule_id(item: Locator) -> str:
    return id_in(item, "Schedule", r"/schedule/([0-9a-f-]{36})/change/$")


def number(item: Locator, pattern: str) -> int:
    """A number in what is told of an item; -1 while it is not there."""
    found = re.search(pattern, item.locator(".try-note").text_content() or "")
    return int(re.sub(r"\D", "", found[1])) if found else -1


def rows(stack: Stack, *recipients: str) -> int:
    count: int = stack.sql(COUNT, [list(recipients)])[0][0]
    return count


def test_tabs_go_by_arrows_and_one_panel_is_in_sight(tried: Tried) -> None:
    names = ["Send one", "Burst", "Schedule", "Bulk", "Simulator"]
    tabs = tried.section.get_by_role("tab")
    expect(tabs).to_have_text(names)
    tabs.first.focus()
    for key, at in [("ArrowRight", 1), ("End", 4), ("ArrowRight", 0), ("ArrowLeft", 4), ("Home", 0)]:
        tried.page.keyboard.press(key)
        expect(tabs.nth(at)).to_be_focused()
        expect(tried.section.get_by_role("tab", selected=True)).to_have_text(names[at])
        expect(tried.section.get_by_role("tabpanel")).to_have_accessible_name(names[at])
    expect(tried.section.get_by_text("Nothing yet.")).to_be_visible()


def test_what_is_sent_is_followed_until_it_is_stored_and_a_reload_keeps_it(tried: Tried, api: Api, who: str) -> None:
    form = tried.form("Send one")
    tried.fill(form, recipient=f" {who}", title="Parcel", body="Soon.", data='{"order":\n 12345678901234567890}')
    tried.press(form, "Send")
    item = tried.item("Parcel")
    expect_state(item, "stored")
    expect_steps(item, "accepted", "stored")
    expect_note(item, r"^Stored \d+ ms after it was accepted\.$")
    life = api.get(f"/api/notifications/{life_id(item)}")
    # A double cannot hold this number.
    assert (life["recipient"], life["body"], life["data"]) == (who, "Soon.", {"order": 12345678901234567890})
    tried.page.reload()
    expect_state(tried.item("Parcel"), "stored")
    tried.press(tried.section, "Clear what is over")
    expect(tried.items).to_have_count(0)
    expect(tried.section.get_by_text("Nothing yet.")).to_be_visible()


def test_wrong_input_is_told_at_its_field_and_nothing_typed_is_lost(
    tried: Tried, complaints: Complaints, who: str
) -> None:
    complaints.expect("status of 400")
    form = tried.form("Send one")
    tried.fill(form, recipient="white space", type="Ünfit", data="[1]")
    tried.press(form, "Send")
    for label, message in {
        "Recipient": "Must be 1 to 128 characters, without white space or control characters.",
        "Type": "Must be 1 to 100 of a-z 0-9 . _ - and begin with a letter or a digit.",
        "Title": "Must be 1 to 200 characters, without NUL.",
        "Data": "Must be a JSON object.",
    }.items():
        expect(form.get_by_label(label)).to_have_attribute("aria-invalid", "true")
        expect(form.get_by_label(label)).to_have_accessible_description(message)
    expect(form.get_by_label("Recipient")).to_be_focused()
    expect(form.get_by_label("Data")).to_have_value("[1]")
    expect(tried.items).to_have_count(0)
    tried.fill(form, recipient=who, type="fit", title="Now", data="{no JSON")
    tried.press(form, "Send")
    expect(form.get_by_label("Data")).to_have_accessible_description(re.compile("^Is not JSON"))
    expect(form.get_by_label("Recipient")).to_have_attribute("aria-invalid", "false")


def test_hostile_text_is_text_and_fits_a_telephone(tried: Tried, who: str) -> None:
    tried.page.set_viewport_size({"width": 375, "height": 812})
    title = f"{HOSTILE}{RIGHT_TO_LEFT_OVERRIDE}gnp.exe 👩‍👩‍👧 {'x' * 100}"
    form = tried.form("Send one")
    tried.fill(form, recipient=who + "y" * 100, title=title, body="z" * 4096)
    tried.press(form, "Send")
    expect_state(tried.items.first, "stored")
    assert tried.items.locator(".try-title").text_content() == title
    expect(tried.items.locator(".try-title")).to_have_css("unicode-bidi", "isolate")
    assert tried.items.locator("img, script").count() == 0
    assert tried.page.evaluate("document.documentElement.scrollWidth") == 375


def test_who_is_signed_out_is_told_so_and_nothing_typed_is_lost(tried: Tried, complaints: Complaints, who: str) -> None:
    complaints.expect("status of 401", "status of 403", "WebSocket")
    form = tried.form("Send one")
    tried.fill(form, recipient=who, title="Later")
    tried.page.context.clear_cookies(name="sessionid")
    tried.press(form, "Send")
    expect(form.get_by_text("You are signed out. Nothing was sent.")).to_be_visible()
    expect(form.get_by_role("link", name="Sign in, in a new tab")).to_have_attribute("href", re.compile("login"))
    expect(form.get_by_label("Title")).to_have_value("Later")


def test_a_burst_sends_each_once_no_faster_than_its_rate(tried: Tried, stack: Stack) -> None:
    stack.sql(NOBODY_YET)
    item = tried.burst(count=900, rate=300, recipients=7)
    expect_state(item, "sending")
    expect_state(item, "done")
    expect_note(item, r"^900 of 900 accepted in [\d.]+ s \(\d+/s\)\. .*The last one was stored [\d.]+ m?s after it")
    seconds = re.search(r"in ([\d.]+) s", item.locator(".try-note").text_content() or "")
    # A slice is sent at the beginning of its time.
    assert seconds
    assert float(seconds[1]) > 900 / 300 - 0.5
    wait_until(lambda: stack.sql(BURST) == [(900, 900, 7)], message="not each was stored once")
    expect(item.get_by_role("button", name="Stop")).to_be_hidden()
    expect(item.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    tried.page.reload()
    expect_note(tried.items.first, "^900 of 900 accepted")


def test_a_burst_that_is_stopped_has_sent_as_many_as_it_says(tried: Tried, stack: Stack) -> None:
    stack.sql(NOBODY_YET)
    item = tried.burst(count=100_000, rate=100, recipients=100_000)
    wait_until(lambda: number(item, r"^([\d\s]+) of 100\s000") >= 100, message="it sends nothing")
    tried.press(item, "Stop")
    expect_state(item, "stopped")
    expect_note(item, "The last one was stored")
    accepted = number(item, r"^([\d\s]+) of 100\s000 accepted")
    assert 100 <= accepted < 5000
    wait_until(lambda: stack.sql(BURST) == [(accepted, accepted, accepted)], message="it says another number")


def test_a_burst_takes_numbers_that_make_sense(tried: Tried) -> None:
    form = tried.form("Burst")
    tried.fill(form, count="100001", rate="0", recipients="")
    tried.press(form, "Start")
    for label, most in {"How many": 100_000, "A second": 10_000, "To how many recipients": 100_000}.items():
        field = form.get_by_label(label, exact=True)
        expect(field).to_have_accessible_description(re.compile(f"^Must be a whole number from 1 to {most}[.]"))
    expect(tried.items).to_have_count(0)


def test_a_burst_waits_as_long_as_a_full_backlog_asks_and_loses_nothing(
    browser: Browser, tmp_path: Path, complaints: Complaints
) -> None:
    complaints.expect("status of 503")
    # Each shard has its part of it, and ten recipients are in ten of them at most.
    backlog = 300 if settings.NOTIFY.shards == 1 else 50 * settings.NOTIFY.shards
    with Stack(tmp_path, NOTIFY_MAX_BACKLOG=str(backlog)) as stack:
        stack.start_web()
        context = browser.new_context(storage_state=signed_in(stack))
        tried = Tried(context.new_page(), stack.url)
        complaints.listen_to(tried.page)
        item = tried.burst(count=1000, rate=1000, recipients=10)
        expect_state(item, "waiting")
        expect_note(item, r"Nothing was accepted\. Going on in [\d.]+ m?s \(503\)\.$")
        stack.start_worker()
        expect_state(item, "done")
        expect_note(item, r"^1\s000 of 1\s000 accepted")
        wait_until(lambda: stack.sql(BURST) == [(1000, 1000, 10)], message="not each was stored once")
        context.close()


def test_a_delay_counts_down_fires_and_is_followed_until_it_is_stored(tried: Tried, stack: Stack, who: str) -> None:
    form = tried.form("Schedule")
    tried.fill(form, delay="3", recipient=who, title="Soon")
    tried.press(form, "Schedule")
    item = tried.item("Soon")
    expect_state(item, "scheduled")
    for seconds in (3, 2, 1):
        expect_note(item, rf"^Runs in {seconds} s: ")
    expect_state(item, "stored")
    expect_note(item, r"^Fired at .*, stored (\d+ ms|[01]\.\d s) later\.$")
    assert life_id(item) == schedule_id(item)
    assert rows(stack, who) == 1
    expect(item.get_by_role("button", name="Cancel")).to_be_hidden()


def test_a_time_is_typed_by_the_viewers_clock(tried: Tried, stack: Stack, who: str) -> None:
    form = tried.form("Schedule")
    form.get_by_role("radio", name="At a time").check()
    expect(form.get_by_label("Date and time")).to_have_accessible_description("By your clock: Asia/Tokyo, UTC+09:00.")
    expect(form.get_by_label("Seconds from now")).to_be_hidden()
    tried.fill(form, at="2099-01-01T08:15:30", recipient=who, title="New year")
    tried.press(form, "Schedule")
    expect_note(tried.item("New year"), r"^Runs in \d+ d .*: 1 Jan 2099, 08:15:30\.$")
    wait_until(lambda: [row[0].isoformat() for row in stack.sql(DUE, [who])] == ["2098-12-31T23:15:30+00:00"])


@pytest.mark.parametrize(("at", "offset"), [("2099-01-15T12:00", "+01:00"), ("2099-07-15T12:00", "+02:00")])
def test_the_clock_is_that_of_the_day_that_is_typed(
    browser: Browser, session: StorageState, stack: Stack, at: str, offset: str
) -> None:
    context = browser.new_context(storage_state=session, timezone_id="Europe/Berlin")
    form = Tried(context.new_page(), stack.url).form("Schedule")
    form.get_by_role("radio", name="At a time").check()
    form.get_by_label("Date and time").fill(at)
    hint = f"By your clock: Europe/Berlin, UTC{offset}."
    expect(form.get_by_label("Date and time")).to_have_accessible_description(hint)
    context.close()


def test_what_is_cancelled_says_so_and_never_arrives(tried: Tried, api: Api, who: str) -> None:
    form = tried.form("Schedule")
    form.get_by_role("radio", name="Every day").check()
    tried.fill(form, daily="08:30", recipient=who, title="Digest")
    tried.press(form, "Schedule")
    item = tried.item("Digest")
    expect_note(item, r"^Every day at 08:30, Asia/Tokyo\. Runs in .*, 08:30:00\.$")
    tried.press(item, "Cancel")
    expect_state(item, "cancelled")
    expect(item.get_by_role("button", name="Cancel")).to_be_hidden()
    assert api.get(f"/api/schedule/{schedule_id(item)}")["status"] == "cancelled"


def test_a_recurrence_tells_of_its_runs_and_waits_for_the_next(tried: Tried, api: Api, who: str) -> None:
    form = tried.form("Schedule")
    form.get_by_role("radio", name="Cron").check()
    tried.fill(form, cron="0 9 1 1 *", timezone="Europe/Berlin", recipient=who, title="Yearly")
    tried.press(form, "Schedule")
    item = tried.item("Yearly")
    expect_note(item, r"^Cron 0 9 1 1 \*, Europe/Berlin\. Runs in ")
    assert api.post(f"/api/schedule/{schedule_id(item)}/run").status_code == 202
    expect_note(item, r"Ran once, last ")
    expect_state(item, "scheduled")
    assert api.get(f"/api/notifications/{life_id(item, 'The last run')}")["source_id"] == schedule_id(item)


def test_a_bad_time_is_told_at_its_field(tried: Tried, complaints: Complaints, who: str) -> None:
    complaints.expect("status of 400")
    form = tried.form("Schedule")
    form.get_by_role("radio", name="Cron").check()
    tried.fill(form, cron="every day", timezone="Mars/Olympus", recipient=who, title="Never")
    tried.press(form, "Schedule")
    expect(form.locator("[name=cron], [name=timezone]").and_(form.locator("[aria-invalid=true]"))).not_to_have_count(0)
    form.get_by_role("radio", name="In a while").check()
    tried.fill(form, delay="-1")
    tried.press(form, "Schedule")
    expect(form.get_by_label("Seconds from now")).to_have_attribute("aria-invalid", "true")
    expect(tried.items).to_have_count(0)


def test_a_bulk_job_moves_stands_still_is_turned_up_and_ends(tried: Tried, stack: Stack, api: Api) -> None:
    form = tried.form("Bulk")
    tried.fill(form, count="3000", title="Newsletter")
    form.get_by_label("At most").select_option("200/s")
    tried.press(form, "Start the job")
    item = tried.item("Newsletter")
    expect(item.get_by_text("to 3 000 recipients")).to_be_visible()
    expect_state(item, "running")
    expect_note(item, r"^[\d\s]+ of 3\s000 stored, \d+/s, \d+ s left\.$")
    tried.press(item, "Pause")
    expect_state(item, "paused")
    expect(item.get_by_role("button", name="Resume")).to_be_focused()
    dial = item.get_by_role("slider")
    expect(dial).to_have_attribute("aria-valuetext", "200/s")
    dial.focus()
    tried.page.keyboard.press("End")
    expect(dial).to_have_attribute("aria-valuetext", "as fast as it goes")
    wait_until(lambda: api.get(f"/api/bulk/{job_id(item)}")["rate_limit"] is None, message="the dial turns nothing")
    assert api.get(f"/api/bulk/{job_id(item)}")["status"] == "paused"
    tried.press(item, "Resume")
    expect_state(item, "done")
    expect_note(item, r"^3\s000 of 3\s000 stored, in [\d.]+ s \([\d\s]+/s\)\.$")
    expect(item.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    expect(dial).to_be_hidden()
    assert stack.sql(OF_JOB, [job_id(item)]) == [(3000,)]


def test_a_bulk_job_is_cancelled(tried: Tried, api: Api) -> None:
    form = tried.form("Bulk")
    tried.fill(form, count="5000", title="Regretted")
    form.get_by_label("At most").select_option("100/s")
    tried.press(form, "Start the job")
    item = tried.item("Regretted")
    expect_state(item, "running")
    tried.press(item, "Cancel")
    expect_state(item, "cancelled")
    wait_until(lambda: api.get(f"/api/bulk/{job_id(item)}")["finished_at"])
    assert api.get(f"/api/bulk/{job_id(item)}")["stored"] < 5000


def test_typed_recipients_get_theirs_and_what_is_no_id_is_told(tried: Tried, stack: Stack, who: str) -> None:
    form = tried.form("Bulk")
    form.get_by_role("radio", name="Typed").check()
    tried.fill(form, recipients=f"{who}-1\n{who}-2\nno id\n{who}-1\n", title="To you")
    tried.press(form, "Start the job")
    item = tried.item("To you")
    expect_state(item, "done")
    expect_note(item, r"^2 of 2 stored.* 1 came twice and count once\. 1 line was no id, the first in line 4: ")
    assert rows(stack, f"{who}-1", f"{who}-2") == 2


@pytest.mark.parametrize("brings", [True, False])
def test_a_file_is_sent_as_it_is_with_its_own_notification_or_with_the_typed_one(
    tried: Tried, stack: Stack, api: Api, who: str, tmp_path: Path, *, brings: bool
) -> None:
    recipients = [f"{who}-{index}" for index in range(20_000)]
    head = [json.dumps({"type": "news", "title": "The file's own"})] if brings else []
    file = tmp_path / "list.ndjson"
    file.write_text("\n".join([*head, *recipients]))
    form = tried.form("Bulk")
    form.get_by_role("radio", name="From a file").check()
    form.get_by_label("File", exact=True).set_input_files(file)
    if not brings:
        tried.fill(form, title="Typed here")
    tried.press(form, "Start the job")
    item = tried.item("list.ndjson" if brings else "Typed here")
    expect_state(item, "done")
    assert api.get(f"/api/bulk/{job_id(item)}")["title"] == ("The file's own" if brings else "Typed here")
    assert rows(stack, *recipients) == 20_000


def test_without_a_file_or_a_title_that_is_told(tried: Tried, complaints: Complaints) -> None:
    complaints.expect("status of 400")
    form = tried.form("Bulk")
    tried.press(form, "Start the job")
    expect(form.get_by_label("Title")).to_have_accessible_description("Must be 1 to 200 characters, without NUL.")
    form.get_by_role("radio", name="From a file").check()
    tried.press(form, "Start the job")
    expect(form.get_by_label("File", exact=True)).to_have_accessible_description(re.compile(r"^Choose a file first\."))
    expect(tried.items).to_have_count(0)


def test_what_fails_twice_is_seen_to_wait_and_then_to_be_stored(tried: Tried, stack: Stack, who: str) -> None:
    item = tried.simulate("Fails twice", who)
    expect_state(item, "retrying")
    expect_note(item, r"^Attempt 2 in [12] s\. The error: .*attempt 1 fails")
    expect_state(item, "stored")
    expect_steps(item, "accepted", "attempt 1 failed", "attempt 2 failed", "stored at attempt 3")
    assert rows(stack, who) == 1


def test_what_always_fails_ends_as_a_dead_letter(tried: Tried, stack: Stack, who: str) -> None:
    item = tried.simulate("Always fails", who)
    expect_state(item, "dead")
    expect_steps(item, "accepted", "attempts 1 to 6 failed", "dead")
    expect_note(item, r"^Given up after 6 attempts\. The error: ")
    expect(item.get_by_role("link", name="Dead letters")).to_have_attribute("href", "/dead-letters/")
    assert rows(stack, who) == 0


def test_what_is_invalid_is_dead_at_once(tried: Tried, who: str) -> None:
    item = tried.simulate("Is invalid", who)
    expect_state(item, "dead")
    expect_note(item, r"^Given up after one attempt\. The error: .*never succeed")


def test_what_is_slow_makes_its_worker_wait_and_is_stored(tried: Tried, who: str) -> None:
    item = tried.simulate("Is slow", who)
    expect_note(item, r"^Not stored for \d s\. Its worker is busy with it\.$")
    expect_state(item, "stored")
    expect_note(item, r"^Stored [56]\.\d s after it was accepted\.$")


def test_what_kills_its_workers_is_found_out(
    browser: Browser, tmp_path: Path, complaints: Complaints, who: str
) -> None:
    with Stack(tmp_path, NOTIFY_CLAIM_IDLE_SECONDS="5") as stack:
        stack.start_web()
        worker = stack.start_worker()
        context = browser.new_context(storage_state=signed_in(stack))
        tried = Tried(context.new_page(), stack.url)
        complaints.listen_to(tried.page)
        item = tried.simulate("Crashes its worker", who)
        expect_note(item, r"^Not stored for \d+ s\. Its worker died\.")
        for _ in range(3):
            wait_until(lambda worker=worker: worker.returncode is not None)  # type: ignore[misc]
            worker = stack.start_worker()
        expect_state(item, "dead")
        expect_note(item, r"^Given up after 3 attempts\. The error: Its worker died 3 times")
        assert worker.returncode is None
        context.close()


def test_where_faults_are_off_the_simulator_says_so(
    browser: Browser, stack: Stack, session: StorageState, complaints: Complaints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(stack.env, "NOTIFY_FAULT_INJECTION", "0")
    monkeypatch.setattr(stack, "url", "")
    web = stack.start_web()
    context = browser.new_context(storage_state=session)
    tried = Tried(context.new_page(), stack.url)
    complaints.listen_to(tried.page)
    form = tried.form("Simulator")
    expect(form.get_by_text("The simulator is off here.")).to_be_visible()
    expect(form.get_by_role("button")).to_have_count(0)
    context.close()
    web.kill()


def test_a_web_that_was_away_is_found_again_with_what_happened_meanwhile(
    deployment: Deployment, tried: Tried, complaints: Complaints, who: str
) -> None:
    complaints.expect("net::ERR_", "WebSocket")
    form = tried.form("Schedule")
    tried.fill(form, delay="4", recipient=who, title="Meanwhile")
    tried.press(form, "Schedule")
    expect_state(tried.item("Meanwhile"), "scheduled")
    deployment.web.kill()
    expect_state(tried.item("Meanwhile"), "unknown")
    expect_note(tried.item("Meanwhile"), "The server does not answer")
    tried.press(form, "Schedule")
    expect(form.get_by_text("Press again in a moment: nothing is sent twice.")).to_be_visible()
    deployment.restart_web()
    expect_state(tried.item("Meanwhile"), "stored")
