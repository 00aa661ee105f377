"""What a bulk request takes from its key's rate."""

from typing import Any

import pytest

from bulk import making
from bulk.models import BulkJob
from conftest import Caller
from notifications.intake import Answer
from notifications.stream.once import Once
from notifications.tests.test_api import problem
from notifications.tests.test_rates import BULK, keyed, left, notify, post, sender

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

HEAD = b'{"type": "t", "title": "t"}\n'


def post_lines(caller: Caller, lines: bytes) -> Any:
    return caller.post("/api/bulk", lines, content_type="application/x-ndjson")


def test_a_list_of_any_length_costs_one() -> None:
    caller = sender("10/d")
    assert left(post_lines(caller, HEAD + b"".join(b"user-%d\n" % number for number in range(100)))) == 9
    assert left(post(caller, "/api/bulk", BULK)) == 8


def test_a_list_that_came_to_nothing_costs_nothing() -> None:
    caller = sender("10/d")
    problem(post_lines(caller, HEAD + b"a b\n"), 400)
    problem(post(caller, "/api/bulk?strict=1", BULK | {"recipients": ["alice", "a b"]}), 400)
    assert left(notify(caller)) == 9


def test_over_the_rate_no_list_is_taken_in() -> None:
    caller = sender("1/d")
    assert notify(caller).status_code == 202
    problem(post_lines(caller, HEAD + b"alice\n"), 429)
    assert not BulkJob.objects.exists()


def test_of_the_same_request_twice_at_once_one_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    caller, earlier, looks = sender("10/d"), making.earlier, list[Once]()
    first = post(caller, "/api/bulk", BULK, **keyed())

    def earlier_but_for_the_first_look(key: Once) -> Answer | None:
        looks.append(key)
        return earlier(key) if len(looks) > 1 else None

    monkeypatch.setattr(making, "earlier", earlier_but_for_the_first_look)
    second = post(caller, "/api/bulk", BULK, **keyed())
    assert (second.content, len(looks)) == (first.content, 2)
    assert (left(first), left(second)) == (9, 9)
