"""The list of the bulk jobs over HTTP: what is in it, in which order, and what is asked for wrongly."""

import pytest
from django.test import Client

from bulk.models import BulkJob
from bulk.tests.helpers import crowd, fan, in_lanes, make_job, make_running, store_rows
from conftest import Caller
from notifications.tests.test_api import problem

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

Status = BulkJob.Status

NOBODYS_ID = "019aab5e-0000-7000-8000-000000006f31"


def pages(caller: Client, query: str = "") -> list[list[str]]:
    """The titles, page by page."""
    found, cursor = [], ""
    while True:
        page = caller.get(f"/api/bulk?{query}{cursor}").json()
        found.append([one["title"] for one in page["results"]])
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def make_many(count: int, begin: int = 0) -> list[BulkJob]:
    """Jobs whose ids rise in their order, as time between requests makes them."""
    made: list[BulkJob] = []
    for number in range(begin, begin + count):
        job = make_job(title=str(number))
        while made and job.pk <= made[-1].pk:
            job.delete()
            job = make_job(title=str(number))
        made.append(job)
    return made


def test_the_newest_are_first_in_pages(producer: Caller) -> None:
    assert pages(producer) == [[]]
    make_many(25)
    newest_first = [str(number) for number in range(24, -1, -1)]
    assert pages(producer) == [newest_first[:20], newest_first[20:]]
    assert pages(producer, "limit=10") == [newest_first[:10], newest_first[10:20], newest_first[20:]]
    assert pages(producer, "limit=25") == [newest_first]
    assert pages(producer, "limit=&cursor=&status=&type=") == [newest_first[:20], newest_first[20:]]


def test_pages_stay_as_they_are_while_more_are_made(producer: Caller) -> None:
    make_many(6)
    first = producer.get("/api/bulk?limit=3").json()
    make_many(4, begin=6)
    second = producer.get(f"/api/bulk?limit=3&cursor={first['next']}").json()
    titles = [[one["title"] for one in page["results"]] for page in (first, second)]
    assert titles == [["5", "4", "3"], ["2", "1", "0"]]
    assert second["next"] is None


def test_the_list_is_filtered_by_type_and_status(producer: Caller) -> None:
    for status in Status:
        make_job(title=status.label, status=status)
        make_job(title=f"other {status.label}", status=status, type="other")
    for status in Status:
        if status != Status.RECEIVING:
            assert set(pages(producer, f"status={status.label}")[0]) == {status.label, f"other {status.label}"}
            assert pages(producer, f"status={status.label}&type=other") == [[f"other {status.label}"]]
    assert len(pages(producer, "type=other")[0]) == 5
    assert pages(producer, "type=none") == [[]]


def test_a_job_whose_list_is_not_all_here_is_in_no_list(producer: Caller) -> None:
    make_job(title="receiving", status=Status.RECEIVING)
    make_job(title="queued")
    assert pages(producer) == pages(producer, "type=news") == pages(producer, "status=queued") == [["queued"]]


def test_each_job_of_a_page_is_told_as_if_it_was_asked_for_alone(producer: Caller) -> None:
    jobs = [make_running(crowd(100)), make_job(crowd(50)), make_running(crowd(20))]
    for number, job in enumerate(jobs):
        if job.started_at:
            fan(job, 10)
            store_rows(job, number)
    listed = producer.get("/api/bulk").json()["results"]
    assert {one["id"]: one["fanned_out"] for one in listed} == {
        str(job.pk): sum(map(len, in_lanes(job))) for job in jobs
    }
    assert sorted(one["stored"] for one in listed) == [0, 0, 2]
    assert all(producer.get(f"/api/bulk/{one['id']}").json() == one for one in listed)


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("limit=ten", "/limit"),
        ("limit=%C2%B2", "/limit"),
        ("status=receiving", "/status"),
        ("status=Queued", "/status"),
        ("status=1", "/status"),
        ("type=Upper", "/type"),
        ("type=a%00b", "/type"),
        ("cursor=nonsense", "/cursor"),
        ("cursor=7", "/cursor"),
        ("recipient=alice", "/recipient"),
        ("surprise=1", "/surprise"),
    ],
)
def test_a_query_out_of_bounds_is_refused(producer: Caller, query: str, pointer: str) -> None:
    fields = problem(producer.get(f"/api/bulk?{query}"), 400)
    assert [error["pointer"] for error in fields["errors"]] == [pointer]
    assert fields["errors"][0]["detail"]


@pytest.mark.one_shard_is_enough
def test_every_parameter_out_of_bounds_is_named_at_once(producer: Caller) -> None:
    fields = problem(producer.get("/api/bulk?limit=0&status=x&cursor=x&x=1"), 400)
    assert {error["pointer"] for error in fields["errors"]} == {"/limit", "/status", "/cursor", "/x"}


@pytest.mark.one_shard_is_enough
def test_a_cursor_of_a_job_that_is_gone_still_tells_the_place(producer: Caller) -> None:
    make_many(2)
    assert pages(producer, f"cursor={NOBODYS_ID}") == [[]]
    assert pages(producer, "cursor=ffffffff-ffff-7fff-bfff-ffffffffffff") == [["1", "0"]]
