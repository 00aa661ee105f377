"""Schedules in the admin: the list, one schedule's page, who may see and do what, and outages."""

import re
import uuid
from datetime import UTC, datetime
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.test import Client

from notifications import store, wiring
from notifications.events import Draft
from scheduler import door, schedule
from scheduler.models import Schedule as Row
from scheduler.recurrence import Recurrence
from scheduler.schedule import About, Schedule
from scheduler.tests.browsing import (
    ADD,
    FORM,
    SCHEDULES,
    add,
    allowed_to,
    edit_elsewhere,
    edited,
    errors_in,
    filled,
    hidden,
    id_in,
    known,
    listed,
    look_only,
    made,
    page_of,
    post,
    redis_is_away,
    said,
    shown,
    signed_in,
)
from scheduler.tests.helpers import (
    DAY,
    MINUTE,
    fire,
    now_ms,
    once,
    plan,
    postgresql_is_away,
    queued,
    record_all,
    recurring,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    return signed_in("ada")


def test_the_list_shows_the_newest_first_and_each_as_it_is_now(staff: Client) -> None:
    waiting, over = once(now_ms() + DAY, "alice"), recurring(now_ms() + DAY, "bob")
    plan(waiting)
    plan(over)
    record_all()
    door.cancel(uuid.UUID(over.id))
    edit_elsewhere(waiting, title="Another title")
    answer = staff.get(SCHEDULES)
    rows = answer.context["cl"].result_list
    assert [str(row.pk) for row in rows] == sorted((waiting.id, over.id), reverse=True)
    assert {row.get_status_display() for row in rows} == {"scheduled"}, "as recorded"
    assert {row.recipient: row.now.status for row in rows} == {"alice": "scheduled", "bob": "cancelled"}
    page = answer.content.decode()
    assert 'class="dlq-state cancelled"' in page
    assert "Another title" in page


@look_only
def test_the_list_says_when_in_words_and_by_both_clocks(staff: Client) -> None:
    at = schedule.unix_ms(datetime(2100, 12, 24, 18, tzinfo=UTC))
    plan(once(at, "alice"))
    add(staff, recipient="bob", daily="08:00", timezone="Asia/Kathmandu")
    add(staff, recipient="carol", when="cron", cron="*/5 * * * *", timezone="")
    record_all()
    page = shown(staff, SCHEDULES)
    assert "once, at 2100-12-24 18:00:00 UTC" in page
    assert "daily at 08:00 Asia/Kathmandu" in page
    assert "cron */5 * * * * UTC" in page
    assert re.search(r" 02:15:00<small>\S+ 08:00:00 local</small>", page)
    assert "2100-12-24 18:00:00<small>" not in page, "one clock is enough where it is UTC's"


def test_the_list_is_filtered_by_status_and_by_whether_it_comes_again(staff: Client) -> None:
    fired, cancelled = once(now_ms(), "fired"), once(now_ms() + DAY, "cancelled")
    plan(fired, cancelled, once(now_ms() + DAY, "once"), recurring(now_ms() + DAY, "again"))
    door.cancel(uuid.UUID(cancelled.id))
    fire()
    record_all()
    assert set(listed(staff)) == {"fired", "cancelled", "once", "again"}
    assert listed(staff, "?status=fired") == ["fired"]
    assert listed(staff, "?status=cancelled") == ["cancelled"]
    assert set(listed(staff, "?status=scheduled")) == {"once", "again"}
    assert listed(staff, "?status=scheduled&runs=once") == ["once"]
    assert listed(staff, "?runs=again") == ["again"]
    assert listed(staff, "?status=nonsense") == []
    assert staff.get(SCHEDULES + "?title__contains=x").status_code == 400, "nothing by a hand-written address"


def test_the_search_finds_an_id_a_recipient_and_how_one_begins(staff: Client) -> None:
    alice, alina = once(now_ms() + DAY, "alice"), once(now_ms() + DAY, "alina")
    plan(alice, alina, once(now_ms() + DAY, "bob%"), recurring(now_ms() + DAY, "alice"))
    record_all()
    assert listed(staff, f"?q={alina.id}") == ["alina"]
    assert listed(staff, "?q=alice") == ["alice", "alice"]
    assert listed(staff, "?q=ali") == ["alice", "alice", "alina"]
    assert listed(staff, "?q=bob%25") == ["bob%"]
    for nobody in ("lice", "%25", "_lice", "ALICE", str(uuid.uuid4())):
        assert listed(staff, f"?q={nobody}") == []


def test_the_id_of_what_no_row_has_yet_leads_to_its_page(staff: Client) -> None:
    one = once(now_ms() + DAY)
    plan(one)
    answer = staff.get(f"{SCHEDULES}?q={one.id}")
    assert (answer.status_code, answer["Location"]) == (302, page_of(one))
    assert allowed_to("add").get(f"{SCHEDULES}?q={one.id}").status_code == 403


@look_only
def test_a_list_of_several_pages_looks_at_one_pages_rows(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    plan(*(once(now_ms() + DAY, f"name-{number}") for number in range(60)))
    record_all()
    looked: list[int] = []
    now_of = door.now_of

    def counted(rows: list[Row]) -> list[Schedule]:
        looked.append(len(rows))
        return now_of(rows)

    monkeypatch.setattr(door, "now_of", counted)
    assert (len(listed(staff)), len(listed(staff, "?p=2"))) == (50, 10)
    assert looked == [50, 10]


def test_the_page_of_what_fired_leads_to_its_notification(staff: Client) -> None:
    one = once(now_ms())
    plan(one)
    fire(until=queued)
    record_all()
    assert "queued" in shown(staff, page_of(one))
    store.store(queued())
    page = shown(staff, page_of(one))
    assert f"/admin/notifications/notification/{one.id}/change/" in page
    assert not re.search(r"Run now|>Edit<|Cancel …", page)


@look_only
def test_a_schedule_whose_zone_is_gone_from_the_machine_can_be_looked_at_and_edited(staff: Client) -> None:
    about = About(recurrence=Recurrence(daily="08:00", timezone="Mars/Olympus"), by="tests")
    one = schedule.new(Draft(recipient="alice", type="t", title="T"), about, now_ms() + DAY)
    plan(one)
    record_all()
    assert "daily at 08:00 Mars/Olympus" in shown(staff, SCHEDULES)
    assert "unknown on this machine" in shown(staff, page_of(one))
    post(staff, page_of(one, "edit"), edited(one, timezone="UTC"))
    assert known(one).about.recurrence == Recurrence(daily="08:00", timezone="UTC")


@look_only
def test_a_schedule_whose_zone_is_gone_from_the_machine_does_not_break_the_api(staff: Client) -> None:
    about = About(recurrence=Recurrence(daily="08:00", timezone="Mars/Olympus"), by="tests")
    one = schedule.new(Draft(recipient="alice", type="t", title="T"), about, now_ms() + DAY)
    plan(one)
    record_all()
    staff.raise_request_exception = False
    for path in ("", f"/{one.id}", f"/{one.id}?preview=5"):
        assert staff.get(f"/api/schedule{path}").status_code == 200, path


@look_only
def test_an_overdue_schedule_is_told_as_such(staff: Client) -> None:
    late, due = once(now_ms() - MINUTE), once(now_ms() + MINUTE)
    plan(late, due)
    assert "It is overdue" in shown(staff, page_of(late))
    assert "It is overdue" not in shown(staff, page_of(due))


@look_only
def test_an_unknown_schedule_is_not_found_by_any_page(staff: Client) -> None:
    nobody = str(uuid.uuid4())
    for name in ("change", "edit", "cancel"):
        shown(staff, page_of(nobody, name), 404)
    for name in ("run", "edit", "cancel"):
        assert staff.post(page_of(nobody, name), filled()).status_code == 404


@look_only
@pytest.mark.parametrize(
    ("action", "path", "posted"),
    [
        ("view", SCHEDULES, False),
        ("view", "change", False),
        ("add", ADD, False),
        ("add", ADD, True),
        ("change", "edit", False),
        ("change", "edit", True),
        ("change", "run", True),
        ("delete", "cancel", False),
        ("delete", "cancel", True),
    ],
)
def test_each_deed_takes_its_own_permission_and_no_other_does(action: str, path: str, posted: bool) -> None:  # noqa: FBT001
    one = once(now_ms() + DAY)
    plan(one)
    address = path if path.startswith("/") else page_of(one, path)
    others = {"view", "add", "change", "delete"} - {action}
    # Who may change something may look at it, in Django's admin.
    others -= {"change"} if action == "view" else set()
    allowed, refused = allowed_to(action), allowed_to(*others)
    fields = edited(one, title="Edited") | filled(title="Edited") if posted else {}
    statuses = [
        (browser.post if posted else browser.get)(address, fields).status_code for browser in (refused, allowed)
    ]
    assert statuses == [403, 302 if posted else 200]


@look_only
def test_who_may_only_look_sees_no_button(staff: Client) -> None:
    one = once(now_ms() + DAY)
    plan(one)
    record_all()
    onlooker = allowed_to("view")
    buttons = r"Run now|>Edit<|Cancel …|Add schedule"
    assert re.search(buttons, shown(staff, page_of(one)))
    assert not re.search(buttons, shown(onlooker, page_of(one)))
    assert not re.search(buttons, shown(onlooker, SCHEDULES))


@look_only
def test_every_deed_needs_a_token_against_forgery_and_no_get_does_any() -> None:
    one = once(now_ms() + DAY)
    plan(one)
    careful, anybody = Client(enforce_csrf_checks=True), Client()
    careful.force_login(User.objects.create_superuser("ada"))
    for path in (ADD, *(page_of(one, name) for name in ("edit", "cancel", "run"))):
        assert careful.post(path, filled()).status_code == 403
        assert careful.get(path).status_code in {200, 405}
        assert anybody.post(path, filled()).status_code == 302, "to the sign-in"
    assert careful.post(page_of(one), {}).status_code == 403
    assert (known(one), made(), queued()) == (one, 1, [])


@look_only
def test_a_form_that_none_of_our_pages_sent_is_refused(staff: Client) -> None:
    one = once(now_ms() + DAY)
    plan(one)
    for token in ("", "x", "0" * 33):
        assert staff.post(ADD, FORM | {"token": token}).status_code == 400
        assert staff.post(page_of(one, "run"), {"token": token}).status_code == 400
    for version in ("", "x", "9" * 30):
        assert staff.post(page_of(one, "edit"), edited(one) | {"version": version}).status_code == 400
    assert (known(one), made()) == (one, 1)


def test_without_redis_what_was_recorded_is_shown_and_said_to_be_that(staff: Client) -> None:
    one = once(now_ms() + DAY)
    plan(one)
    record_all()
    with redis_is_away():
        for address in (SCHEDULES, page_of(one)):
            answer = staff.get(address)
            assert answer.status_code == 200
            assert said(answer) == ["Redis does not answer just now: this is what was recorded last."]
            assert "Run now" not in answer.content.decode()
        shown(staff, page_of(str(uuid.uuid4())), 404)


def test_without_redis_a_new_schedule_stays_typed_and_can_be_sent_again(staff: Client) -> None:
    form = filled(title="Kept")
    with redis_is_away():
        answer = staff.post(ADD, form)
    assert "Redis does not answer just now" in errors_in(answer)["__all__"][0]
    assert answer.context["form"]["title"].value() == "Kept"
    assert hidden(answer.content.decode(), "token") == form["token"]
    assert known(id_in(staff.post(ADD, form))).event.title == "Kept"


def test_without_redis_a_deed_can_be_sent_again_as_it_was(staff: Client) -> None:
    one = once(now_ms() + DAY)
    plan(one)
    forms: dict[str, dict[str, str]] = {"edit": edited(one, title='<"Kept">'), "run": filled(), "cancel": {}}
    for name, form in forms.items():
        with redis_is_away():
            answer = staff.post(page_of(one, name), form)
        assert answer.status_code == 503
        assert "Redis does not answer just now" in answer.content.decode()
        assert {field: unescape(hidden(answer.content.decode(), field)) for field in form} == form


def test_without_postgresql_a_page_says_so_and_keeps_what_was_typed(staff: Client) -> None:
    with postgresql_is_away():
        assert "PostgreSQL does not answer just now" in shown(staff, SCHEDULES, 503)
        answer = staff.post(ADD, filled(title="Kept"))
        assert answer.status_code == 503
        assert hidden(answer.content.decode(), "title") == "Kept"
        assert "csrfmiddlewaretoken" in answer.content.decode()
    assert made() == 0


def test_what_redis_lost_is_told_to_be_restored_and_nothing_is_done_to_it(staff: Client) -> None:
    one = once(now_ms() + DAY)
    plan(one)
    record_all()
    wiring.shards().client.flushall()
    shown(staff, page_of(one))
    for name in ("run", "edit", "cancel"):
        answer = staff.post(page_of(one, name), edited(one, title="Edited") | filled(title="Edited"))
        assert answer.status_code == 503
        assert "The schedule is being restored." in answer.content.decode()
    assert Row.objects.get().title == "Report"
