"""An idempotency key on a bulk: one job and one answer, however often the request is made."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from bulk import once, upload
from bulk.models import BulkJob, Part, Received
from bulk.upload import Upload
from conftest import Caller
from notifications.tests.test_api import problem

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

PATH = "/api/bulk"
NOTIFICATION = {"type": "news", "title": "A title"}
DAY = timedelta(hours=24)

Send = Callable[..., Any]


def inline(caller: Caller, *ids: str, key: str = "k1", path: str = PATH, **fields: Any) -> Any:
    body = {"recipients": ids, "notification": NOTIFICATION, **fields}
    return caller.post(path, body, content_type="application/json", headers={"Idempotency-Key": key})


def lines(caller: Caller, *ids: str, key: str = "k1", path: str = PATH, **fields: Any) -> Any:
    body = body_of(*ids, **fields)
    return caller.generic("POST", path, body, content_type="application/x-ndjson", headers={"Idempotency-Key": key})


def body_of(*ids: str, **fields: Any) -> bytes:
    return "\n".join([json.dumps(NOTIFICATION | fields), *ids]).encode()


def repeated(answer: Any) -> bool:
    assert answer.status_code == 202, answer.content
    return bool(answer.headers.get("Idempotency-Replayed") == "true")


each_way = pytest.mark.parametrize("send", [inline, lines])


@each_way
def test_the_same_request_gets_the_first_answer_and_makes_no_other_job(send: Send, producer: Caller) -> None:
    first = send(producer, "alice", "b b", "carol")
    again = send(producer, "alice", "b b", "carol")
    assert (repeated(first), repeated(again)) == (False, True)
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert (BulkJob.objects.count(), Received.objects.count()) == (1, 0)
    assert not repeated(send(producer, "alice", "b b", "carol", key="k2"))
    assert BulkJob.objects.count() == 2


@each_way
def test_a_long_list_is_known_again(send: Send, producer: Caller) -> None:
    ids = [f"user-{number}" for number in range(30_000)]
    assert [repeated(send(producer, *ids)) for _ in range(3)] == [False, True, True]
    problem(send(producer, *ids[:-1], "user-x"), 422)
    problem(send(producer, *ids, "user-x"), 422)
    assert BulkJob.objects.count() == 1


@each_way
def test_the_same_key_for_another_request_is_a_conflict(send: Send, producer: Caller) -> None:
    send(producer, "alice")
    for answer in (
        send(producer, "bob"),
        send(producer, "alice", rate="1/s"),
        send(producer, "alice", rate=7),
        (lines if send is inline else inline)(producer, "alice"),
    ):
        problem(answer, 422)
    assert (BulkJob.objects.count(), Part.objects.count()) == (1, 1)


@each_way
def test_the_same_request_is_known_after_its_time_is_past(
    send: Send, producer: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says of its time was right when it came first."""
    assert not repeated(send(producer, "alice", at="2100-01-01T00:00:00Z"))
    monkeypatch.setattr(upload, "now_ms", lambda: 4_200_000_000_000)
    assert repeated(send(producer, "alice", at="2100-01-01T00:00:00Z"))
    problem(send(producer, "alice", at="2100-01-01T00:00:00Z", key="k2"), 400)


@each_way
def test_a_request_that_was_refused_leaves_no_key(send: Send, producer: Caller) -> None:
    problem(send(producer, "a b"), 400)
    problem(send(producer, "alice", "b b", path=f"{PATH}?strict=1"), 400)
    problem(send(producer, "alice", rate="fast"), 400)
    assert not repeated(send(producer, "alice"))


def test_a_list_that_broke_off_leaves_no_key(producer: Caller) -> None:
    body = body_of(*(f"user-{number}" for number in range(30_000)))
    headers = {"Idempotency-Key": "k1"}

    def send(stated: int) -> Any:
        here: dict[str, Any] = {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(stated)}
        return producer.generic("POST", PATH, body, content_type="application/x-ndjson", headers=headers, **here)

    problem(send(len(body) + 1), 400)
    assert [repeated(send(len(body))) for _ in range(2)] == [False, True]
    # Not all of it: nobody can tell whether it is the same.
    problem(send(len(body) + 1), 400)


def test_keys_are_each_callers_own(caller_with: Callable[..., Caller]) -> None:
    answers = [lines(caller_with("send"), "alice") for _ in range(2)]
    assert [repeated(answer) for answer in answers] == [False, False]
    assert BulkJob.objects.count() == 2


@pytest.mark.one_shard_is_enough
@each_way
@pytest.mark.parametrize("key", ["", "x" * 256, "é"])
def test_a_key_out_of_bounds_is_refused(send: Send, key: str, producer: Caller) -> None:
    errors = problem(send(producer, "alice", key=key), 400)["errors"]
    assert [error["pointer"] for error in errors] == ["/Idempotency-Key"]
    assert not BulkJob.objects.exists()


@each_way
def test_a_key_may_be_used_again_after_its_day(send: Send, producer: Caller) -> None:
    send(producer, "alice")
    BulkJob.objects.update(created_at=F("created_at") - DAY + timedelta(minutes=1))
    assert repeated(send(producer, "alice"))
    BulkJob.objects.update(created_at=F("created_at") - timedelta(minutes=1))
    assert not repeated(send(producer, "bob"))
    new, old = BulkJob.objects.order_by("-created_at")
    assert [new.once is None, new.answer is None, old.once, old.answer] == [False, False, None, None]


def test_keys_that_are_over_are_forgotten_and_their_jobs_stay(producer: Caller) -> None:
    inline(producer, "alice")
    assert once.forget() == 0
    BulkJob.objects.update(created_at=F("created_at") - DAY)
    assert (once.forget(), once.forget()) == (1, 0)
    assert BulkJob.objects.filter(once=None, answer=None).count() == 1


@pytest.mark.django_db(transaction=True)
@each_way
@pytest.mark.parametrize("same", [True, False])
def test_of_requests_at_the_same_time_one_makes_a_job_and_all_get_its_answer(
    send: Send, producer: Caller, monkeypatch: pytest.MonkeyPatch, *, same: bool
) -> None:
    """All of their lists are here, and no key is known, before the first of them is sorted out."""
    together = threading.Barrier(4)
    mark = once.mark

    def mark_together(*arguments: Any) -> None:
        together.wait(30)
        mark(*arguments)

    monkeypatch.setattr(once, "mark", mark_together)
    answers: list[Any] = []

    def ask(name: str) -> None:
        try:
            answers.append(send(producer, "alice", name))
        finally:
            connection.close()

    names = ["bob"] * 4 if same else [f"user-{number}" for number in range(4)]
    threads = [threading.Thread(target=ask, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    if same:
        assert sorted(map(repeated, answers)) == [False, True, True, True]
        assert len({answer.content for answer in answers}) == 1
    else:
        assert sorted(answer.status_code for answer in answers) == [202, 422, 422, 422]
    assert (BulkJob.objects.count(), Received.objects.count()) == (1, 0)
    assert sum(BulkJob.objects.get().shares) == 2


@pytest.mark.django_db(transaction=True)
@each_way
def test_a_request_that_failed_leaves_no_key_either(
    send: Send, producer: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key is taken with the commit, not before it."""
    sort_out = Upload._sort_out

    def fail(_: Upload) -> list[int]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Upload, "_sort_out", fail)
    with pytest.raises(KeyboardInterrupt):
        send(producer, "alice")
    assert not BulkJob.objects.exists()
    monkeypatch.setattr(Upload, "_sort_out", sort_out)
    assert [repeated(send(producer, "alice")) for _ in range(2)] == [False, True]


def test_without_a_key_nothing_is_kept(producer: Caller) -> None:
    producer.post(PATH, {"recipients": ["a"], "notification": NOTIFICATION}, content_type="application/json")
    job = BulkJob.objects.get()
    assert (job.once, job.answer, job.fingerprint) == (None, None, "")
