"""Bulk jobs in the admin: the list, one job's page, who may see and order what, and outages."""

import logging
import re
import uuid
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from bulk.admin import words
from bulk.counts import Counts
from bulk.models import BulkJob
from bulk.tests.browsing import (
    JOBS,
    allowed_to,
    buttons,
    listed,
    look_only,
    page_of,
    post,
    postgresql_is_away,
    redis_is_away,
    said,
    shown,
    signed_in,
)
from bulk.tests.helpers import again, begin, bury, crowd, fan, make_job, make_running, state_of, store_rows
from notifications import wiring

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

Status = BulkJob.Status

CHANGING = re.compile(r'data-shows="(\w+)">([^<]*)<')


@pytest.fixture
def staff() -> Client:
    return signed_in("ada")


def told(page: str) -> dict[str, str]:
    """What a page says of a job that changes."""
    return {name: unescape(text) for name, text in CHANGING.findall(page)}


def test_a_jobs_page_tells_its_numbers_as_they_are_now(staff: Client) -> None:
    job = make_running(crowd(400), title="News", rate_limit="500/s")
    fan(job, 100)
    fanned_out = sum(
        standing.position for standing in wiring.fanout().standings([str(job.pk)])[str(job.pk)] if standing
    )
    store_rows(job, 50, 10)
    bury(job, 5)
    page = shown(staff, page_of(job))
    now = told(page)
    assert fanned_out > 0
    assert now | {"percent": "16.2", "settled": "65", "stored": "60", "failed": "5"} == now
    assert now | {"status": "running", "fanned_out": str(fanned_out), "rate_limit": "500/s"} == now
    bar = re.findall(r'<rect class="bulk-([\w-]+)"(?: x="([\d.]+)%")? width="([\d.]+)%"', page)
    share = f"{fanned_out / 4:.3f}"
    assert bar == [("fanned-out", "", share), ("stored", "", "15.000"), ("failed", "15.000", "1.250")]
    assert 'aria-valuenow="16.2"' in page


@look_only
def test_a_jobs_page_tells_what_is_sent_and_how_the_list_was(staff: Client) -> None:
    job = make_job(
        title="<b>Ü</b>",
        type="news.week",
        body="a\n<i>b</i>",
        data={"n": 1, "s": "ü"},
        duplicates=1204,
        rejected=3,
        created_by="API key <x>",
    )
    page = shown(staff, page_of(job))
    for text in ("&lt;b&gt;Ü&lt;/b&gt;", "news.week", "a\n&lt;i&gt;b&lt;/i&gt;", "API key &lt;x&gt;", "1,204", "3"):
        assert text in page
    assert '{\n  "n": 1,\n  "s": "ü"\n}' in unescape(page)


@look_only
def test_a_page_runs_nothing_inline_and_loads_nothing_from_elsewhere(staff: Client) -> None:
    job = make_running()
    for address in (JOBS, page_of(job), page_of(job, "cancel")):
        page = shown(staff, address)
        content = page[page.index('<div id="content"') :]
        assert "style=" not in content
        assert not re.search(r"\son\w+=", content)
        assert not re.search(r"<script(?![^>]* src=)(?![^>]*application/json)", page)
        assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


def test_the_list_shows_the_newest_first_and_none_whose_list_is_not_all_here(staff: Client) -> None:
    make_job(title="first", status=Status.DONE)
    make_job(title="half", status=Status.RECEIVING)
    running = make_running(crowd(40), title="second")
    store_rows(running, 10)
    assert listed(staff) == ["second", "first"]
    now = told(shown(staff, f"{JOBS}?status=running"))
    assert now | {"status": "running", "percent": "25.0", "settled": "10", "failed": "0"} == now


@look_only
def test_a_job_whose_list_is_not_all_here_has_no_page(staff: Client) -> None:
    job = make_job(status=Status.RECEIVING)
    for name in ("change", "cancel"):
        shown(staff, page_of(job, name), 404)
    for name in ("pause", "resume", "cancel", "rate"):
        assert staff.post(page_of(job, name)).status_code == 404
    assert listed(staff, f"?q={job.pk}") == []
    assert again(job).status == Status.RECEIVING


@look_only
def test_the_list_is_filtered_by_status_and_searched_by_id_type_and_title(staff: Client) -> None:
    one = make_job(title="Autumn 100% news", type="news.autumn")
    make_job(title="Other", type="news.winter", status=Status.PAUSED)
    assert listed(staff, "?status=paused") == ["Other"]
    assert listed(staff, "?status=done") == []
    assert listed(staff, "?status=receiving") == []
    assert listed(staff, f"?q={one.pk}") == [one.title]
    assert listed(staff, "?q=news.winter") == ["Other"]
    assert listed(staff, "?q=autumn") == [one.title], "words of the title, whatever their case"
    assert listed(staff, "?q=100%25") == [one.title]
    assert listed(staff, "?q=%25") == [one.title], "no pattern"
    assert listed(staff, f"?q={uuid.uuid4()}") == []
    assert staff.get(f"{JOBS}?title__contains=x").status_code == 400, "nothing by a hand-written address"


def test_a_job_is_paused_resumed_slowed_and_cancelled_by_its_buttons(
    staff: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    job = make_running()
    assert buttons(staff, job) == {"pause", "cancel", "rate"}
    assert said(post(staff, job, "pause")) == ["Paused: nothing more is fanned out."]
    assert {state for state, _ in state_of(job)} == {"paused"}
    assert buttons(staff, job) == {"resume", "cancel", "rate"}
    assert said(post(staff, job, "rate", rate=" 500/s ")) == ["It goes at most at 500/s from now on."]
    assert again(job).rate_limit == "500/s"
    assert said(post(staff, job, "rate", rate="")) == ["It goes as fast as it can from now on."]
    assert again(job).rate_limit == ""
    assert said(post(staff, job, "resume")) == ["Resumed: it goes on where it was."]
    assert {state for state, _ in state_of(job)} == {"running"}
    assert "As of now 0 are fanned out" in shown(staff, page_of(job, "cancel"))
    assert said(post(staff, job, "cancel")) == ["Cancelled: what was not fanned out never will be."]
    assert {state for state, _ in state_of(job)} == {"cancelled"}
    assert buttons(staff, job) == set()
    logged = " ".join(record.getMessage() for record in caplog.records)
    for action in ("bulk.paused", "bulk.dialled", "bulk.resumed", "bulk.cancelled"):
        assert action in logged
    assert "ada" in logged


@look_only
def test_the_second_half_of_a_double_click_says_what_the_first_half_did(staff: Client) -> None:
    job = make_running()
    for name, status in (("pause", Status.PAUSED), ("resume", Status.RUNNING), ("cancel", Status.CANCELLED)):
        first, second = post(staff, job, name), post(staff, job, name)
        assert said(first) == said(second)
        assert again(job).status == status
    assert again(job).revision == job.revision + 3, "one order each"


@look_only
@pytest.mark.parametrize("status", [Status.DONE, Status.CANCELLED])
def test_an_order_that_comes_too_late_is_told_so(staff: Client, status: int) -> None:
    job = make_job(status=status)
    assert buttons(staff, job) == set()
    word = Status(status).label
    for name in ("pause", "resume", "rate"):
        (sentence,) = said(post(staff, job, name))
        assert sentence.startswith(f"A job that is {word} cannot be ")
    (sentence,) = said(staff.get(page_of(job, "cancel"), follow=True))
    assert sentence == f"A job that is {word} cannot be cancelled."
    assert again(job).revision == job.revision


@look_only
@pytest.mark.parametrize("rate", ["500", "0/s", "1/w", "-1/s", "9" * 10 + "/s", "<b>", "5/s\n6/s"])
def test_what_is_no_rate_stays_in_its_field_and_changes_nothing(staff: Client, rate: str) -> None:
    job = make_running(rate_limit="20/m")
    page = unescape(post(staff, job, "rate", rate=rate).content.decode())
    assert "A rate must be a number and a unit of time" in page
    assert f'value="{rate}"' in page
    assert again(job).rate_limit == "20/m"


@look_only
def test_looking_and_ordering_take_a_permission_each(staff: Client) -> None:
    job = make_running()
    onlooker, stranger = allowed_to("view"), allowed_to()
    for address in (JOBS, page_of(job)):
        assert stranger.get(address).status_code == 403
        page = shown(onlooker, address)
        assert not re.search(r"Pause|Resume|Cancel|Set the rate|Add bulk", page)
    for name in ("pause", "resume", "cancel", "rate"):
        for browser in (onlooker, stranger):
            assert browser.post(page_of(job, name), {"rate": "bad"}).status_code == 403
    assert onlooker.get(page_of(job, "cancel")).status_code == 403
    assert again(job) == job
    assert again(job).revision == job.revision
    post(allowed_to("change"), job, "pause")
    assert again(job).status == Status.PAUSED


@look_only
def test_nobody_adds_edits_or_deletes_a_job(staff: Client) -> None:
    job = make_running()
    for path in (f"{JOBS}add/", page_of(job, "delete"), page_of(job, "history")):
        assert staff.get(path).status_code == 404
    assert staff.post(page_of(job), {"title": "Other"}).status_code == 405
    assert staff.post(JOBS, {"action": "delete_selected", "_selected_action": str(job.pk)}).status_code in {200, 302}
    assert again(job).title == job.title
    assert "Add" not in shown(staff, JOBS).partition('<div id="content"')[2]


@look_only
def test_every_order_needs_a_token_against_forgery_and_no_get_gives_any() -> None:
    job = make_running()
    careful, anybody = Client(enforce_csrf_checks=True), Client()
    careful.force_login(User.objects.create_superuser("ada"))
    for name in ("pause", "resume", "cancel", "rate"):
        assert careful.post(page_of(job, name)).status_code == 403
        assert careful.get(page_of(job, name)).status_code in {200, 405}
        assert anybody.post(page_of(job, name)).status_code == 302, "to the sign-in"
    assert again(job).revision == job.revision


def test_without_redis_what_is_known_is_shown_and_orders_are_given_all_the_same(staff: Client) -> None:
    job = make_running(crowd(40))
    store_rows(job, 10)
    with redis_is_away():
        assert told(shown(staff, page_of(job)))["stored"] == "10"
        assert listed(staff) == [job.title]
        (sentence,) = said(post(staff, job, "pause"))
    assert sentence.startswith("Redis does not answer just now. The order is given all the same")
    assert again(job).status == Status.PAUSED
    assert again(job).applied < again(job).revision, "a bulk worker carries it out"


@look_only
def test_without_postgresql_a_page_says_so_and_lets_the_order_be_sent_again(staff: Client) -> None:
    job = make_running()
    with postgresql_is_away():
        for address in (JOBS, page_of(job)):
            assert "PostgreSQL does not answer just now" in shown(staff, address, 503)
        answer = staff.post(page_of(job, "rate"), {"rate": "7/s"})
    assert answer.status_code == 503
    page = answer.content.decode()
    assert '<input type="hidden" name="rate" value="7/s">' in page
    assert "csrfmiddlewaretoken" in page
    assert again(job).rate_limit == ""


@look_only
def test_a_job_that_waits_says_until_when_and_one_that_is_overdue_says_what_is_missing(staff: Client) -> None:
    waiting = make_job(start_at=timezone.now() + timedelta(hours=3, minutes=1))
    overdue = make_job(start_at=timezone.now() - timedelta(minutes=1))
    page = shown(staff, page_of(waiting))
    assert "in 3 h" in page
    assert "It is overdue" not in page
    assert "It is overdue" in shown(staff, page_of(overdue))
    assert "It is overdue" not in shown(staff, page_of(begin(overdue)))


def test_a_job_for_another_number_of_shards_says_what_it_waits_for(staff: Client) -> None:
    there = wiring.shards().count
    job = make_job(shares=[1] * (there + 2), positions=[0] * (there + 2))
    assert f"when there were {there + 2} shards" in shown(staff, page_of(job))
    assert listed(staff) == [job.title]
    assert said(post(staff, job, "cancel")) == ["Cancelled: what was not fanned out never will be."]
    assert "NOTIFY_SHARDS" not in shown(staff, page_of(job))


@look_only
def test_numbers_are_told_as_people_read_them() -> None:
    assert [words.duration(seconds) for seconds in (0.2, 59.1, 3600, 3661, 90_061, 86_460)] == [
        *("1 s", "1 min", "1 h", "1 h 1 min", "1 d 1 h", "1 d"),
    ]
    assert [words.rate(rate) for rate in (0, 0.04, 0.5, 9.96, 1234.5)] == ["0/s", "0.0/s", "0.5/s", "10.0/s", "1,234/s"]
    assert [words.percent(part, 3000) for part in (0, 1, 2999, 3000)] == ["0.0", "0.0", "99.9", "100.0"]
    job = make_job()
    assert words.told(job, Counts(3, 3, 0))["percent"] == "100.0"
    assert words.told(BulkJob(id=uuid.uuid4()), Counts(0, 0, 0))["percent"] == "0.0"
