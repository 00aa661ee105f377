"""`manage.py dlq_replay`. `dlq_worker` is run as a process, in tests/test_dead_letters.py."""

import getpass
import io
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError

from dlq import replay
from dlq.models import DeadLetter, Replay
from dlq.tests.letters import event, in_lane, record, record_all
from notifications import intake
from notifications.stream.client import Shards

pytestmark = pytest.mark.django_db


def dlq_replay(*arguments: str) -> str:
    output = io.StringIO()
    call_command("dlq_replay", *arguments, stdout=output)
    return output.getvalue().strip()


def replayed() -> set[str]:
    return set(DeadLetter.objects.filter(status=DeadLetter.Status.REPLAYED).values_list("recipient", flat=True))


def ms_ago(**ago: float) -> int:
    return int((timezone.now() - timedelta(**ago)).timestamp() * 1000)


def test_all_letters_are_replayed_to_the_last_and_it_is_recorded_by_whom(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay.carry_out, "__defaults__", (5,))
    record_all([event(f"user-{n}") for n in range(12)])
    assert dlq_replay("--all", "--dry-run") == "12 dead letters would be replayed."
    assert not Replay.objects.exists()
    assert dlq_replay("--all") == "12 dead letters replayed."
    assert len(replayed()) == len(in_lane(shards, "bulk")) == 12
    assert Replay.objects.get().ordered_by == f"command line: {getpass.getuser()}"
    assert dlq_replay("--all") == "0 dead letters replayed."


def test_options_combine() -> None:
    record(event("old"), failed_ms=ms_ago(days=3))
    record(event("new"), failed_ms=ms_ago(hours=1))
    record(event("crashed", type="other"), reason="crash", failed_ms=ms_ago(hours=1))
    for options, expected in [
        (["--since", "2h"], 2),
        (["--since", "90m", "--reason", "crash"], 1),
        (["--since", "7d"], 3),
        (["--since", "2h", "--type", "test.event"], 1),
        (["--since", (timezone.now() - timedelta(days=4)).isoformat()], 3),
        (["--since", "10s"], 0),
    ]:
        assert dlq_replay(*options, "--dry-run").startswith(f"{expected} dead letter")
    assert dlq_replay("--since", "2h", "--type", "test.event") == "1 dead letter replayed."
    assert replayed() == {"new"}


def test_letters_are_named_by_id() -> None:
    ids = [str(record(event(who)).pk) for who in ("alice", "bob", "carol")]
    assert dlq_replay("--id", ids[0], "--id", ids[1]) == "2 dead letters replayed."
    assert replayed() == {"alice", "bob"}


def test_each_letter_that_was_named_and_not_replayed_says_why() -> None:
    good, discarded, ordered, done, other = (str(record(event(who)).pk) for who in "abcde")
    unreadable, unknown = str(record(b"nonsense").pk), str(uuid.uuid4())
    DeadLetter.objects.filter(pk=other).update(reason="crash")
    replay.discard_one(uuid.UUID(discarded), "tests")
    replay.begin(replay.order_one(uuid.UUID(done), "tests"))
    replay.order_one(uuid.UUID(ordered), "tests")
    named = ["--reason", "invalid", "--id", good, discarded, ordered, done, other, unreadable, unknown]
    why = {
        f"{discarded}: it was discarded.",
        f"{ordered}: it is being replayed already.",
        f"{done}: it was replayed already.",
        f"{other}: the other options do not fit it.",
        f"{unreadable}: its payload cannot be read, so it has to be corrected first (in the admin, or by the API).",
        f"{unknown}: there is no such letter.",
    }
    dry = dlq_replay(*named, "--dry-run").splitlines()
    assert (dry[0], set(dry[1:])) == ("1 dead letter would be replayed.", why)
    lines = dlq_replay(*named).splitlines()
    assert (lines[0], set(lines[1:])) == ("1 dead letter replayed.", why)


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_when_none_of_the_named_letters_is_replayed_the_exit_code_says_so(more: list[str]) -> None:
    record(event())
    output = io.StringIO()
    with pytest.raises(CommandError, match="None of these letters can be replayed") as raised:
        call_command("dlq_replay", "--id", str(uuid.uuid4()), *more, stdout=output)
    assert raised.value.returncode == 1
    assert "there is no such letter" in output.getvalue()
    assert not replayed()


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "Say which"),
        (["--dry-run"], "Say which"),
        (["--all", "--reason", "crash"], "not both"),
        (["--id", "x"], "--id must be"),
        (["--reason", "No!"], "--reason must be"),
        (["--type", "No!"], "--type must be"),
        (["--since", "yesterday"], "--since must be"),
        (["--since", "2027-01-15T08:00:00"], "with its zone"),
        (["--since", "5w"], "--since must be"),
        (["--since", "999999d"], "--since must be"),
        (["--since", "0001-01-01T00:00:00+14:00"], "--since must be"),
        (["--reason", "nonsense"], "--reason must be"),
    ],
)
def test_bad_input_is_one_line_that_says_what_is_wrong(arguments: list[str], line: str) -> None:
    record(event())
    with pytest.raises(CommandError, match=line) as raised:
        dlq_replay(*arguments)
    assert "\n" not in str(raised.value)
    assert raised.value.returncode == 1
    assert not replayed()


def test_without_redis_the_letters_are_left_to_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(intake, "readmit", fail)
    record_all([event("alice"), event("bob")])
    assert dlq_replay("--all").splitlines() == [
        "0 dead letters replayed.",
        "2 dead letters ordered: the DLQ worker replays them when Redis takes them.",
    ]
    assert set(DeadLetter.objects.values_list("status", flat=True)) == {DeadLetter.Status.REPLAYING}


def test_without_postgresql_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(replay, "order", fail)
    with pytest.raises(CommandError, match="PostgreSQL does not answer"):
        dlq_replay("--all")
