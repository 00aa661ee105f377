"""Schedules in the admin: making, editing, cancelling and running one now."""

import re
import uuid
from datetime import UTC, datetime

import pytest
from django.test import Client
from django.utils import timezone

from scheduler import door, schedule
from scheduler.models import Schedule as Row
from scheduler.recurrence import Recurrence
from scheduler.schedule import Schedule
from scheduler.tests.browsing import (
    ADD,
    add,
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
    said,
    shown,
    signed_in,
)
from scheduler.tests.helpers import (
    DAY,
    HOUR,
    fire,
    logged,
    now_ms,
    once,
    plan,
    queued,
    record_all,
    recurring,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    return signed_in("ada")


def test_a_schedule_made_by_the_form_has_its_page_before_it_has_a_row(staff: Client) -> None:
    answer = post(staff, ADD, filled(title="Überblick", body="a\r\nb", data='{"n": 12345678901234567890}'))
    assert said(answer) == ["Scheduled."]
    one = answer.context["schedule"]
    assert not Row.objects.exists()
    assert one.about.recurrence == Recurrence(daily="08:00", timezone="Europe/Berlin")
    assert (one.event.title, one.event.body, one.about.by) == ("Überblick", "a\nb", "ada")
    assert bytes(one.event.data) == b'{"n":12345678901234567890}'
    page = answer.content.decode()
    assert "daily at 08:00 Europe/Berlin" in page
    assert len(re.findall(r"<td>\S+ 08:00:00 Europe/Berlin</td>", page)) == 5


@look_only
@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ({"at": "2100-07-01T20:00:00"}, datetime(2100, 7, 1, 18, tzinfo=UTC)),
        ({"at": "2100-07-01T20:00", "timezone": ""}, datetime(2100, 7, 1, 20, tzinfo=UTC)),
        ({"at": "2100-07-01T20:00:00Z"}, datetime(2100, 7, 1, 20, tzinfo=UTC)),
        # Clocks show it twice; the first time counts.
        ({"at": "2030-10-27T02:30:00"}, datetime(2030, 10, 27, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_told_by_the_clock_of_its_zone(staff: Client, fields: dict[str, str], due: datetime) -> None:
    one = known(add(staff, when="at", **fields))
    assert one.due_ms == schedule.unix_ms(due)


def test_a_delay_counts_from_now_and_its_time_needs_no_zone(staff: Client) -> None:
    before = now_ms()
    one = known(add(staff, when="delay", delay=" 90.5 ", timezone="nowhere"))
    assert one.due_ms is not None
    assert before + 90_500 <= one.due_ms <= now_ms() + 90_500


def test_a_preview_shows_the_next_times_and_changes_nothing(staff: Client) -> None:
    form = filled(when="cron", cron="30 2 29 2 *", timezone="UTC") | {"preview": "5"}
    answer = staff.post(ADD, form)
    assert (
        re.findall(r"<td>(\d{4})-02-29 02:30:00 UTC</td>", answer.content.decode())
        == [str(year) for year in range(2000, 2200, 4) if year % 100 and year > timezone.now().year][:5]
    )
    assert (made(), logged()) == (0, 0)
    assert hidden(answer.content.decode(), "token") == form["token"], "what follows is the same form"
    assert answer.context["form"]["cron"].value() == "30 2 29 2 *"


@look_only
@pytest.mark.parametrize("preview", [{}, {"preview": "5"}])
@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"recipient": "a b"}, "recipient", "/recipient must be 1 to 128"),
        ({"type": "Not A Type"}, "type", "/type must be 1 to 100"),
        ({"title": ""}, "title", "/title must be 1 to 200"),
        ({"body": "a\x00"}, "body", "/body must be at most 4096"),
        ({"data": "{"}, "data", "/data must be a JSON object"),
        ({"data": '{} , "recipient": "bob"'}, "data", "/data must be a JSON object"),
        ({"daily": "8:00"}, "daily", "/daily must be HH:MM"),
        ({"daily": ""}, "daily", "/daily must be HH:MM"),
        ({"timezone": "Europe/Atlantis"}, "timezone", "/timezone must be the IANA name"),
        ({"timezone": "../../etc/passwd"}, "timezone", "/timezone must be the IANA name"),
        ({"when": "cron", "cron": "61 * * * *"}, "cron", "/cron must have a valid minute"),
        ({"when": "cron", "cron": "0 0 30 2 *"}, "cron", "/cron must have a valid day of month"),
        ({"when": "at", "at": ""}, "at", "/at must be a time"),
        ({"when": "at", "at": "tomorrow"}, "at", "/at must be a time"),
        ({"when": "at", "at": "2000-01-01T00:00"}, "at", "/at must not be in the past"),
        ({"when": "at", "at": "9999-12-31T23:59"}, "at", "/at must be before the year 9000"),
        ({"when": "at", "at": "0001-01-01T00:00"}, "at", "/at must be a time"),
        ({"when": "at", "at": "2030-03-31T02:30"}, "at", "/at must be a time that clocks show"),
        ({"when": "at", "at": "2100-01-01T00:00", "timezone": "Mars"}, "timezone", "/timezone must be the IANA name"),
        ({"when": "delay", "delay": "-1"}, "delay", "/delay must be a number of seconds"),
        ({"when": "delay", "delay": "soon"}, "delay", "/delay must be a number of seconds"),
        ({"when": "delay", "delay": "1e400"}, "delay", "/delay must be a number of seconds"),
        ({"when": "delay", "delay": "1" * 30}, "delay", "/delay is too long"),
        ({"when": "yesterday"}, "when", "Select a valid choice"),
        ({"catch_up": "never"}, "catch_up", "Select a valid choice"),
    ],
)
def test_each_broken_rule_stands_at_its_field_and_nothing_is_lost_or_made(
    staff: Client, fields: dict[str, str], field: str, rule: str, preview: dict[str, str]
) -> None:
    answer = staff.post(ADD, filled(**{"body": "kept", **fields}) | preview)
    (sentence,) = errors_in(answer)[field]
    assert sentence.startswith(rule)
    assert list(errors_in(answer)) == [field]
    assert answer.context["form"]["body"].value() == fields.get("body", "kept")
    assert answer.context["form"][field].value() == fields[field]
    assert made() == 0


@look_only
def test_all_broken_rules_are_told_at_once(staff: Client) -> None:
    answer = staff.post(ADD, filled(recipient="", data="[", when="cron", cron="x", timezone="Mars"))
    assert set(errors_in(answer)) == {"recipient", "data", "cron", "timezone"}
    assert all(len(sentences) == 1 for sentences in errors_in(answer).values())


def test_a_double_click_makes_one_schedule(staff: Client) -> None:
    form = filled()
    ids = {id_in(staff.post(ADD, form)) for _ in range(3)}
    assert (len(ids), made()) == (1, 1)
    add(staff)
    assert made() == 2, "the same again by a form of its own is another"
    assert id_in(signed_in("grace").post(ADD, form)) not in ids, "a token is its bearer's own"


def test_a_form_that_was_sent_and_then_changed_asks_before_it_makes_another(staff: Client) -> None:
    form = filled()
    staff.post(ADD, form)
    answer = staff.post(ADD, form | {"title": "After all"})
    assert "made a schedule before" in errors_in(answer)["__all__"][0]
    assert (made(), answer.context["form"]["title"].value()) == (1, "After all")
    token = hidden(answer.content.decode(), "token")
    staff.post(ADD, form | {"title": "After all", "token": token})
    assert made() == 2


def test_an_edit_changes_what_it_says_and_nothing_else(staff: Client) -> None:
    one = recurring(now_ms() + DAY, cron="0 8 * * *", zone="Europe/Berlin")
    plan(one)
    assert 'value="0 8 * * *"' in shown(staff, page_of(one, "edit"))
    answer = post(staff, page_of(one, "edit"), edited(one, title="Another", recipient="bob"))
    assert said(answer) == ["Saved."]
    now = known(one)
    assert (now.event.title, now.event.recipient, now.due_ms) == ("Another", "alice", one.due_ms)
    post(staff, page_of(one, "edit"), edited(now, when="daily", daily="09:30", catch_up="all"))
    now = known(one)
    assert now.about.recurrence == Recurrence(daily="09:30", timezone="Europe/Berlin")
    assert (now.about.catch_up, now.about.by, now.event.title) == ("all", "tests", "Another")


def test_an_edit_of_an_overdue_schedule_leaves_its_time_alone(staff: Client) -> None:
    one = once(now_ms() - HOUR)
    plan(one)
    assert said(post(staff, page_of(one, "edit"), edited(one, title="Late"))) == ["Saved."]
    assert (known(one).due_ms, known(one).event.title) == (one.due_ms, "Late")


def test_an_edit_is_previewed_without_side_effects(staff: Client) -> None:
    one = once(now_ms() + DAY)
    plan(one)
    before = logged()
    form = edited(one, when="daily", daily="23:45", timezone="UTC") | {"preview": "5"}
    page = staff.post(page_of(one, "edit"), form).content.decode()
    assert len(re.findall(r"<td>\S+ 23:45:00 UTC</td>", page)) == 5
    assert (known(one), logged()) == (one, before)


def test_a_stale_edit_changes_nothing_until_it_is_sent_again(staff: Client) -> None:
    one = once(now_ms() + DAY)
    plan(one)
    stale = edited(one, title="Mine")
    edit_elsewhere(one, title="Theirs")
    answer = staff.post(page_of(one, "edit"), stale)
    (sentence,) = errors_in(answer)["__all__"]
    assert "somebody changed this schedule since you looked. It is now “Theirs”" in sentence
    assert answer.context["form"]["title"].value() == "Mine"
    assert known(one).event.title == "Theirs"
    version = hidden(answer.content.decode(), "version")
    assert said(post(staff, page_of(one, "edit"), stale | {"version": version})) == ["Saved."]
    assert known(one).event.title == "Mine"


def test_an_edit_of_what_ran_meanwhile_is_not_stale(staff: Client) -> None:
    one = recurring(now_ms() - 1)
    plan(one)
    form = edited(one, title="Edited")
    fire(until=queued)
    door.run_now(uuid.UUID(one.id))
    assert said(post(staff, page_of(one, "edit"), form)) == ["Saved."]
    now = known(one)
    assert (now.event.title, now.about.runs, now.status) == ("Edited", 2, "scheduled")


def test_of_an_edit_and_a_run_at_the_same_time_none_is_lost(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    one = recurring(now_ms() + DAY)
    plan(one)
    change, runs = door.change, iter((True, True))

    def changed_after_a_run(schedule_id: uuid.UUID, document: bytes) -> Schedule:
        if next(runs, False):
            door.run_now(schedule_id)
        return change(schedule_id, document)

    monkeypatch.setattr(door, "change", changed_after_a_run)
    assert said(post(staff, page_of(one, "edit"), edited(one, title="Edited"))) == ["Saved."]
    assert (known(one).event.title, known(one).about.runs) == ("Edited", 2)


def test_an_edit_that_comes_too_late_is_told_so_and_keeps_what_was_typed(staff: Client) -> None:
    one = once(now_ms())
    plan(one)
    fire(until=queued)
    answer = staff.post(page_of(one, "edit"), edited(one, title="Too late"))
    assert errors_in(answer)["__all__"] == ["Nothing was changed. It is too late: this schedule is fired."]
    assert answer.context["form"]["title"].value() == "Too late"
    assert queued()[0].title == "Report"
    assert said(staff.get(page_of(one, "edit"), follow=True)) == ["It is too late: this schedule is fired."]


@look_only
def test_broken_rules_of_an_edit_stand_at_their_fields(staff: Client) -> None:
    one = recurring(now_ms() + DAY)
    plan(one)
    answer = staff.post(page_of(one, "edit"), edited(one, title="", cron="x", data="{"))
    assert set(errors_in(answer)) == {"title", "cron", "data"}
    assert known(one) == one


def test_cancelling_asks_first_and_keeps_the_record(staff: Client) -> None:
    one = recurring(now_ms() + DAY)
    plan(one)
    assert "never runs again" in shown(staff, page_of(one, "cancel"))
    assert known(one).status == "scheduled"
    for _ in range(2):
        assert said(post(staff, page_of(one, "cancel"), {})) == ["Cancelled: it does not run any more."]
    assert (known(one).status, known(one).revision) == ("cancelled", 2)
    record_all()
    assert listed(staff, "?status=cancelled") == ["alice"]
    assert said(staff.get(page_of(one, "cancel"), follow=True)) == ["It is too late: this schedule is cancelled."]


def test_a_cancel_that_comes_too_late_is_told_so(staff: Client) -> None:
    one = once(now_ms())
    plan(one)
    fire(until=queued)
    assert said(post(staff, page_of(one, "cancel"), {})) == ["It is too late: this schedule is fired."]
    record_all()
    assert said(post(staff, page_of(one, "cancel"), {})) == ["It is too late: this schedule is fired."]
    assert known(one).status == "fired"


def test_run_now_fires_what_fires_once_and_leaves_what_comes_again_waiting(staff: Client) -> None:
    one, again = once(now_ms() + DAY, "alice"), recurring(now_ms() + DAY, "bob")
    plan(one, again)
    for each in (one, again):
        token = hidden(shown(staff, page_of(each)), "token")
        (sentence,) = said(post(staff, page_of(each, "run"), {"token": token}))
        assert sentence.startswith("It fired: notification ")
    assert sorted(event.recipient for event in queued()) == ["alice", "bob"]
    assert (known(one).status, known(again).status, known(again).due_ms) == ("fired", "scheduled", again.due_ms)


def test_a_double_click_runs_a_schedule_once(staff: Client) -> None:
    again = recurring(now_ms() + DAY)
    plan(again)
    token = hidden(shown(staff, page_of(again)), "token")
    answers = [said(post(staff, page_of(again, "run"), {"token": token})) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(queued()) == 1
    another = hidden(shown(staff, page_of(again)), "token")
    post(staff, page_of(again, "run"), {"token": another})
    assert len(queued()) == 2, "pressed anew, it runs anew"


def test_run_now_of_what_is_over_is_told_so(staff: Client) -> None:
    one = once(now_ms() + DAY)
    plan(one)
    tokens = [hidden(shown(staff, page_of(one)), "token") for _ in range(2)]
    door.run_now(uuid.UUID(one.id))
    for token in tokens:
        assert said(post(staff, page_of(one, "run"), {"token": token})) == ["It is too late: this schedule is fired."]
        record_all()
    assert len(queued()) == 1
