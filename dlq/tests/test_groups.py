"""Letters in groups of one cause: one query for the page and for the admin's list."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dlq import groups, replay
from dlq.groups import Group
from dlq.models import DeadLetter
from dlq.tests.letters import FAILED_MS, event, failed_at, record

pytestmark = pytest.mark.django_db

COLD = "oven 7 is cold"
HOT = "oven 8 is hot"


def group_of(letter: DeadLetter) -> Group:
    """The open group that a letter belongs to."""
    shown = groups.open_now(10).shown
    return next(group for group in shown if (group.reason, group.fingerprint) == (letter.reason, letter.fingerprint))


def test_a_group_tells_how_many_since_when_of_which_types_and_the_newest_error() -> None:
    record(event("alice", type="bread"), error="oven 7 is cold", failed_ms=FAILED_MS)
    record(event("bob", type="cake"), error="oven 8 is cold", failed_ms=FAILED_MS + 2000)
    newest = record(event("carol", type="bread"), error="oven 9 is cold", failed_ms=FAILED_MS + 5000)
    assert group_of(newest) == Group(
        reason="invalid",
        fingerprint=newest.fingerprint,
        letters=3,
        dead=3,
        replaying=0,
        unreadable=0,
        newest=failed_at(FAILED_MS + 5000),
        oldest=failed_at(FAILED_MS),
        types=["bread", "cake"],
        type_count=2,
        error="oven 9 is cold",
    )


def test_the_same_error_for_another_reason_is_another_group() -> None:
    one, other = record(event("alice"), error=COLD), record(event("bob"), error=COLD, reason="crash")
    assert group_of(one).letters == group_of(other).letters == 1


def test_what_is_on_its_way_back_counts_apart_and_what_is_settled_not_at_all() -> None:
    alice, bob, carol, dave = (record(event(name), error=COLD) for name in ("alice", "bob", "carol", "dave"))
    replay.order_one(alice.pk, "tests")
    replay.begin(replay.order_one(bob.pk, "tests"))
    replay.discard_one(carol.pk, "tests")
    group = group_of(dave)
    assert (group.letters, group.dead, group.replaying) == (2, 1, 1)
    found = groups.open_now(10)
    assert (found.dead, found.replaying, found.newest) == (1, 1, failed_at())


def test_groups_that_wait_for_somebody_are_first() -> None:
    for name in ("alice", "bob"):
        replay.order_one(record(event(name), error=HOT, failed_ms=FAILED_MS + 9000).pk, "tests")
    record(event("carol"), error=COLD)
    assert [group.error for group in groups.open_now(10).shown] == [COLD, HOT]


def test_letters_that_cannot_be_read_are_counted_and_have_no_type() -> None:
    letter = record(b"nonsense", error=COLD)
    group = group_of(letter)
    assert (group.dead, group.unreadable, group.types, group.type_count) == (1, 1, [], 0)


def test_more_groups_than_are_shown_still_count() -> None:
    for reason in ("invalid", "crash", "retries_exhausted"):
        record(event(), reason=reason, error=COLD)
    found = groups.open_now(2)
    assert (len(found.shown), found.more, found.dead) == (2, True, 3)
    assert not groups.open_now(3).more


def test_of_many_types_the_most_frequent_are_named() -> None:
    for n in range(7):
        for _ in range(1 + (n == 6)):
            letter = record(event(f"r-{n}", type=f"type-{n}"), error=COLD)
    group = group_of(letter)
    assert (group.types, group.type_count) == (["type-6", "type-0", "type-1", "type-2", "type-3"], 7)


def test_without_any_letter_there_is_no_group() -> None:
    assert groups.open_now(10) == groups.Groups([], more=False)
    assert groups.of(DeadLetter.objects.none(), "most", 10) == groups.Groups([], more=False)


def test_groups_take_two_queries_however_many_there_are() -> None:
    for reason in ("invalid", "crash", "retries_exhausted"):
        for n in range(3):
            record(event(f"r-{n}"), reason=reason, failed_ms=FAILED_MS + n)
    with CaptureQueriesContext(connection) as queries:
        groups.open_now(10)
    assert len(queries) == 2


def test_only_the_letters_that_are_asked_for_are_grouped() -> None:
    record(event("alice"), error=COLD)
    record(event("bob", type="other"), error=COLD)
    since = DeadLetter.objects.filter(type="other", last_failed_at__gte=failed_at() - timedelta(hours=1))
    (group,) = groups.of(since, "newest", 10).shown
    assert (group.letters, group.types) == (1, ["other"])
