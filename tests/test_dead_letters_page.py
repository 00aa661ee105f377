"""The page of the dead letters as an operator meets it: a browser, and every process of a deployment."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Browser, Locator, Page, Route, StorageState, expect

from tests.api import Api
from tests.browser import Complaints
from tests.stack import ADMIN_USER, Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

FAILS_ALWAYS = {"fail": -1}
ANSWER_MS = 30_000
# A script, marks that turn the reading direction round, what is outside the basic plane, and as much as goes.
HOSTILE_TITLE = "<script>document.title='owned'</script>\u202eelgnaps\u202c \U0001f389"
HOSTILE_BODY = "<img src=x onerror=alert(1)>" + "y" * 4000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), NOTIFY_RETRY_DELAYS="0.5,0.5") as running:
        running.start_web()
        running.start_worker()
        running.start_scheduler()
        running.start_dlq_worker()
        yield running


@pytest.fixture
def page(browser: Browser, session: StorageState, stack: Stack, complaints: Complaints) -> Iterator[Page]:
    """An operator's tab, signed in, with no letter that an earlier test left; what goes wrong in it is an error."""
    stack.sql("UPDATE dlq_deadletter SET status = 3")
    context = browser.new_context(storage_state=session, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(ANSWER_MS)
    tab = context.new_page()
    complaints.listen_to(tab)
    yield tab
    context.close()


def bury(api: Api, stack: Stack, *recipients: str, fault: Any = FAILS_ALWAYS, **fields: Any) -> list[str]:
    """Events that fail until they are dead letters; their ids."""
    data = {"fault": fault} if fault else {}
    ids = [api.notify(recipient, data=data, **fields) for recipient in recipients]
    wait_until(lambda: dead(stack, *recipients) == len(recipients), message="nothing died")
    return ids


def dead(stack: Stack, *recipients: str) -> int:
    """How many letters of theirs are dead."""
    query = "SELECT count(*) FROM dlq_deadletter WHERE status = 0 AND recipient = ANY(%s)"
    count: int = stack.sql(query, [list(recipients)])[0][0]
    return count


def stored(stack: Stack, *recipients: str) -> int:
    """How many notifications they have."""
    query = "SELECT count(*) FROM notifications_notification WHERE recipient = ANY(%s)"
    count: int = stack.sql(query, [list(recipients)])[0][0]
    return count


@contextmanager
def refused_type(stack: Stack, name: str) -> Iterator[None]:
    """Have PostgreSQL refuse every row of a type: a cause that can be removed."""
    stack.sql(f"ALTER TABLE notifications_notification ADD CONSTRAINT refused CHECK (type <> '{name}') NOT VALID")
    try:
        yield
    finally:
        stack.sql("ALTER TABLE notifications_notification DROP CONSTRAINT refused")


def open_page(page: Page, stack: Stack, query: str = "") -> None:
    page.goto(f"{stack.url}/dead-letters/{query}")


def group(page: Page, error: str) -> Locator:
    """The card of a cause."""
    return page.locator(".letters-group").filter(has=page.locator(".group-error", has_text=error))


def open_letter(page: Page, error: str, recipient: str) -> Locator:
    """The dialog of a letter in a group."""
    group(page, error).locator(".group-toggle").click()
    page.locator(".letter-row", has_text=recipient).click()
    dialog = page.get_by_role("dialog", name="Dead letter")
    expect(dialog.locator(".fact-recipient")).to_have_text(recipient)
    return dialog


def write(dialog: Locator, text: str) -> None:
    dialog.get_by_label("The notification, as JSON").fill(text)


def spoken(note: Locator) -> Callable[[], list[str]]:
    """All that a note says from now on, however briefly."""
    note.evaluate(
        """note => {
            window.spoken = [];
            const listen = () => window.spoken.push(note.textContent);
            new MutationObserver(listen).observe(note, {childList: true, subtree: true, characterData: true});
        }"""
    )
    return lambda: note.page.evaluate("window.spoken")


def test_without_letters_the_page_says_what_to_do_first(page: Page, stack: Stack) -> None:
    open_page(page, stack)
    expect(page.locator(".letters-empty")).to_contain_text("No dead letters.")
    expect(page.get_by_role("link", name="try the simulator")).to_have_attribute("href", "/#try")
    expect(page.get_by_role("button", name="Replay everything …")).to_be_hidden()


def test_what_fails_appears_by_itself_in_a_group_of_its_cause(page: Page, stack: Stack, api: Api) -> None:
    open_page(page, stack)
    expect(page.locator(".letters-empty")).to_be_visible()
    began = time.monotonic()
    bury(api, stack, "ann", "ben", fault={"invalid": True})
    card = group(page, "asks for an event that can never succeed")
    expect(card.locator(".group-count")).to_have_text("2 letters")
    assert time.monotonic() - began < 10
    expect(card.locator(".state")).to_have_text("invalid")
    expect(card.locator(".group-types")).to_have_text("test")
    expect(page.locator(".letters-sum")).to_have_text("2 letters")
    expect(page.locator(".letters-empty")).to_be_hidden()
    card.get_by_role("link", name="In the admin").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(2)


def test_a_letter_is_edited_with_its_errors_at_their_fields_and_stored(
    page: Page, stack: Stack, api: Api, complaints: Complaints
) -> None:
    complaints.expect("400")
    (event_id,) = bury(api, stack, "alice", title="Half baked")
    open_page(page, stack)
    dialog = open_letter(page, "attempt 3 fails", "alice")
    expect(dialog.locator(".letter-error")).to_contain_text("attempt 3 fails")
    expect(dialog.locator(".letter-event")).to_contain_text('"title": "Half baked"')
    dialog.get_by_role("button", name="Edit", exact=True).click()
    write(dialog, '{"recipient": "alice"')
    dialog.get_by_role("button", name="Replay as corrected").click()
    expect(dialog.locator(".letter-errors")).to_contain_text("not JSON yet")
    write(dialog, '{\n"recipient": "bob",\n"type": "test",\n"title": "Well baked"\n}')
    dialog.get_by_role("button", name="Replay as corrected").click()
    expect(dialog.locator(".letter-errors")).to_contain_text("recipient cannot change")
    write(dialog, '{\n"recipient": "alice",\n"type": "test",\n"title": ""\n}')
    dialog.get_by_role("button", name="Replay as corrected").click()
    expect(dialog.locator(".letter-errors li")).to_have_text(["title must be 1 to 200 characters, without NUL"])
    text = dialog.get_by_label("The notification, as JSON")
    chosen = text.evaluate("one => one.value.slice(one.selectionStart, one.selectionEnd)")
    assert chosen == '"title": ""'
    write(dialog, '{"recipient": "alice", "type": "test", "title": "Well baked", "data": {"n": 12345678901234567890}}')
    dialog.get_by_role("button", name="Replay as corrected").click()

    expect(dialog.locator(".letter-fate")).to_contain_text("Stored: its recipient has it.")
    expect(dialog.locator(".letter-history strong")).to_have_text(
        ["Died", "Edited", "Replay ordered", "Back in the stream"]
    )
    expect(dialog.locator(".letter-history li").nth(1)).to_contain_text(f"Edited by {ADMIN_USER}")
    row = stack.sql("SELECT id::text, title, data::text FROM notifications_notification WHERE recipient = 'alice'")
    assert row == [(event_id, "Well baked", '{"n": 12345678901234567890}')]
    expect(dialog.get_by_role("link", name="Its whole life")).to_have_attribute("href", f"/lives/?id={event_id}")
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator(".letters-empty")).to_be_visible()
    expect(page.locator(".replay-row").first).to_contain_text("1 of 1 stored")


def test_what_is_typed_is_not_lost_by_the_escape_key(page: Page, stack: Stack, api: Api) -> None:
    bury(api, stack, "edith")
    open_page(page, stack)
    dialog = open_letter(page, "attempt 3 fails", "edith")
    dialog.get_by_role("button", name="Edit", exact=True).click()
    write(dialog, "{}")
    page.keyboard.press("Escape")
    expect(dialog.locator(".letter-problem")).to_contain_text("what you typed would be lost")
    expect(dialog.get_by_label("The notification, as JSON")).to_have_value("{}")
    dialog.get_by_role("button", name="Do not edit").click()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_a_canary_that_dies_again_leaves_the_others_alone(page: Page, stack: Stack, api: Api) -> None:
    bury(api, stack, "carol", "dave", "erin")
    open_page(page, stack)
    group(page, "attempt 3 fails").get_by_role("button", name="Replay …").click()
    dialog = page.get_by_role("dialog", name="Replay")
    expect(dialog.locator(".replay-count")).to_have_text("3 letters would be replayed.")
    said = spoken(dialog.locator(".replay-fate"))
    dialog.get_by_role("button", name="Canary: replay one first").click()
    expect(dialog.locator(".replay-fate")).to_contain_text("Dead again. /data/fault/fail: attempt 3 fails")
    expect(dialog.locator(".replay-count")).to_have_text("It failed again. The others were left alone.")
    expect(dialog.locator(".replay-all")).to_be_hidden()
    assert any("1 attempt failed, next in" in text for text in said())
    lives = stack.sql("SELECT life FROM dlq_deadletter WHERE recipient IN ('carol', 'dave', 'erin') ORDER BY life")
    assert lives == [(0,), (0,), (1,)]


def test_a_canary_that_is_stored_is_followed_by_the_others(page: Page, stack: Stack, api: Api) -> None:
    recipients = [f"guest-{n}" for n in range(5)]
    with refused_type(stack, "test"):
        bury(api, stack, *recipients, fault=None)
    open_page(page, stack)
    page.locator(".letters-group").get_by_role("button", name="Replay …").click()
    dialog = page.get_by_role("dialog", name="Replay")
    dialog.get_by_role("button", name="Canary: replay one first").click()
    expect(dialog.locator(".replay-fate")).to_have_text("Stored: its recipient has it.")
    assert (stored(stack, *recipients), dead(stack, *recipients)) == (1, 4)
    dialog.get_by_role("button", name="Replay the other 4").click()
    expect(dialog.locator(".replay-fate")).to_have_text("4 of 4 stored.")
    expect(dialog.locator(".replay-count")).to_have_text("All of them are stored.")
    assert stored(stack, *recipients) == 5
    page.keyboard.press("Escape")
    expect(page.locator(".letters-empty")).to_be_visible()


def test_what_dies_after_the_question_is_not_in_the_answer(page: Page, stack: Stack, api: Api) -> None:
    bury(api, stack, "early-1", "early-2", fault={"invalid": True})
    open_page(page, stack)
    page.locator(".letters-group").get_by_role("button", name="Replay …").click()
    dialog = page.get_by_role("dialog", name="Replay")
    expect(dialog.locator(".replay-count")).to_have_text("2 letters would be replayed.")
    bury(api, stack, "late", fault={"invalid": True})
    dialog.get_by_role("button", name="Replay all 2").click()
    expect(dialog.locator(".replay-fate")).to_have_text("0 of 2 stored, 2 dead again.")
    expect(dialog.locator(".replay-count")).to_have_text("Not all of them worked.")
    assert stack.sql("SELECT life FROM dlq_deadletter WHERE recipient = 'late'") == [(0,)]


def test_everything_is_replayed_after_it_was_said_how_many_that_are(page: Page, stack: Stack, api: Api) -> None:
    bury(api, stack, "fay")
    with refused_type(stack, "test"):
        bury(api, stack, "gus", "hal", fault=None)
    open_page(page, stack)
    expect(page.locator(".letters-group")).to_have_count(2)
    page.get_by_role("button", name="Replay everything …").click()
    dialog = page.get_by_role("dialog", name="Replay")
    dialog.get_by_role("button", name="Replay all 3").click()
    expect(dialog.locator(".replay-fate")).to_have_text("2 of 3 stored, 1 dead again.")
    assert (stored(stack, "gus", "hal"), dead(stack, "fay")) == (2, 1)


def test_a_letter_is_discarded_only_when_that_is_confirmed(page: Page, stack: Stack, api: Api) -> None:
    bury(api, stack, "ida", fault={"invalid": True})
    open_page(page, stack)
    dialog = open_letter(page, "can never succeed", "ida")
    dialog.get_by_role("button", name="Discard …").click()
    page.get_by_role("dialog", name="Discard this letter?").get_by_role("button", name="Keep it").click()
    assert dead(stack, "ida") == 1
    dialog.get_by_role("button", name="Discard …").click()
    page.get_by_role("dialog", name="Discard this letter?").get_by_role("button", name="Discard").click()
    expect(dialog.locator(".letter-status")).to_have_text("discarded")
    expect(dialog.get_by_role("button", name="Replay", exact=True)).to_be_hidden()
    assert dead(stack, "ida") == 0


def test_a_letter_that_somebody_else_replayed_says_so(
    page: Page, stack: Stack, api: Api, complaints: Complaints
) -> None:
    complaints.expect("409")
    (event_id,) = bury(api, stack, "jon", fault={"invalid": True})
    open_page(page, stack)
    dialog = open_letter(page, "can never succeed", "jon")
    assert api.post(f"/api/dlq/{event_id}/replay").status_code == 202
    wait_until(lambda: stack.sql("SELECT life FROM dlq_deadletter WHERE recipient = 'jon'") == [(1,)])
    dialog.get_by_role("button", name="Replay", exact=True).click()
    expect(dialog.locator(".letter-problem")).to_contain_text("It died again since you looked")
    expect(dialog.locator(".letter-history strong")).to_have_count(4)


def test_an_answer_that_comes_late_does_not_take_the_place_of_another_letter(
    page: Page, stack: Stack, api: Api
) -> None:
    slow, quick = bury(api, stack, "kai", "kim", fault={"invalid": True})
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(f"**/api/dlq/{slow}", hold)
    open_page(page, stack)
    group(page, "can never succeed").locator(".group-toggle").click()
    page.locator(".letter-row", has_text="kai").click()
    dialog = page.get_by_role("dialog", name="Dead letter")
    dialog.get_by_role("button", name="Close").click()
    page.locator(".letter-row", has_text="kim").click()
    expect(dialog.locator(".fact-id")).to_have_text(quick)
    dialog.get_by_role("button", name="Edit", exact=True).click()
    write(dialog, "typed")
    with page.expect_event("requestfinished", lambda request: request.url.endswith(slow)):
        held[0].continue_()
    page.evaluate("fetch('/healthz')")  # by its end the page has taken in what came before
    expect(dialog.get_by_label("The notification, as JSON")).to_have_value("typed")
    expect(dialog.locator(".fact-id")).to_have_text(quick)


def test_a_request_that_got_no_answer_is_not_mistaken_for_that_of_another_letter(
    page: Page, stack: Stack, api: Api, complaints: Complaints
) -> None:
    complaints.expect("ERR_")
    bury(api, stack, "lea", "lou", fault={"invalid": True})
    keys: list[str] = []

    def lose(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        route.abort()

    page.route("**/api/dlq/*/replay", lose)
    open_page(page, stack)
    group(page, "can never succeed").locator(".group-toggle").click()
    dialog = page.get_by_role("dialog", name="Dead letter")
    for recipient in ("lea", "lou"):
        page.locator(".letter-row", has_text=recipient).click()
        expect(dialog.locator(".fact-recipient")).to_have_text(recipient)
        for _ in range(2):
            with page.expect_event("requestfailed"):
                dialog.get_by_role("button", name="Replay", exact=True).click()
            expect(dialog.locator(".letter-problem")).to_contain_text("nothing is done twice")
        dialog.get_by_role("button", name="Close").click()
    first, again, other, other_again = keys
    assert first == again
    assert other == other_again
    assert first != other


def test_what_dies_while_a_group_is_opened_is_listed_too(page: Page, stack: Stack, api: Api) -> None:
    bury(api, stack, "olaf", fault={"invalid": True})
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        held.append((route, route.fetch()))

    page.route("**/api/dlq?*", hold, times=1)
    open_page(page, stack)
    card = group(page, "can never succeed")
    with page.expect_request("**/api/dlq?*"):
        card.locator(".group-toggle").click()
    bury(api, stack, "olga", fault={"invalid": True})
    expect(card.locator(".group-count")).to_have_text("2 letters")
    route, before = held[0]
    route.fulfill(response=before)
    expect(card.locator(".row-recipient")).to_have_text(["olga", "olaf"])


def test_how_many_were_counted_for_one_replay_is_not_said_of_another(page: Page, stack: Stack, api: Api) -> None:
    bury(api, stack, "nat", "ned", "nia", fault={"invalid": True})
    bury(api, stack, "noa")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/dlq/replay", hold, times=1)
    open_page(page, stack)
    dialog = page.get_by_role("dialog", name="Replay")
    group(page, "can never succeed").get_by_role("button", name="Replay …").click()
    expect(dialog.locator(".replay-count")).to_have_text("Counting …")
    dialog.get_by_role("button", name="Close").click()
    group(page, "attempt 3 fails").get_by_role("button", name="Replay …").click()
    expect(dialog.locator(".replay-count")).to_have_text("1 letter would be replayed.")
    with page.expect_event("requestfinished", lambda request: request.url.endswith("/api/dlq/replay")):
        held[0].continue_()
    page.evaluate("fetch('/healthz')")  # by its end the page has taken in what came before
    expect(dialog.locator(".replay-count")).to_have_text("1 letter would be replayed.")
    expect(dialog.get_by_role("button", name="Replay it")).to_be_focused()


def test_how_long_ago_it_was_goes_by_the_servers_clock(page: Page, stack: Stack, api: Api) -> None:
    bury(api, stack, "mia", fault={"invalid": True})
    page.clock.install(time=datetime.now(UTC) + timedelta(hours=2))
    open_page(page, stack)
    expect(page.locator(".letters-group .newest")).to_have_text(re.compile(r"^(just now|\d+\ss ago)$"))


def test_who_is_signed_out_is_told_once_how_to_sign_in(page: Page, stack: Stack, complaints: Complaints) -> None:
    complaints.expect("status of 401")
    page.clock.install()
    page.route("**/dashboard/letters", lambda route: route.fulfill(json={"detail": "Sign in."}, status=401))
    open_page(page, stack)
    link = page.get_by_role("alert").get_by_role("link", name="Sign in")
    link.focus()
    with page.expect_response("**/dashboard/letters"):
        page.clock.run_for(10_000)
    page.clock.run_for(100)
    expect(link).to_be_focused()


def test_a_payload_that_cannot_be_read_is_shown_and_written_anew(page: Page, stack: Stack) -> None:
    broken: dict[Any, Any] = {"event": b"nonsense \xff", "id": "", "reason": "invalid", "error": "this is no event"}
    stack.redis().xadd("notify:{0}:dlq", {**broken, "attempts": 0, "failed_ms": int(time.time() * 1000)})
    open_page(page, stack)
    card = group(page, "this is no event")
    expect(card.locator(".group-unreadable")).to_have_text("1 cannot be read.")
    expect(card.get_by_role("button", name="Replay …")).to_be_hidden()
    dialog = open_letter(page, "this is no event", "nobody known")
    expect(dialog.locator(".letter-event")).to_have_text("nonsense \N{REPLACEMENT CHARACTER}")
    expect(dialog.get_by_role("button", name="Replay", exact=True)).to_be_hidden()
    dialog.get_by_role("button", name="Edit", exact=True).click()
    write(dialog, '{"recipient": "kim", "type": "mended", "title": "Mended"}')
    dialog.get_by_role("button", name="Replay as corrected").click()
    expect(dialog.locator(".letter-fate")).to_contain_text("Stored")
    assert stored(stack, "kim") == 1


@pytest.mark.parametrize("width", [1280, 375])
def test_hostile_text_is_shown_as_text_and_breaks_nothing(page: Page, stack: Stack, api: Api, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    recipient = f"hostile-{width}-" + "x" * 100
    bury(api, stack, recipient, title=HOSTILE_TITLE, body=HOSTILE_BODY)
    open_page(page, stack)
    dialog = open_letter(page, "attempt 3 fails", recipient)
    expect(dialog.locator(".letter-event")).to_contain_text("<script>document.title='owned'</script>\\u202eelgnaps")
    expect(page.locator(".row-title bdi")).to_have_text(HOSTILE_TITLE)
    expect(page).to_have_title("Dead letters · Notify")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert dialog.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_a_reload_shows_the_groups_that_were_open_and_pages_go_on(page: Page, stack: Stack, api: Api) -> None:
    bury(api, stack, *(f"many-{n}" for n in range(25)), fault={"invalid": True})
    open_page(page, stack)
    page.locator(".group-toggle").click()
    expect(page.locator(".letter-row")).to_have_count(20)
    page.reload()
    expect(page.locator(".letter-row")).to_have_count(20)
    page.get_by_role("button", name="Load more").click()
    expect(page.locator(".letter-row")).to_have_count(25)
    expect(page.get_by_role("button", name="Load more")).to_be_hidden()


def test_a_server_that_is_away_is_told_and_the_page_comes_back(
    page: Page, stack: Stack, api: Api, complaints: Complaints
) -> None:
    complaints.expect("503", "502", "ERR_", "WebSocket")
    bury(api, stack, "leo", fault={"invalid": True})
    open_page(page, stack)
    expect(page.locator(".letters-group")).to_have_count(1)
    stack.postgresql.stop()
    try:
        expect(page.locator("#letters-trouble")).to_contain_text("This page asks again by itself.")
    finally:
        stack.postgresql.start()
    expect(page.locator("#letters-trouble")).to_be_hidden(timeout=ANSWER_MS)
    expect(page.locator(".letters-group")).to_have_count(1)
