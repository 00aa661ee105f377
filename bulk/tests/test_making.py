"""`POST /api/bulk`: a notification and its list become a job, or nothing at all."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import InterfaceError, OperationalError, connection
from django.urls import reverse

from bulk import making, requests, upload
from bulk.models import BulkJob, Part, Received
from bulk.recipients import Batch
from bulk.tests.helpers import list_of
from conftest import Caller
from notifications import wiring
from notifications.access.principal import SCOPES, Scope
from notifications.tests.test_api import problem
from tests.stack import Stack, wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

Status = BulkJob.Status

NOTIFICATION = {"type": "news", "title": "A title", "body": "A body", "data": {"n": 1}}
HEAD = json.dumps(NOTIFICATION).encode()
PATH = "/api/bulk"


def inline(caller: Caller, recipients: Any, path: str = PATH, **fields: Any) -> Any:
    body = {"recipients": recipients, "notification": NOTIFICATION, **fields}
    return caller.post(path, body, content_type="application/json")


def lines(caller: Caller, *ids: str, head: bytes = HEAD, path: str = PATH, **headers: Any) -> Any:
    body = b"\n".join([head, *(text.encode() for text in ids)])
    return caller.generic("POST", path, body, content_type="application/x-ndjson", **headers)


def everybody(job: BulkJob) -> list[str]:
    return sorted(recipient for shard in wiring.shards().each() for recipient in list_of(job, shard))


def nothing_is_there() -> bool:
    return not (BulkJob.objects.exists() or Received.objects.exists() or Part.objects.exists())


@pytest.mark.parametrize("send", [inline, lambda caller, ids: lines(caller, *ids)], ids=["inline", "lines"])
def test_a_list_becomes_a_job_that_can_be_looked_at(send: Callable[..., Any], producer: Caller) -> None:
    answer = send(producer, ["alice", "bob", "alice", "carol"])
    assert answer.status_code == 202
    job = BulkJob.objects.get()
    shown = answer.json()
    assert shown == {
        "id": str(job.pk),
        "total": 3,
        "duplicates": 1,
        "rejected": 0,
        "errors": [],
        "start_at": shown["start_at"],
        "status": "queued",
    }
    assert answer.headers["Location"] == reverse("bulk-job", args=[job.pk]) == f"/api/bulk/{job.pk}"
    assert everybody(job) == ["alice", "bob", "carol"]
    looked_at = producer.get(answer.headers["Location"]).json()
    assert {
        **NOTIFICATION,
        "total": 3,
        "status": "queued",
        "created_by": 'API key "tests"',
    }.items() <= looked_at.items()
    assert looked_at["start_at"] == shown["start_at"]
    assert (job.once, job.answer, job.fingerprint) == (None, None, "")


def test_how_fast_and_when_are_kept(producer: Caller) -> None:
    fields = {"rate": "500/s", "at": "2100-01-01T00:00:00Z"}
    for answer in (
        inline(producer, ["alice"], **fields),
        lines(producer, "alice", head=json.dumps(NOTIFICATION | fields).encode()),
    ):
        job = BulkJob.objects.get(pk=answer.json()["id"])
        assert (job.rate_limit, job.start_at.year, answer.json()["start_at"]) == (
            "500/s",
            2100,
            "2100-01-01T00:00:00.000Z",
        )


def test_what_is_no_id_is_told_and_the_rest_goes_on(producer: Caller) -> None:
    answer = inline(producer, ["alice", "b b", 7, "carol"])
    assert (answer.status_code, answer.json()["total"], answer.json()["rejected"]) == (202, 2, 2)
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/recipients/1", "/recipients/2"]
    assert BulkJob.objects.get().rejected == 2
    answer = lines(producer, "alice", "b b", '"carol"', "{}", "", "dan")
    assert (answer.status_code, answer.json()["total"], answer.json()["rejected"]) == (202, 3, 2)
    assert [error["line"] for error in answer.json()["errors"]] == [3, 5]
    assert [error.keys() for error in answer.json()["errors"]] == [{"line", "detail"}] * 2


def test_of_many_that_are_no_ids_the_first_hundred_are_told_and_all_are_counted(producer: Caller) -> None:
    answer = lines(producer, *["a b"] * 12_000, "alice")
    assert (answer.json()["total"], answer.json()["rejected"]) == (1, 12_000)
    assert [error["line"] for error in answer.json()["errors"]] == list(range(2, 102))


@pytest.mark.parametrize("bad", [1, 99, 30_000])
def test_a_strict_request_is_all_or_nothing(bad: int, producer: Caller) -> None:
    path = f"{PATH}?strict=1"
    ids = ["alice"] * 30_000 + ["b b"] * bad + ["carol"] * 30_000
    errors = problem(inline(producer, ids, path), 400)["errors"]
    assert [error["pointer"] for error in errors] == [
        f"/recipients/{place}" for place in range(30_000, 30_000 + min(bad, 100))
    ]
    errors = problem(lines(producer, *ids, path=path), 400)["errors"]
    assert [error["line"] for error in errors] == list(range(30_002, 30_002 + min(bad, 100)))
    assert nothing_is_there()
    assert inline(producer, ["alice"], path).status_code == 202
    assert lines(producer, "alice", path=path).status_code == 202
    assert inline(producer, ["alice", "b b"], f"{PATH}?strict=0").status_code == 202


@pytest.mark.one_shard_is_enough
def test_a_strict_request_is_read_no_further_than_it_takes(producer: Caller) -> None:
    body = BytesIO(HEAD + b"\nb b" * 1_000_000)
    here: dict[str, Any] = {"wsgi.input": body, "CONTENT_LENGTH": str(len(body.getvalue()))}
    problem(lines(producer, path=f"{PATH}?strict=1", **here), 400)
    assert body.tell() < 1_000_000


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize("query", ["strict=yes", "strikt=1"])
def test_another_query_is_refused(query: str, producer: Caller) -> None:
    problem(inline(producer, ["alice"], f"{PATH}?{query}"), 400)
    assert nothing_is_there()


def test_a_list_without_anybody_starts_nothing(producer: Caller) -> None:
    assert problem(inline(producer, []), 400)["errors"][0]["pointer"] == "/recipients"
    assert problem(inline(producer, ["a b"]), 400)["errors"][0]["pointer"] == "/recipients/0"
    assert problem(lines(producer), 400)["errors"][0]["detail"] == "must name at least one recipient"
    assert problem(lines(producer, "", " "), 400)["errors"][0]["detail"] == "must name at least one recipient"
    assert [error["line"] for error in problem(lines(producer, "a b", "{}"), 400)["errors"]] == [2, 3]
    assert nothing_is_there()


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(
    ("head", "pointers"),
    [
        (b"", [None]),
        (b"[]", [None]),
        (b"alice", [None]),
        (b'{"title": ""}', ["/title", "/type"]),
        (b'{"title": "x", "type": "x", "rate": 1, "delay": -1}', ["/delay", "/rate"]),
        (b'{"notification": {"title": "x", "type": "x"}}', ["/notification", "/title", "/type"]),
    ],
)
def test_what_is_wrong_with_the_first_line_is_told_with_its_place(
    head: bytes, pointers: list[str | None], producer: Caller
) -> None:
    errors = problem(lines(producer, "alice", head=head), 400)["errors"]
    assert {error["line"] for error in errors} == {1}
    assert sorted((error.get("pointer") for error in errors), key=str) == pointers
    assert nothing_is_there()


@pytest.mark.one_shard_is_enough
def test_an_inline_list_has_its_bounds_and_lines_have_none(producer: Caller) -> None:
    ids = [f"u{number}" for number in range(100_001)]
    assert problem(inline(producer, ids), 400)["errors"][0]["pointer"] == "/recipients"
    assert inline(producer, ids[1:]).json()["total"] == 100_000
    assert lines(producer, *ids).json()["total"] == 100_001
    body = json.dumps({"recipients": ["x" * 128] * 90_000, "notification": NOTIFICATION})
    problem(producer.post(PATH, body, content_type="application/json"), 413)


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_of_another_kind_is_refused(media_type: str, producer: Caller) -> None:
    problem(producer.generic("POST", PATH, HEAD + b"\nalice", content_type=media_type), 415)
    assert lines(producer, "alice").status_code == 202
    body = HEAD + b"\nalice"
    answer = producer.generic("POST", PATH, body, content_type="Application/X-NDJSON; charset=utf-8")
    assert answer.status_code == 202


@pytest.mark.one_shard_is_enough
def test_it_takes_the_scope_that_sends(caller_with: Callable[..., Caller]) -> None:
    for scope in SCOPES:
        status = inline(caller_with(scope), ["alice"]).status_code
        assert status == (202 if scope == "send" else 403)
    names: list[Scope] = ["read", "manage"]
    problem(lines(caller_with(*names), "alice"), 403)
    assert BulkJob.objects.count() == 1


class Lost(BytesIO):
    """A connection that is lost after some bytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        if block := super().read(size):
            return block
        raise ConnectionResetError


@pytest.mark.parametrize("kind", [BytesIO, Lost])
@pytest.mark.parametrize("count", [0, 10, 30_000])
def test_a_list_that_breaks_off_starts_nothing(count: int, kind: type[BytesIO], producer: Caller) -> None:
    body = b"\n".join([HEAD, *(b"user-%d" % number for number in range(count))])
    here: dict[str, Any] = {"wsgi.input": kind(body), "CONTENT_LENGTH": str(len(body) + 1)}
    problem(lines(producer, **here), 400)
    assert nothing_is_there()
    here = {"wsgi.input": BytesIO(body + b"\nx"), "CONTENT_LENGTH": str(len(body) + 2)}
    assert lines(producer, **here).json()["total"] == count + 1


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_is_lost_over_a_list_starts_nothing() -> None:
    def batches() -> Iterator[Batch]:
        yield Batch([f"user-{number}" for number in range(10_000)], [])
        assert Received.objects.exists()
        with suppress(OperationalError):
            connection.cursor().execute("SELECT pg_terminate_backend(pg_backend_pid())")
        yield Batch([f"user-{number}" for number in range(10_000)], [])

    with pytest.raises((OperationalError, InterfaceError)):
        making.make(requests.parse(HEAD, upload.now_ms()), batches(), "tests")
    assert nothing_is_there()


@pytest.mark.parametrize("failpoint", ["bulk.received", "bulk.sorted"])
def test_a_web_that_is_killed_over_a_list_starts_nothing(failpoint: str, tmp_path: Path) -> None:
    """What it leaves behind is nobody's, and is removed an hour later."""
    with Stack(tmp_path, NOTIFY_FAILPOINT=failpoint) as stack:
        web = stack.start_web()
        body = b"\n".join([HEAD, *(b"user-%d" % number for number in range(20_000))])
        with pytest.raises(httpx.HTTPError):
            post(stack, body)
        assert web.wait() == -9
        assert stack.sql("SELECT status, total FROM bulk_bulkjob") == [(Status.RECEIVING, 0)]
        assert stack.sql("SELECT count(*) FROM bulk_part") == [(0,)]
        assert stack.sql("SELECT count(*) > 0 FROM bulk_received") == [(True,)]


def test_without_postgresql_nothing_is_accepted_and_it_says_when_to_come_again(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        stack.start_web()
        assert post(stack, HEAD + b"\nalice").status_code == 202
        stack.postgresql.kill()
        for body in (HEAD + b"\nbob", HEAD + b"\n" + b"bob\n" * 20_000):
            answer = post(stack, body)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        stack.postgresql.start()
        wait_until(lambda: post(stack, HEAD + b"\ncarol").status_code == 202)
        assert stack.sql("SELECT total, status FROM bulk_bulkjob") == [(1, Status.QUEUED)] * 2


@pytest.mark.not_on_a_cluster("who calls is looked up in PostgreSQL while a node is away, and that is where a job is")
def test_without_redis_nothing_is_accepted_and_it_says_when_to_come_again(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        stack.start_web()
        assert post(stack, HEAD + b"\nalice").status_code == 202
        stack.valkey.kill()
        answer = post(stack, HEAD + b"\nbob")
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert stack.sql("SELECT count(*) FROM bulk_bulkjob") == [(1,)]


def post(stack: Stack, body: bytes) -> httpx.Response:
    headers = {"Authorization": f"Bearer {stack.api_key}", "Content-Type": "application/x-ndjson"}
    return httpx.post(f"{stack.url}{PATH}", content=body, headers=headers, timeout=30, trust_env=False)


def test_a_list_is_never_all_in_memory(producer: Caller) -> None:
    """Pieces of it are rows while the rest of it is still on its way."""
    written = []

    class Slow(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            written.append(Received.objects.count())
            return super().read(size)

    body = b"\n".join([HEAD, *(b"user-%d" % number for number in range(100_000))])
    here: dict[str, Any] = {"wsgi.input": Slow(body), "CONTENT_LENGTH": str(len(body))}
    lines(producer, **here)
    assert written[-1] >= 10 * len(list(wiring.shards().each()))
    assert written == sorted(written)
