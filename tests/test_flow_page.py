"""The flow page and the page of processes in a browser, against real processes, and against a scripted socket where
the point is what the page makes of it."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, StorageState, WebSocketRoute, expect

from tests.api import Api
from tests.browser import Complaints
from tests.front import Deployment
from tests.stack import Process, Stack

pytestmark = pytest.mark.one_shard_is_enough

HOSTILE = "<script>alert(1)</script>\u202e<img src=x onerror=alert(1)> \N{SNOWMAN} " + "x" * 4096
NAMES: Final = ("api", "live", "bulk", "workers", "postgresql", "sockets", "retry", "schedule", "bulk_jobs", "dlq")
# A killed worker is known to be dead after a while, and forgotten after another.
DEATH_MS: Final = 45_000
NOT_KNOWN: Final = "\N{EN DASH}"
FRAMES: Final = 4_000
# What the browser itself holds varies by so much; a page that kept its frames would hold five times that.
ROOM_BYTES: Final = 1_500_000


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        # It misses no process but workers, so that what is told is about those.
        stack.start_scheduler()
        yield Deployment(stack, stack.start_web())


@pytest.fixture(scope="module")
def stack(deployment: Deployment) -> Stack:
    return deployment.stack


@pytest.fixture
def context(browser: Browser, session: StorageState) -> Iterator[BrowserContext]:
    context = browser.new_context(
        storage_state=session,
        locale="en-GB",
        timezone_id="Asia/Kolkata",
        color_scheme="light",
        viewport={"width": 1440, "height": 1000},
    )
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, complaints: Complaints) -> Page:
    page = context.new_page()
    complaints.listen_to(page)
    return page


@pytest.fixture
def start_worker(stack: Stack) -> Iterator[Callable[[], Process]]:
    """Starts workers, which end with the test."""
    started: list[Process] = []

    def start() -> Process:
        started.append(stack.start_worker())
        return started[-1]

    yield start
    for worker in started:
        worker.terminate()
        worker.wait()


def stage(page: Page, name: str) -> Locator:
    return page.locator(f'[data-stage="{name}"]')


def expect_stage(page: Page, name: str, state: str, seconds: float = 20) -> None:
    """A stage is in a state, by its word as by what its colour hangs on."""
    expect(stage(page, name)).to_have_attribute("data-state", state, timeout=seconds * 1000)
    expect(stage(page, name).locator(".state")).to_have_text("working" if state == "ok" else state)


def until(page: Page, condition: Callable[[], bool]) -> None:
    """Wait in Playwright's own way: only while it waits does it tell of what happens in the page."""
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "the page did not do it"
        page.wait_for_timeout(20)


class Script:
    """Says to the page's socket what a test tells it to."""

    def __init__(self, page: Page) -> None:
        self._sockets: list[WebSocketRoute] = []
        self._page = page
        page.route_web_socket("**/ws/dashboard/", self._connected)
        page.route("**/dashboard/history", lambda route: route.fulfill(json={"step_ms": 5000, "points": []}))

    def flow(self, latency: Any = None, **stages: Any) -> None:
        """Send a flow in which every stage rests but those that are named."""
        rest = {"state": "idle", "reason": "", "advice": "", "count": 0, "rate": 0, "lag_ms": None}
        told = {name: {**rest, **stages.get(name, {})} for name in NAMES}
        latency = latency or {"p50_ms": None, "p99_ms": None}
        self.says(type="flow", at=time.time_ns() // 1_000_000, stages=told, latency=latency)

    def says(self, **frame: Any) -> None:
        """Send a frame to the newest socket."""
        self._sockets[-1].send(json.dumps(frame))

    def closes(self, code: int) -> None:
        """Close the newest socket."""
        self._sockets[-1].close(code=code)

    def open(self, stack: Stack, path: str = "/") -> None:
        """Load a page, and wait for its socket."""
        self._page.goto(f"{stack.url}{path}")
        self.expect_sockets(1)

    def expect_sockets(self, count: int) -> None:
        """So many sockets were opened by now."""
        until(self._page, lambda: len(self._sockets) >= count)

    def _connected(self, socket: WebSocketRoute) -> None:
        self._sockets.append(socket)
        socket.send(json.dumps({"type": "hello"}))


@pytest.fixture
def script(page: Page) -> Script:
    return Script(page)


def test_a_system_with_nothing_to_do_says_so_and_what_to_do_first(
    page: Page, stack: Stack, start_worker: Callable[[], Process]
) -> None:
    start_worker()
    page.goto(stack.url)
    expect(page.locator("#connection")).to_have_text("live")
    expect_stage(page, "workers", "idle")
    expect(page.locator("#banner")).to_contain_text("Nothing to do.")
    page.get_by_role("link", name="Send something").click()
    expect(page).to_have_url(f"{stack.url}/#try")


def test_work_waits_until_a_worker_comes_and_the_page_says_why_and_then_that_it_flows(
    page: Page, stack: Stack, start_worker: Callable[[], Process]
) -> None:
    page.goto(stack.url)
    with Api(stack) as api:
        api.notify_all([f"waits-{number}" for number in range(1234)])
    expect_stage(page, "workers", "down")
    expect_stage(page, "live", "stalled")
    expect(stage(page, "live").locator(".stage-count")).to_have_text(re.compile(r"^1\s234 waiting$"))
    banner = page.locator("#banner")
    expect(banner).to_contain_text("Workers: down. No worker is running")
    expect(banner).to_contain_text("manage.py worker")
    expect(page.locator("#spoken")).to_contain_text("Workers: down.")

    start_worker()
    expect(stage(page, "live").locator(".stage-count")).to_have_text("0 waiting", timeout=30_000)
    expect_stage(page, "workers", "idle")
    expect(banner).to_contain_text("Nothing to do.")
    expect(page.locator("#throughput .curve-plot")).to_have_attribute(
        "aria-label", re.compile("stored: .* on average, [1-9][0-9.]*/s at most"), timeout=20_000
    )


def test_the_curves_survive_a_reload(page: Page, stack: Stack) -> None:
    with Api(stack) as api:
        api.notify("curves")
    page.goto(stack.url)
    curve = page.get_by_role("img", name="The last 15 minutes.").first
    expect(curve).to_have_attribute("aria-label", re.compile("accepted: .* on average, [0-9.]+/s at most"))
    page.reload()
    expect(curve).to_have_attribute("aria-label", re.compile("accepted: .* on average, [0-9.]+/s at most"))


def test_who_is_cut_off_is_told_and_connected_again_without_a_reload(
    page: Page, deployment: Deployment, complaints: Complaints
) -> None:
    complaints.expect("WebSocket connection", "net::ERR_", "Failed to load resource")
    page.goto(deployment.stack.url)
    expect(page.locator("#connection")).to_have_text("live")
    page.evaluate("window.stillTheSame = true")
    deployment.web.kill()
    expect(page.locator("#connection")).to_have_text("cut off", timeout=10_000)
    expect(page.locator("#banner")).to_contain_text("The server does not answer.")
    deployment.restart_web()
    expect(page.locator("#connection")).to_have_text("live", timeout=40_000)
    expect(page.locator("#banner")).not_to_contain_text("The server does not answer.")
    assert page.evaluate("window.stillTheSame") is True


def test_what_died_is_shown_as_dead_and_the_servers_with_what_they_are(
    page: Page, stack: Stack, start_worker: Callable[[], Process]
) -> None:
    worker = start_worker()
    page.goto(f"{stack.url}/processes/")
    group = page.get_by_role("region", name="Workers store")
    row = group.locator("tr.process").filter(has_text=str(worker.pid))
    expect(row).to_have_attribute("data-state", "alive", timeout=20_000)
    expect(row.locator(".process-memory")).to_have_text(re.compile("MiB"))
    expect(row.locator("time")).to_have_attribute("title", re.compile(r"^Since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
    expect(page.get_by_role("region", name="DLQ workers").get_by_text("manage.py dlq_worker")).to_be_visible()
    for name in ("PostgreSQL", "Valkey"):
        server = page.locator(".server").filter(has=page.get_by_role("heading", name=name))
        expect(server).to_have_attribute("data-state", "ok")
        expect(server.locator(".server-version")).to_have_text(re.compile(r"\d+\.\d+"))
        expect(server.locator(".server-latency")).to_have_text(re.compile(r"ms$"))
    worker.kill()
    expect(row).to_have_attribute("data-state", "dead", timeout=DEATH_MS)
    expect(group.locator(".group-none")).to_be_visible()
    expect(page.locator("#spoken")).to_contain_text(f"worker {worker.pid}")


def test_one_process_goes_without_touching_the_row_of_another(page: Page, script: Script, stack: Stack) -> None:
    told = {"host": "h", "started_at": 0, "beat_age_ms": 0, "state": "alive", "handled": 1, "rate": 0, "rss_bytes": 1}
    two = [{**told, "name": name, "kind": "worker", "pid": pid, "sockets": None} for name, pid in (("a", 1), ("b", 2))]
    script.open(stack, "/processes/")
    script.says(type="processes", at=1000, processes=two, servers=[])
    rows = page.locator("tr.process")
    expect(rows).to_have_count(2)
    page.evaluate("document.querySelectorAll('tr.process')[1].dataset.same = 'yes'")
    script.says(type="processes", at=2000, processes=two[1:], servers=[])
    expect(rows).to_have_count(1)
    expect(rows).to_have_attribute("data-same", "yes")


def test_the_cause_comes_first_and_the_others_are_named(page: Page, script: Script, stack: Stack) -> None:
    script.open(stack)
    script.flow(
        live={"state": "stalled", "reason": "7 events wait."},
        workers={"state": "stalled", "reason": "Workers wait for PostgreSQL."},
        postgresql={"state": "down", "reason": "PostgreSQL does not answer.", "advice": "Start it.", "count": None},
    )
    banner = page.locator("#banner")
    expect(banner).to_contain_text("PostgreSQL: down. PostgreSQL does not answer.")
    expect(banner).to_contain_text("Also in trouble: Workers, Lane live.")
    expect(banner).to_contain_text("Start it.")
    expect(stage(page, "postgresql").locator(".stage-count b")).to_have_text(NOT_KNOWN)


def test_a_reason_is_text_whatever_is_in_it_and_breaks_nothing(page: Page, script: Script, stack: Stack) -> None:
    page.set_viewport_size({"width": 375, "height": 800})
    script.open(stack)
    script.flow(workers={"state": "down", "reason": HOSTILE, "advice": HOSTILE, "count": 12_345_678_901})
    expect(stage(page, "workers").locator(".stage-note")).to_have_text(HOSTILE)
    assert page.evaluate("document.documentElement.scrollWidth") == 375


def test_silence_on_an_open_socket_is_told_and_another_one_tried(page: Page, script: Script, stack: Stack) -> None:
    page.clock.install()
    script.open(stack)
    script.flow()
    expect(page.locator("#connection")).to_have_text("live")
    # Real time goes on besides.
    page.clock.run_for(2_000)
    expect(page.locator("#connection")).to_have_text("live")
    page.clock.run_for(5_000)
    expect(page.locator("#connection")).to_have_text("cut off")
    expect(page.locator("#banner")).to_contain_text(re.compile(r"No news for \d+\ss\."))
    page.clock.run_for(2_000)
    # Read out once, though the seconds go on.
    expect(page.locator("#spoken")).to_contain_text("No news for")
    said = page.locator("#spoken").text_content()
    page.clock.run_for(3_000)
    expect(page.locator("#spoken")).to_have_text(said or "")
    script.expect_sockets(2)
    script.flow()
    page.clock.run_for(100)
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#banner")).to_contain_text("Nothing to do.")


def test_who_is_signed_out_is_told_to_sign_in(page: Page, script: Script, stack: Stack) -> None:
    script.open(stack)
    script.closes(4401)
    link = page.locator("#banner").get_by_role("link", name="Sign in")
    expect(link).to_have_attribute("href", "/admin/login/?next=/")


def test_the_way_to_sign_in_keeps_the_keyboards_focus(page: Page, script: Script, stack: Stack) -> None:
    page.clock.install()
    script.open(stack, "/processes/")
    script.closes(4401)
    link = page.locator(".processes-cut").get_by_role("link", name="Sign in")
    expect(link).to_have_attribute("href", "/admin/login/?next=/processes/")
    link.focus()
    page.clock.run_for(3_000)
    expect(link).to_be_focused()


def test_a_gap_that_nobody_measured_stays_one_and_the_keys_tell_each_slice(
    page: Page, script: Script, stack: Stack
) -> None:
    now = time.time_ns() // 5_000_000_000 * 5000
    counts = {"failed": 0, "dead": 0, "p50_ms": 12, "p99_ms": 345}
    points = [{"at": now - back * 5000, "accepted": 50, "stored": 45, **counts} for back in (9, 8, 2)]
    page.route("**/dashboard/history", lambda route: route.fulfill(json={"step_ms": 5000, "points": points}))
    script.open(stack)
    curve = page.locator("#throughput .curve-plot")
    expect(curve).to_have_attribute("aria-label", re.compile("accepted: 10/s on average, 10/s at most"))
    curve.focus()
    tip = page.locator("#throughput .curve-tip")
    page.keyboard.press("ArrowLeft")
    expect(tip).to_contain_text("not measured")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    expect(tip).to_contain_text("accepted 10/s · stored 9/s · failed 0/s")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.locator("#latency").get_by_text("In numbers").click()
    expect(page.locator("#latency tbody tr").first).to_contain_text(re.compile(rf"12\sms.*345\sms|{NOT_KNOWN}"))


def test_the_colours_are_chosen_by_keyboard_and_kept(page: Page, script: Script, stack: Stack) -> None:
    script.open(stack)
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.get_by_role("radio", name="As the system").focus()
    page.keyboard.press("ArrowRight")
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.reload()
    expect(page.get_by_role("radio", name="Light")).to_be_checked()
    expect(root).to_have_attribute("data-bs-theme", "light")


def test_the_menu_of_a_phone_opens_by_key_and_closes_by_escape(page: Page, script: Script, stack: Stack) -> None:
    page.set_viewport_size({"width": 375, "height": 800})
    script.open(stack)
    link = page.get_by_role("navigation", name="Main").get_by_role("link", name="Processes")
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").focus()
    page.keyboard.press("Enter")
    expect(link).to_be_visible()
    page.keyboard.press("Escape")
    expect(link).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") == 375


def test_the_keyboard_skips_to_the_content(page: Page, script: Script, stack: Stack) -> None:
    script.open(stack)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_nothing_moves_for_who_wants_no_motion(page: Page, script: Script, stack: Stack) -> None:
    script.open(stack)
    script.flow(api={"state": "ok", "rate": 100})
    expect(page.locator(".flow-lines .flows")).to_have_count(1)
    moving = """() => document.getAnimations().filter(({ playState, effect }) =>
        playState === "running" && effect.target.closest(".flow-lines")).length"""
    until(page, lambda: page.evaluate(moving) == 1)
    page.emulate_media(reduced_motion="reduce")
    until(page, lambda: page.evaluate(moving) == 0)


def test_thousands_of_frames_leave_the_tab_as_it_was(page: Page, script: Script, stack: Stack) -> None:
    script.open(stack)
    tab = page.context.new_cdp_session(page)
    measure = _measured(page, script, tab.send)
    measure(1_000)
    bytes_before, nodes_before = measure(1_000)
    bytes_after, nodes_after = measure(FRAMES)
    assert nodes_after <= nodes_before + 10
    assert bytes_after - bytes_before < ROOM_BYTES


def _measured(page: Page, script: Script, cdp: Callable[..., Any]) -> Callable[[int], tuple[int, int]]:
    """How many bytes of heap and nodes a tab has after so many more frames."""
    busy = {"state": "ok", "reason": "r" * 100, "rate": 100}

    def measure(frames: int) -> tuple[int, int]:
        for number in range(frames):
            script.flow(workers={**busy, "count": number}, api={**busy, "count": number})
            if number % 100 == 0:
                at = (time.time_ns() // 1_000_000) - number
                script.says(type="point", at=at, accepted=number, stored=1, failed=0, dead=0, p50_ms=1, p99_ms=2)
                page.wait_for_timeout(1)
        expect(stage(page, "workers").locator(".stage-count b")).to_have_text(
            re.compile(rf"^{frames - 1:,}$".replace(",", r"\s")), timeout=60_000
        )
        cdp("HeapProfiler.enable")
        cdp("HeapProfiler.collectGarbage")
        counters = cdp("Memory.getDOMCounters")
        return cdp("Runtime.getHeapUsage")["usedSize"], counters["nodes"]

    return measure
