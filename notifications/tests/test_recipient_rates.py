"""Recipients' own rate: what one may be sent, by whomever."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from notifications import wiring
from notifications.stream import keys as names
from notifications.stream.client import Shards
from notifications.stream.writer import Writer
from notifications.tests.test_api import problem
from notifications.tests.test_rates import BULK, EVENT, batch, keyed, left, notify, post, sender, waiting

pytestmark = pytest.mark.django_db


@pytest.fixture
def limit_recipients(settings: Any) -> Callable[[str], None]:
    """Set NOTIFY_RECIPIENT_RATE."""

    def limit(rate: str) -> None:
        settings.NOTIFY = msgspec.structs.replace(settings.NOTIFY, recipient_rate=rate)

    return limit


def test_over_a_recipients_rate_it_is_told_whose_it_is(shards: Shards, limit_recipients: Callable[[str], None]) -> None:
    limit_recipients("2/m")
    first, second = sender("10/d"), sender("10/d")
    assert [notify(first).status_code, notify(second).status_code] == [202, 202]
    answer = notify(first)
    assert problem(answer, 429)["detail"] == (
        "The recipient was sent what its rate of 2/m allows. Try again in 30 s. Nothing was accepted."
    )
    assert answer.headers["Retry-After"] == "30"
    assert answer.headers["RateLimit-Policy"] == '"key";q=10;w=86400, "recipient";q=2;w=60'
    assert (left(answer, "recipient"), left(answer)) == (0, 9), "the key has back what it took"
    assert answer.headers["RateLimit"].endswith('"recipient";r=0;t=30')
    assert notify(first, "bob").status_code == 202
    assert waiting(shards) == 3


def test_of_a_batch_only_what_its_recipients_have_no_room_for_is_rejected(
    shards: Shards, two_shards_apart: tuple[str, str], limit_recipients: Callable[[str], None]
) -> None:
    limit_recipients("2/m")
    caller, (first, second) = sender("10/d"), two_shards_apart
    assert notify(caller, first).status_code == 202
    answer = batch(caller, second, first, first, "a b", second, second)
    told = answer.json()
    assert (told["accepted"], told["rejected"]) == (3, 3)
    assert [result["status"] for result in told["results"]] == [
        *("queued", "queued", "rejected", "rejected", "queued", "rejected"),
    ]
    (error,) = told["results"][2]["errors"]
    assert error["pointer"] == "/notifications/2/recipient"
    assert error["detail"] == "was sent what its rate of 2/m allows; there is room for one in 30 s"
    assert told["results"][5]["errors"][0]["pointer"] == "/notifications/5/recipient"
    assert left(answer) == 6, "a key pays for what was accepted"
    assert waiting(shards) == 4


def test_a_replay_is_no_matter_for_the_recipient_either(
    shards: Shards, two_shards_apart: tuple[str, str], limit_recipients: Callable[[str], None]
) -> None:
    limit_recipients("2/d")
    caller = sender("20/d")
    first = batch(caller, *two_shards_apart, **keyed())
    for _ in range(3):
        again = batch(caller, *two_shards_apart, **keyed())
        assert (again.content, left(again)) == (first.content, 18)
    # Had a replay taken any, there were no room now.
    assert batch(caller, *two_shards_apart).json()["accepted"] == 2
    assert batch(caller, *two_shards_apart, **keyed()).content == first.content
    one = notify(caller, "carol", **keyed("one"))
    assert notify(caller, "carol").status_code == 202
    problem(notify(caller, "carol"), 429)
    assert notify(caller, "carol", **keyed("one")).content == one.content
    assert waiting(shards) == 6


def test_a_batch_that_was_begun_is_gone_on_with_as_it_was_promised(
    shards: Shards,
    two_shards_apart: tuple[str, str],
    limit_recipients: Callable[[str], None],
    make_writer: Callable[..., Writer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the event that was rejected then, and with the others, whatever their recipients' rates say by now."""
    limit_recipients("1/d")
    first, second = two_shards_apart
    caller, full = sender("10/d"), make_writer(max_backlog=0)
    monkeypatch.setattr(wiring, "writer", lambda: full)
    problem(batch(caller, first, first, second, **keyed()), 503)
    monkeypatch.undo()
    told = batch(caller, first, first, second, **keyed()).json()
    assert [result["status"] for result in told["results"]] == ["queued", "rejected", "queued"]
    assert waiting(shards) == 2
    assert left(notify(caller, "carol")) == 7


def test_a_key_that_may_send_no_more_uses_up_nobodys_rate(
    shards: Shards, limit_recipients: Callable[[str], None]
) -> None:
    limit_recipients("5/d")
    caller = sender("1/d")
    assert notify(caller, "bob").status_code == 202
    problem(notify(caller), 429)
    assert not shards.client.exists(names.recipient_rate(shards.of("alice"), "alice", "5/d"))


def test_what_a_full_backlog_refuses_costs_no_recipient_anything(
    make_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch, limit_recipients: Callable[[str], None]
) -> None:
    limit_recipients("1/d")
    caller, full = sender("10/d"), make_writer(max_backlog=0)
    monkeypatch.setattr(wiring, "writer", lambda: full)
    for refused in (notify(caller), batch(caller, "alice", "bob", "carol")):
        problem(refused, 503)
    monkeypatch.undo()
    assert batch(caller, "alice", "bob", "carol").json()["accepted"] == 3


@pytest.mark.one_shard_is_enough
def test_schedules_and_bulk_jobs_are_not_counted_for_a_recipient(limit_recipients: Callable[[str], None]) -> None:
    limit_recipients("1/d")
    caller = sender("10/d")
    for _ in range(2):
        assert post(caller, "/api/schedule", EVENT | {"delay": 60}).status_code == 201
        assert post(caller, "/api/bulk", BULK).status_code == 202
    assert notify(caller).status_code == 202
