"""Bulk jobs over HTTP: looking, orders, who may, and what is refused."""

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from bulk import orders
from bulk.models import BulkJob
from bulk.tests.helpers import (
    again,
    bury,
    crowd,
    fan,
    in_lanes,
    make_job,
    make_running,
    state_of,
    store_rows,
    unreachable,
)
from conftest import Caller
from notifications import wiring
from notifications.access import tokens
from notifications.access.principal import SCOPES, Scope
from notifications.representation import timestamp
from notifications.tests.test_api import problem

pytestmark = pytest.mark.django_db

Status = BulkJob.Status

FIELDS = {
    *("id", "status", "total", "fanned_out", "stored", "failed", "rate", "rate_limit", "eta_seconds", "duplicates"),
    *("rejected", "type", "title", "body", "data", "start_at", "created_at", "created_by", "started_at", "finished_at"),
}
BULK: dict[str, Any] = {"recipients": ["alice", "bob"], "notification": {"type": "news", "title": "News"}}
RATE_RULE = "must be a number and a unit of time: 1000/s, 20/m, 500/h, 10000/d; or null for no limit"


def call(caller: Client, method: str, path: str, body: Any = None) -> Any:
    """A request with a JSON body, or bytes as they are."""
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return caller.generic(method, path, sent, content_type="application/json")


def address(job: BulkJob, deed: str = "") -> str:
    return f"/api/bulk/{job.pk}{deed}"


def dial(caller: Client, job: BulkJob, rate: str | None) -> Any:
    return call(caller, "PATCH", address(job), {"rate": rate})


@pytest.fixture
def redis_is_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on bulk jobs are looked for where nobody answers; API keys still are."""
    return lambda: monkeypatch.setattr(wiring, "fanout", unreachable)


def test_a_job_that_was_made_is_where_its_location_says(producer: Caller) -> None:
    asked = BULK | {"rate": "20/m", "notification": BULK["notification"] | {"data": {"n": [1, 2.5]}}}
    answer = call(producer, "POST", "/api/bulk", asked)
    assert answer.status_code == 202
    shown = producer.get(answer.headers["Location"]).json()
    assert (shown["id"], shown["status"], shown["total"]) == (answer.json()["id"], "queued", 2)
    assert (shown["title"], shown["data"], shown["rate_limit"]) == ("News", {"n": [1, 2.5]}, "20/m")
    assert shown["created_by"] == 'API key "tests"'


def test_a_job_is_shown_with_all_that_it_is(producer: Caller) -> None:
    data = {"text": "é\n\u2028😀 </script>", "deep": [[{"a": None}]], "n": 1.5}
    job = make_job(crowd(10), title="a\tb", type="sale", body="é" * 4096, data=data, duplicates=3, rejected=2)
    answer = producer.get(address(job))
    shown = answer.json()
    assert answer.status_code == 200
    assert shown.keys() == FIELDS
    assert (shown["id"], shown["status"], shown["total"]) == (str(job.pk), "queued", 10)
    assert (shown["title"], shown["type"], shown["body"], shown["data"]) == ("a\tb", "sale", "é" * 4096, data)
    assert (shown["duplicates"], shown["rejected"], shown["created_by"]) == (3, 2, "tests")
    assert [shown[name] for name in ("fanned_out", "stored", "failed", "rate")] == [0, 0, 0, 0]
    assert [shown[name] for name in ("rate_limit", "eta_seconds", "started_at", "finished_at")] == [None] * 4
    assert shown["created_at"] == shown["start_at"] == timestamp(job.created_at)


def test_a_job_under_way_is_shown_with_how_far_it_is(producer: Caller) -> None:
    job = make_running(crowd(1000), rate_limit="3600000/h", per_second=12.345)
    fan(job, 100)
    reached = sum(map(len, in_lanes(job)))
    store_rows(job, 30, 20)
    bury(job, 4)
    shown = producer.get(address(job)).json()
    assert (shown["status"], shown["rate_limit"], shown["rate"]) == ("running", "3600000/h", 12.3)
    assert (shown["fanned_out"], shown["stored"], shown["failed"]) == (reached, 50, 4)
    assert shown["eta_seconds"] == pytest.approx((1000 - 54) / 12.345, abs=0.1)
    assert shown["started_at"] == timestamp(again(job).started_at or timezone.now())
    assert producer.get("/api/bulk").json()["results"] == [shown]


def test_a_job_that_begins_later_says_when(producer: Caller) -> None:
    start_at = timezone.now() + timedelta(hours=1)
    shown = producer.get(address(make_job(start_at=start_at))).json()
    assert (shown["status"], shown["start_at"]) == ("queued", timestamp(start_at))


def test_an_order_is_answered_with_the_job_as_it_is_then(producer: Caller) -> None:
    job = make_running(crowd(1000))
    fan(job, 30)
    reached = sum(map(len, in_lanes(job)))
    store_rows(job, 5)
    for deed, status in (("/pause", "paused"), ("/resume", "running"), ("/cancel", "cancelled")):
        answer = call(producer, "POST", address(job, deed))
        shown = answer.json()
        assert (answer.status_code, shown.keys(), shown["status"]) == (200, FIELDS, status)
        assert (shown["fanned_out"], shown["stored"]) == (reached, 5)
        assert producer.get(address(job)).json() == shown
    assert {fanned.what for fanned in fan(job, 30)} == {"cancelled"}


def test_the_dial_is_turned_and_taken_off(producer: Caller) -> None:
    job = make_running(crowd(1000))
    for rate in ("500/s", "1/d", "999999999/m", None):
        answer = dial(producer, job, rate)
        assert (answer.status_code, answer.json()["rate_limit"], answer.json()["status"]) == (200, rate, "running")
    assert (again(job).rate_limit, state_of(job)) == ("", {("running", 5)})


@pytest.mark.parametrize(
    ("status", "impossible"),
    [
        (Status.QUEUED, {"/resume"}),
        (Status.RUNNING, {"/resume"}),
        (Status.PAUSED, {"/pause"}),
        (Status.CANCELLED, {"/pause", "/resume", "/cancel", ""}),
        (Status.DONE, {"/pause", "/resume", "/cancel", ""}),
    ],
)
def test_a_move_that_cannot_be_is_a_409_that_says_why(producer: Caller, status: Status, impossible: set[str]) -> None:
    for deed in ("/pause", "/resume", "/cancel", ""):
        job = make_job(status=status)
        answer = call(producer, "POST", address(job, deed)) if deed else dial(producer, job, "5/s")
        if deed not in impossible:
            assert answer.status_code == 200
            continue
        assert problem(answer, 409)["detail"].startswith(f"A job that is {status.label} cannot be ")
        assert (again(job).status, again(job).revision) == (status, 1)


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({"rate": "fast"}, "/rate", RATE_RULE),
        ({"rate": "0/s"}, "/rate", RATE_RULE),
        ({"rate": "-5/s"}, "/rate", RATE_RULE),
        ({"rate": "1.5/s"}, "/rate", RATE_RULE),
        ({"rate": "500"}, "/rate", RATE_RULE),
        ({"rate": "500/w"}, "/rate", RATE_RULE),
        ({"rate": "500/s "}, "/rate", RATE_RULE),
        ({"rate": "500/s\n"}, "/rate", RATE_RULE),
        ({"rate": "1000000000/s"}, "/rate", RATE_RULE),
        ({"rate": "\u0665/s"}, "/rate", RATE_RULE),
        ({"rate": ""}, "/rate", RATE_RULE),
        ({"rate": 500}, "/rate", RATE_RULE),
        ({"rate": ["500/s"]}, "/rate", RATE_RULE),
        ({}, "/rate", "is required"),
        (None, "/rate", "is required"),
        ({"rate": "5/s", "title": "x"}, "/title", "is not one of: rate"),
        ({"status": "paused"}, "/status", "is not one of: rate"),
        ([], "", "must be a JSON object, its fields any of: rate"),
        (b"{", "", "must be JSON in UTF-8 (RFC 8259)"),
    ],
)
def test_what_is_no_rate_is_refused_by_its_rule(producer: Caller, body: Any, pointer: str, detail: str) -> None:
    job = make_running()
    fields = problem(call(producer, "PATCH", address(job), body), 400)
    assert fields["errors"] == [{"pointer": pointer, "detail": detail}]
    assert again(job).revision == 1


def test_what_nobody_is_shown_is_not_there(producer: Caller) -> None:
    receiving = make_job(status=Status.RECEIVING)
    for unknown in (receiving.pk, uuid.uuid4(), "not-an-id", "019aab5e-0000-7000-8000-000000006f31"):
        one = f"/api/bulk/{unknown}"
        problem(producer.get(one), 404)
        problem(call(producer, "PATCH", one, {"rate": None}), 404)
        for deed in ("/pause", "/resume", "/cancel"):
            problem(call(producer, "POST", f"{one}{deed}"), 404)
    assert (again(receiving).status, again(receiving).revision) == (Status.RECEIVING, 1)


CALLS: list[tuple[str, str, Scope]] = [
    ("GET", "", "read"),
    ("POST", "", "send"),
    ("GET", "/{id}", "read"),
    ("PATCH", "/{id}", "manage"),
    ("POST", "/{id}/pause", "manage"),
    ("POST", "/{id}/resume", "manage"),
    ("POST", "/{id}/cancel", "manage"),
]


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(("method", "path", "needed"), CALLS)
def test_each_call_takes_its_scope_and_no_other(
    caller_with: Callable[..., Caller], method: str, path: str, needed: Scope
) -> None:
    job = make_job(status=Status.PAUSED if path.endswith("resume") else Status.RUNNING)
    one = "/api/bulk" + path.format(id=job.pk)
    body = {"PATCH": {"rate": "5/s"}, "POST": None if path else BULK}.get(method)
    others = [scope for scope in SCOPES if scope != needed]
    assert problem(call(caller_with(*others), method, one, body), 403)["detail"] == f"This needs the scope '{needed}'."
    problem(call(Caller(tokens.issue("alice", 60)[0]), method, one, body), 403)
    problem(call(Client(raise_request_exception=False), method, one, body), 401)
    assert (again(job).revision, BulkJob.objects.count()) == (1, 1)
    assert call(caller_with(needed), method, one, body).status_code == (202 if needed == "send" else 200)


@pytest.mark.one_shard_is_enough
def test_errors_of_every_kind_are_problems(producer: Caller) -> None:
    one = address(make_running())
    problem(call(producer, "PUT", one, {}), 405)
    problem(call(producer, "POST", one, {}), 405)
    problem(call(producer, "DELETE", one), 405)
    problem(call(producer, "PATCH", "/api/bulk", {}), 405)
    problem(call(producer, "DELETE", "/api/bulk"), 405)
    problem(producer.get(f"{one}/pause"), 405)
    problem(call(producer, "POST", f"{one}/stop"), 404)
    problem(producer.patch(one, "rate=5/s", content_type="application/x-www-form-urlencoded"), 415)
    assert "262144" in problem(call(producer, "PATCH", one, b" " * (256 * 1024 + 1)), 413)["detail"]


def test_what_postgresql_knows_is_shown_while_redis_does_not_answer(
    producer: Caller, redis_is_away: Callable[[], None]
) -> None:
    job = make_running(crowd(1000))
    fan(job, 10)
    shown = call(producer, "POST", address(job, "/pause")).json()
    redis_is_away()
    assert producer.get(address(job)).json() == shown
    assert producer.get("/api/bulk").json()["results"] == [shown]


@pytest.mark.parametrize("deed", ["/pause", "/cancel", ""])
def test_an_order_that_redis_was_not_told_is_a_503_that_says_it_is_given(
    producer: Caller, redis_is_away: Callable[[], None], deed: str
) -> None:
    job = make_running(crowd(1000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring, "fanout", unreachable)
        answer = call(producer, "POST", address(job, deed)) if deed else dial(producer, job, "5/s")
    detail = problem(answer, 503)["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    assert "The order is given all the same" in detail
    now = again(job)
    assert (now.revision, now.applied, state_of(job)) == (2, 1, {("running", 1)})
    orders.apply(wiring.fanout(), now)
    assert producer.get(address(job)).json()["status"] == now.get_status_display()
    assert {revision for _, revision in state_of(job)} == {2}


@pytest.mark.one_shard_is_enough
def test_an_order_over_which_postgresql_is_lost_is_a_503_that_says_it_may_be_given(
    producer: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_running()

    def lost(*_: object) -> BulkJob:
        raise OperationalError("server closed the connection unexpectedly")

    # In the place where it is known least: Redis has been told, and PostgreSQL was to hear of that.
    monkeypatch.setattr(orders, "furthest", lost)
    answer = call(producer, "POST", address(job, "/pause"))
    assert int(answer.headers["Retry-After"]) > 0
    assert "may have been given" in problem(answer, 503)["detail"]
    assert (again(job).status, state_of(job)) == (Status.PAUSED, {("paused", 2)})
    monkeypatch.undo()
    assert problem(call(producer, "POST", address(job, "/pause")), 409)["detail"] == (
        "A job that is paused cannot be paused."
    )


@pytest.mark.one_shard_is_enough
def test_a_member_of_staff_may_by_session(admin_client: Client) -> None:
    job = make_running()
    assert admin_client.get(address(job)).status_code == 200
    assert call(admin_client, "POST", address(job, "/pause")).json()["status"] == "paused"
