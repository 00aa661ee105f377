"""The list of the schedules over HTTP: what is in it, in which order, and as of when."""

from typing import Any

import pytest
from django.test import Client

from conftest import Caller
from notifications.tests.test_api import problem
from scheduler import schedule
from scheduler.tests.helpers import DAY, call, fire, make, now_ms, once, plan, record_all, recurring

pytestmark = pytest.mark.django_db

NOBODYS_ID = "019aab5e-0000-7000-8000-000000006f31"


def pages(caller: Client, query: str = "") -> list[list[str]]:
    """The titles, page by page."""
    found, cursor = [], ""
    while True:
        page = caller.get(f"/api/schedule?{query}{cursor}").json()
        found.append([one["title"] for one in page["results"]])
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def plan_many(count: int, begin: int = 0) -> list[schedule.Schedule]:
    """Schedules whose ids rise in their order, as time between requests makes them."""
    made: list[schedule.Schedule] = []
    for number in range(begin, begin + count):
        known = once(now_ms() + DAY, title=str(number))
        while made and known.id <= made[-1].id:
            known = once(now_ms() + DAY, title=str(number))
        made.append(known)
    plan(*made)
    return made


def test_the_newest_are_first_in_pages(producer: Caller) -> None:
    assert pages(producer) == [[]]
    plan_many(25)
    record_all()
    newest_first = [str(number) for number in range(24, -1, -1)]
    assert pages(producer) == [newest_first[:20], newest_first[20:]]
    assert pages(producer, "limit=10") == [newest_first[:10], newest_first[10:20], newest_first[20:]]
    assert pages(producer, "limit=25") == [newest_first]
    assert pages(producer, "limit=&cursor=&status=&type=&recipient=") == [newest_first[:20], newest_first[20:]]


def test_pages_stay_as_they_are_while_more_are_made_and_others_end(producer: Caller) -> None:
    made = plan_many(9)
    record_all()
    first = producer.get("/api/schedule?limit=3").json()
    plan_many(4, begin=9)
    for ended in (made[8], made[4]):
        producer.delete(f"/api/schedule/{ended.id}")
    record_all()
    second = producer.get(f"/api/schedule?limit=3&cursor={first['next']}").json()
    third = producer.get(f"/api/schedule?limit=3&cursor={second['next']}").json()
    assert [[one["title"] for one in page["results"]] for page in (first, second, third)] == [
        ["8", "7", "6"],
        ["5", "4", "3"],
        ["2", "1", "0"],
    ]
    assert third["next"] is None


def test_the_list_is_filtered_by_recipient_type_and_status(producer: Caller) -> None:
    make(producer, delay=60, title="a")
    make(producer, delay=60, title="b", recipient="bob")
    make(producer, delay=60, title="c", type="other")
    cancelled = make(producer, delay=60, title="d", recipient="bob", type="other")
    producer.delete(f"/api/schedule/{cancelled['id']}")
    plan(once(now_ms() - 1000, title="e"))
    fire()
    record_all()
    assert sorted(pages(producer, "recipient=alice")[0]) == ["a", "c", "e"]
    assert sorted(pages(producer, "recipient=bob")[0]) == ["b", "d"]
    assert sorted(pages(producer, "type=other")[0]) == ["c", "d"]
    assert sorted(pages(producer, "status=scheduled")[0]) == ["a", "b", "c"]
    assert pages(producer, "status=cancelled") == [["d"]]
    assert pages(producer, "status=fired") == [["e"]]
    assert pages(producer, "recipient=bob&type=other&status=cancelled") == [["d"]]
    assert pages(producer, "recipient=bob&status=fired") == [[]]


@pytest.mark.parametrize("at_once", [True, False])
def test_what_was_made_just_now_may_be_missing_and_comes_when_it_is_recorded(
    producer: Caller, *, at_once: bool
) -> None:
    made = make(producer, delay=60)
    if not at_once:
        record_all()
    assert pages(producer) == ([[]] if at_once else [["Report"]])
    assert producer.get(f"/api/schedule/{made['id']}").status_code == 200


def test_a_row_is_shown_as_it_is_now_though_that_is_not_recorded_yet(producer: Caller) -> None:
    edited, cancelled, fired = (make(producer, delay=60, title=title) for title in ("edited", "cancelled", "fired"))
    repeated = recurring(now_ms() + DAY)
    plan(repeated)
    record_all()
    call(producer, "PATCH", f"/api/schedule/{edited['id']}", {"title": "Another", "daily": "10:00"})
    producer.delete(f"/api/schedule/{cancelled['id']}")
    for known in (fired["id"], repeated.id):
        call(producer, "POST", f"/api/schedule/{known}/run")

    def listed() -> dict[str, Any]:
        return {one["id"]: one for one in producer.get("/api/schedule").json()["results"]}

    live = listed()
    assert (live[edited["id"]]["title"], live[edited["id"]]["daily"]) == ("Another", "10:00")
    assert live[edited["id"]]["revision"] == 2
    assert (live[cancelled["id"]]["status"], live[cancelled["id"]]["next_run_at"]) == ("cancelled", None)
    assert (live[fired["id"]]["status"], live[fired["id"]]["next_run_at"]) == ("fired", None)
    assert (live[repeated.id]["status"], live[repeated.id]["runs"]) == ("scheduled", 1)
    record_all()
    assert listed() == live
    assert all(producer.get(f"/api/schedule/{known}").json() == shown for known, shown in live.items())


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("limit=ten", "/limit"),
        ("limit=%C2%B2", "/limit"),
        ("limit=1.0", "/limit"),
        ("status=waiting", "/status"),
        ("status=Scheduled", "/status"),
        ("status=0", "/status"),
        ("recipient=a%20b", "/recipient"),
        ("recipient=a%00b", "/recipient"),
        ("type=Upper", "/type"),
        ("type=a%00b", "/type"),
        ("cursor=nonsense", "/cursor"),
        ("cursor=7", "/cursor"),
        ("preview=5", "/preview"),
        ("surprise=1", "/surprise"),
    ],
)
def test_a_query_out_of_bounds_is_refused(producer: Caller, query: str, pointer: str) -> None:
    fields = problem(producer.get(f"/api/schedule?{query}"), 400)
    assert [error["pointer"] for error in fields["errors"]] == [pointer]
    assert fields["errors"][0]["detail"]


@pytest.mark.one_shard_is_enough
def test_every_parameter_out_of_bounds_is_named_at_once(producer: Caller) -> None:
    fields = problem(producer.get("/api/schedule?limit=0&status=x&cursor=x&x=1"), 400)
    assert {error["pointer"] for error in fields["errors"]} == {"/limit", "/status", "/cursor", "/x"}


def test_a_cursor_of_a_schedule_that_is_gone_still_tells_the_place(producer: Caller) -> None:
    plan_many(2)
    record_all()
    assert pages(producer, f"cursor={NOBODYS_ID}") == [[]]
    assert pages(producer, "cursor=ffffffff-ffff-7fff-bfff-ffffffffffff") == [["1", "0"]]
