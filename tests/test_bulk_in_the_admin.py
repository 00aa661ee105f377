"""Bulk jobs in the admin as an operator meets them: a browser, and every process of a deployment."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, StorageState, expect

from notify_project.views import content_security_policy
from tests import bulks
from tests.api import Api
from tests.browser import Complaints
from tests.front import Deployment
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

ANSWER_MS = 30_000
expect.set_options(timeout=ANSWER_MS)
JOBS = "/admin/bulk/bulkjob/"
MAKE = (
    "from bulk.tests.helpers import crowd, make_job\n"
    "print('made', make_job(crowd({count}), title={title!r}, rate_limit={rate!r}).pk)"
)
COUNT = "SELECT count(*) FROM notifications_notification WHERE source_id = %s"
ORDERED = "SELECT status, rate_limit FROM bulk_bulkjob WHERE id = %s"
PAUSED, CANCELLED = 3, 4


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        web = running.start_web()
        running.start_worker()
        running.start_bulk_worker()
        yield Deployment(running, web)


@pytest.fixture(scope="module")
def stack(deployment: Deployment) -> Stack:
    return deployment.stack


@pytest.fixture
def page(browser: Browser, session: StorageState, stack: Stack, complaints: Complaints) -> Iterator[Page]:
    """An operator's tab, signed in."""
    context = browser.new_context(storage_state=session, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(ANSWER_MS)
    tab = context.new_page()
    complaints.listen_to(tab)
    yield tab
    context.close()


def strictly(route: Route) -> None:
    """Hand on a page that may do no more than our own may: no inline script or style, nothing from elsewhere."""
    answer = route.fetch(max_redirects=0)
    policy = content_security_policy(urlsplit(route.request.url).netloc)
    route.fulfill(response=answer, headers=answer.headers | {"content-security-policy": policy})


def make(stack: Stack, count: int, title: str, rate: str = "") -> str:
    """A job that is about to begin; its id."""
    done = stack.manage("shell", "-v", "0", "-c", MAKE.format(count=count, title=title, rate=rate))
    return done.stdout.rpartition("made ")[2].strip()


def look(page: Page, stack: Stack, job_id: str) -> None:
    """Open a job's page; what is marked on it tells whether it was loaded anew."""
    page.goto(f"{stack.url}{JOBS}{job_id}/change/")
    page.evaluate("document.body.dataset.loaded = 'once'")


def shown(page: Page, name: str) -> Locator:
    """What a page shows of a job."""
    return page.locator(f'[data-shows="{name}"]').first


def number(page: Page, name: str) -> int:
    """The same, as a number."""
    return int((shown(page, name).text_content() or "").replace(",", ""))


def rows(stack: Stack, job_id: str) -> int:
    """How many notifications of a job there are."""
    ((count,),) = stack.sql(COUNT, [job_id])
    return int(count)


def press(page: Page, name: str, said: str) -> None:
    """Press a button and read what comes of it."""
    page.get_by_role("button", name=name).click()
    expect(page.locator(".messagelist")).to_contain_text(said)


def test_a_bar_moves_by_itself_and_a_job_is_paused_slowed_and_let_go_by_its_buttons(page: Page, stack: Stack) -> None:
    job_id = make(stack, 2000, "Newsletter", "100/s")
    look(page, stack, job_id)
    expect(page.locator("#bulk-live")).to_have_text("live")
    wait_until(lambda: number(page, "stored") > 100, message="the numbers never moved")
    expect(page.locator("body")).to_have_attribute("data-loaded", "once")
    assert float(page.get_by_role("progressbar").get_attribute("aria-valuenow") or 0) > 5
    expect(shown(page, "rate")).to_have_text(re.compile(r"^\d+(\.\d)?/s$"))
    expect(shown(page, "eta")).to_have_text(re.compile(r"^\d+ s$"))

    press(page, "Pause", "Paused: nothing more is fanned out.")
    assert stack.sql(ORDERED, [job_id]) == [(PAUSED, "100/s")]
    fanned_out = number(page, "fanned_out")
    wait_until(lambda: rows(stack, job_id) == fanned_out, message="not all that was fanned out arrived")
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    page.get_by_label("At most").fill("quick")
    page.get_by_role("button", name="Set the rate").click()
    expect(page.locator(".errornote")).to_contain_text("A rate must be a number and a unit of time")
    page.get_by_label("At most").fill("")
    press(page, "Set the rate", "as fast as it can")
    assert rows(stack, job_id) == fanned_out, "it stood still"

    press(page, "Resume", "Resumed: it goes on where it was.")
    expect(shown(page, "status")).to_have_text("done")
    expect(shown(page, "percent")).to_have_text("100.0")
    expect(shown(page, "finished_at")).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"))
    expect(page.get_by_role("button", name="Set the rate")).to_be_hidden()
    expect(page.get_by_role("link", name="Cancel …")).to_be_hidden()
    assert rows(stack, job_id) == 2000


def test_a_job_is_cancelled_only_after_a_question_and_what_was_not_fanned_out_never_arrives(
    page: Page, stack: Stack
) -> None:
    job_id = make(stack, 2000, "Cancelled", "100/s")
    look(page, stack, job_id)
    wait_until(lambda: number(page, "stored") > 0, message="it never began")
    page.get_by_role("link", name="Cancel …").click()
    expect(page.locator("#content")).to_contain_text(re.compile(r"As of now [\d,]+ are fanned out"))
    assert stack.sql(ORDERED, [job_id]) != [(CANCELLED, "100/s")], "only a question so far"
    press(page, "Cancel this job", "Cancelled: what was not fanned out never will be.")
    fanned_out = number(page, "fanned_out")
    assert 0 < fanned_out < 2000
    expect(shown(page, "finished_at")).not_to_have_text("not yet")
    assert number(page, "stored") == rows(stack, job_id) == fanned_out


def test_without_a_socket_a_page_asks_and_says_so_under_the_strictest_policy(page: Page, stack: Stack) -> None:
    page.route(f"{stack.url}{JOBS}**", strictly)
    page.route_web_socket(re.compile("/ws/dashboard/"), lambda socket: socket.close(code=4503))
    job_id = make(stack, 600, "Asked for", "75/s")
    look(page, stack, job_id)
    expect(page.locator("#bulk-live")).to_have_text("every 2 s")
    expect(shown(page, "status")).to_have_text("done")
    expect(shown(page, "stored")).to_have_text("600")
    expect(page.locator("body")).to_have_attribute("data-loaded", "once")


def test_a_list_moves_by_itself_and_fits_a_telephone(page: Page, stack: Stack) -> None:
    job_id = make(stack, 600, "Listed", "150/s")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{stack.url}{JOBS}")
    row = page.locator("#result_list tbody tr", has_text="Listed")
    expect(row.locator(".dlq-state")).to_have_text("done")
    expect(row.locator(".field-progress")).to_contain_text("100.0 % · 600 of 600")
    assert rows(stack, job_id) == 600
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert row.evaluate("row => row.scrollWidth <= row.clientWidth")


def test_a_page_goes_on_after_the_web_was_away(page: Page, deployment: Deployment, complaints: Complaints) -> None:
    complaints.expect("WebSocket connection", "Failed to load resource")
    # Slow until the page has found the web again, however long that takes.
    job_id = make(deployment.stack, 1500, "Patient", "20/s")
    look(page, deployment.stack, job_id)
    expect(page.locator("#bulk-live")).to_have_text("live")
    deployment.web.kill()
    expect(page.locator("#bulk-live")).to_have_text("The server does not answer. Trying again.")
    deployment.restart_web()
    expect(page.locator("#bulk-live")).to_have_text("live", timeout=ANSWER_MS)
    with Api(deployment.stack) as api:
        bulks.dial(api, job_id, None)
    expect(shown(page, "stored")).to_have_text("1,500", timeout=ANSWER_MS)
    expect(page.locator("body")).to_have_attribute("data-loaded", "once")
