"""Schedules over HTTP: making, looking, previews, who may, and what is refused."""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from conftest import Caller
from notifications import wiring
from notifications.access import tokens
from notifications.access.principal import SCOPES, Scope
from notifications.stream import keys
from notifications.tests.test_api import problem
from scheduler import schedule
from scheduler.models import Schedule as Row
from scheduler.tests.helpers import DAY, EVENT, SECOND, call, fire, logged, make, now_ms, once, plan, record_all, waits

pytestmark = pytest.mark.django_db

FIELDS = {
    *("id", "status", "revision", "next_run_at", "next_run_local", "at", "daily", "cron", "timezone", "catch_up"),
    *("recipient", "type", "title", "body", "data", "runs", "last_run_at", "created_at", "created_by", "changed_at"),
}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def in_redis() -> int:
    client: Any = wiring.shards().client
    return sum(client.hlen(keys.schedules(shard)) for shard in wiring.shards().each())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"at": "2100-01-01T00:00:00+01:00"}, {"at": "2099-12-31T23:00:00.000Z", "timezone": "UTC", "catch_up": None}),
        ({"at": "2100-01-01T00:00:00.123Z"}, {"at": "2100-01-01T00:00:00.123Z", "daily": None, "cron": None}),
        ({"daily": "08:00"}, {"daily": "08:00", "timezone": "UTC", "catch_up": "once", "at": None, "cron": None}),
        ({"cron": "0 8 * * MON", "timezone": "Asia/Tokyo", "catch_up": "all"}, {"timezone": "Asia/Tokyo"}),
    ],
)
def test_what_is_made_is_shown_as_it_was_asked_for(
    producer: Caller, fields: dict[str, Any], told: dict[str, Any]
) -> None:
    answer = call(producer, "POST", "/api/schedule", EVENT | {"body": "b", "data": {"n": [1, 2.5]}} | fields)
    shown = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/schedule/{shown['id']}"
    assert shown.keys() == FIELDS
    assert told.items() <= shown.items()
    assert (shown["recipient"], shown["type"], shown["title"]) == ("alice", "report.due", "Report")
    assert (shown["body"], shown["data"], shown["created_by"]) == ("b", {"n": [1, 2.5]}, 'API key "tests"')
    assert (shown["status"], shown["revision"], shown["runs"], shown["last_run_at"]) == ("scheduled", 1, 0, None)
    assert abs(moment(shown["created_at"]) - datetime.now(UTC)) < timedelta(seconds=30)
    assert producer.get(answer.headers["Location"]).json() == shown
    record_all()
    assert producer.get(answer.headers["Location"]).json() == shown


def test_a_delay_counts_from_now_by_the_servers_clock(producer: Caller) -> None:
    before = now_ms()
    shown = make(producer, delay=90)
    due_ms = schedule.unix_ms(moment(shown["next_run_at"]))
    assert before + 90 * SECOND <= due_ms <= now_ms() + 90 * SECOND
    assert shown["at"] == shown["next_run_at"]


def test_the_next_run_is_told_by_the_schedules_own_clock_too(producer: Caller) -> None:
    shown = make(producer, daily="08:15", timezone="Asia/Kolkata")
    assert shown["next_run_local"].endswith("T08:15:00.000+05:30")
    assert shown["next_run_at"].endswith("T02:45:00.000Z")
    assert moment(shown["next_run_local"]) == moment(shown["next_run_at"])


def test_a_minute_ago_is_now_and_earlier_is_an_error_that_says_so(producer: Caller) -> None:
    def ago(seconds: int) -> str:
        return schedule.moment(now_ms() - seconds * SECOND).isoformat()

    shown = make(producer, at=ago(58))
    assert abs(schedule.unix_ms(moment(shown["next_run_at"])) - now_ms()) < 2 * SECOND
    fields = problem(call(producer, "POST", "/api/schedule", EVENT | {"at": ago(62)}), 400)
    assert [error["pointer"] for error in fields["errors"]] == ["/at"]
    assert "in the past" in fields["errors"][0]["detail"]


@pytest.mark.parametrize(
    "at",
    ["2100-01-01T00:00:00.000Z", "2400-02-29T12:34:56.789Z", "8999-12-31T23:59:59.999Z", "8999-12-31T23:59:59.001Z"],
)
def test_far_times_are_kept_to_the_millisecond(producer: Caller, at: str) -> None:
    shown = make(producer, at=at)
    record_all()
    row = Row.objects.get()
    assert row.next_run_at == moment(at)
    assert (shown["at"], shown["next_run_at"]) == (at, at)


def test_a_preview_tells_the_next_times_and_makes_nothing(producer: Caller) -> None:
    document = EVENT | {"daily": "02:30", "timezone": "Europe/Berlin"}
    answer = call(producer, "POST", "/api/schedule?preview=5", document, **{"Idempotency-Key": "k"})
    seen = answer.json()
    assert answer.status_code == 200
    assert "Location" not in answer.headers
    assert seen.keys() == FIELDS | {"next_runs"}
    assert seen["id"] is None
    runs = [moment(run["at"]) for run in seen["next_runs"]]
    assert len(runs) == 5
    assert runs == sorted(set(runs))
    assert seen["next_runs"][0]["at"] == seen["next_run_at"]
    assert all(moment(run["local"]) == moment(run["at"]) for run in seen["next_runs"])
    assert (in_redis(), logged()) == (0, 0)

    made = call(producer, "POST", "/api/schedule", document, **{"Idempotency-Key": "k"})
    assert made.status_code == 201
    again = producer.get(f"/api/schedule/{made.json()['id']}?preview=5").json()
    assert (again["next_runs"], again["revision"]) == (seen["next_runs"], 1)
    assert logged() == 1


def test_a_preview_of_what_fires_once_has_one_time_and_of_what_is_over_none(producer: Caller) -> None:
    document = EVENT | {"at": "2100-01-01T00:00:00Z"}
    seen = call(producer, "POST", "/api/schedule?preview=100", document).json()
    assert seen["next_runs"] == [{"at": "2100-01-01T00:00:00.000Z", "local": "2100-01-01T00:00:00.000+00:00"}]
    made = make(producer, cron="* * * * *")
    producer.delete(f"/api/schedule/{made['id']}")
    for _ in range(2):
        assert producer.get(f"/api/schedule/{made['id']}?preview=3").json()["next_runs"] == []
        record_all()


def test_a_preview_of_a_broken_request_names_what_is_broken(producer: Caller) -> None:
    fields = problem(call(producer, "POST", "/api/schedule?preview=5", EVENT | {"daily": "25:00"}), 400)
    assert [error["pointer"] for error in fields["errors"]] == ["/daily"]


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(
    "query", ["preview=0", "preview=101", "preview=-1", "preview=x", "preview=%C2%B2", "surprise=1"]
)
def test_a_query_out_of_bounds_is_refused_and_nothing_is_made(producer: Caller, query: str) -> None:
    made = make(producer, delay=60)
    pointer = f"/{query.partition('=')[0]}"
    for method, path in (("POST", "/api/schedule"), ("GET", f"/api/schedule/{made['id']}")):
        answer = call(producer, method, f"{path}?{query}", EVENT | {"delay": 60} if method == "POST" else None)
        assert [error["pointer"] for error in problem(answer, 400)["errors"]] == [pointer]
    assert in_redis() == 1


@pytest.mark.one_shard_is_enough
def test_broken_rules_are_named_by_field_and_nothing_is_made(producer: Caller) -> None:
    broken = {"recipient": "a b", "x": 1, "daily": "10:00", "timezone": "Mars/Olympus"}
    fields = problem(call(producer, "POST", "/api/schedule", broken), 400)
    assert {error["pointer"] for error in fields["errors"]} == {"/recipient", "/type", "/title", "/x", "/timezone"}
    assert all(error["detail"] for error in fields["errors"])
    assert (in_redis(), logged()) == (0, 0)


@pytest.mark.one_shard_is_enough
def test_a_body_that_is_too_large_is_refused_with_the_limit(producer: Caller) -> None:
    made = make(producer, delay=60)
    one, limit = f"/api/schedule/{made['id']}", 256 * 1024
    for method, path in (("POST", "/api/schedule"), ("PATCH", one), ("POST", f"{one}/run")):
        assert str(limit) in problem(call(producer, method, path, b" " * (limit + 1)), 413)["detail"]
    assert waits(made["id"])


@pytest.mark.one_shard_is_enough
def test_errors_of_every_kind_are_problems(producer: Caller) -> None:
    one = f"/api/schedule/{make(producer, delay=60)['id']}"
    problem(call(producer, "PUT", one, {}), 405)
    problem(call(producer, "POST", one, {}), 405)
    problem(call(producer, "PATCH", "/api/schedule", {}), 405)
    problem(producer.get(f"{one}/run"), 405)
    problem(producer.post("/api/schedule", "a=b", content_type="application/x-www-form-urlencoded"), 415)
    problem(producer.patch(one, "a=b", content_type="text/plain"), 415)
    problem(call(producer, "POST", "/api/schedule", b"{"), 400)
    problem(call(producer, "PATCH", one, b"[]"), 400)
    problem(call(producer, "PATCH", one, b""), 400)


def test_what_was_never_made_is_not_there(producer: Caller) -> None:
    make(producer, delay=60)
    record_all()
    for unknown in (str(uuid.uuid4()), "not-an-id", "019aab5e-0000-7000-8000-000000006f31"):
        one = f"/api/schedule/{unknown}"
        for method, path in (("GET", one), ("PATCH", one), ("DELETE", one), ("POST", f"{one}/run")):
            problem(call(producer, method, path, {}), 404)


CALLS: list[tuple[str, str, Scope]] = [
    ("GET", "", "read"),
    ("POST", "", "send"),
    ("GET", "/{id}", "read"),
    ("PATCH", "/{id}", "manage"),
    ("DELETE", "/{id}", "manage"),
    ("POST", "/{id}/run", "manage"),
]


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(("method", "path", "needed"), CALLS)
def test_each_call_takes_its_scope_and_no_other(
    producer: Caller, caller_with: Callable[..., Caller], method: str, path: str, needed: Scope
) -> None:
    address = "/api/schedule" + path.format(id=make(producer, delay=60)["id"])
    body = None if method == "GET" else EVENT | {"delay": 60}
    others = [scope for scope in SCOPES if scope != needed]
    assert (
        problem(call(caller_with(*others), method, address, body), 403)["detail"] == f"This needs the scope '{needed}'."
    )
    problem(call(Caller(tokens.issue("alice", 60)[0]), method, address, body), 403)
    problem(call(Client(raise_request_exception=False), method, address, body), 401)
    assert call(caller_with(needed), method, address, body).status_code in {200, 201, 202, 204}


@pytest.mark.one_shard_is_enough
def test_a_preview_takes_the_scope_of_what_it_previews(caller_with: Callable[..., Caller]) -> None:
    problem(call(caller_with("read", "manage"), "POST", "/api/schedule?preview=5", EVENT | {"delay": 1}), 403)
    assert call(caller_with("send"), "POST", "/api/schedule?preview=5", EVENT | {"delay": 1}).status_code == 200


def test_a_schedule_that_fired_says_so_before_that_is_recorded_and_after(producer: Caller) -> None:
    known = once(now_ms() - SECOND)
    plan(known)
    fire()
    for _ in range(2):
        shown = producer.get(f"/api/schedule/{known.id}").json()
        assert (shown["status"], shown["next_run_at"], shown["next_run_local"]) == ("fired", None, None)
        record_all()
    assert in_redis() == 0


def test_how_often_it_fired_is_told_at_once_and_when_as_soon_as_that_is_recorded(producer: Caller) -> None:
    known = once(now_ms() - SECOND)
    plan(known)
    fire()
    before = producer.get(f"/api/schedule/{known.id}").json()
    record_all()
    after = producer.get(f"/api/schedule/{known.id}").json()
    assert (after["runs"], after["revision"]) == (before["runs"], before["revision"]) == (1, 2)
    assert abs(schedule.unix_ms(moment(after["last_run_at"])) - now_ms()) < 10 * SECOND


def test_what_recurs_tells_its_runs_at_once(producer: Caller) -> None:
    made = make(producer, cron="0 0 1 1 *")
    call(producer, "POST", f"/api/schedule/{made['id']}/run")
    for _ in range(2):
        shown = producer.get(f"/api/schedule/{made['id']}").json()
        assert (shown["status"], shown["runs"], shown["next_run_at"]) == ("scheduled", 1, made["next_run_at"])
        assert abs(schedule.unix_ms(moment(shown["last_run_at"])) - now_ms()) < 10 * SECOND
        record_all()


def test_content_that_needs_care_comes_back_as_it_went(producer: Caller) -> None:
    data = {"text": "é\n\u2028😀 </script>", "deep": [[{"a": None}]], "n": 1.5, "newline\n": "\\n"}
    made = make(producer, at="2100-01-01T00:00:00Z", data=data, title="a\nb\tc", body="é" * 4096, recipient="é:ü/😀")
    for _ in range(2):
        shown = producer.get(f"/api/schedule/{made['id']}").json()
        assert (shown["data"], shown["title"], shown["body"]) == (data, "a\nb\tc", "é" * 4096)
        record_all()
        wiring.shards().client.flushall()


def test_a_large_schedule_is_taken_whole(producer: Caller) -> None:
    data = {"text": "x" * (16 * 1024 - len('{"text":""}'))}
    made = make(producer, delay=DAY, data=data)
    assert producer.get(f"/api/schedule/{made['id']}").json()["data"] == data
    assert json.loads(call(producer, "GET", "/api/schedule").content)["results"] == []
