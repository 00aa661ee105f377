"""Replaying all that match, in the admin: the question, the canary, the orders."""

from collections.abc import Callable

import msgspec
import pytest
from django.test import Client

from dlq import replay
from dlq.models import DeadLetter, Passage, Replay
from dlq.outcomes import Outcome
from dlq.replay import Criteria
from dlq.tests.browsing import (
    LETTERS,
    MATCHING,
    REPLAYS,
    Status,
    dead,
    die_again,
    look_only,
    now_ms,
    page,
    post,
    press_replay,
    question,
    replayed,
    said,
    signed_in,
)
from dlq.tests.letters import event, in_lane, record, record_all
from notifications import store
from notifications.events import Event
from notifications.stream.client import Shards

pytestmark = pytest.mark.django_db


@look_only
def test_the_question_counts_and_samples_and_changes_nothing(staff: Client) -> None:
    for number in range(7):
        dead(f"user-{number}", reason="crash", ago=100 + number)
    dead("other")
    record(b"no event", reason="crash", failed_ms=now_ms(500))
    shown = page(staff, f"{MATCHING}?reason=crash&since=day")
    assert "7 letters" in shown
    assert "1 more cannot be read" in shown
    assert "reason crash" in shown
    assert "died between" in shown
    assert "user-4" in shown
    assert "user-5" not in shown, "a sample"
    assert not Replay.objects.exists()
    assert "every dead letter" in page(staff, MATCHING)


def test_exactly_what_was_shown_is_replayed(staff: Client, shards: Shards) -> None:
    shown = dead("shown", reason="crash")
    dead("of another cause")
    form = question(staff, "?reason=crash")
    dead("died since", reason="crash", ago=0)
    answer = post(staff, MATCHING, criteria=form["criteria"], all="Replay all 1")
    assert said(answer) == ["1 letter replayed. This page follows them."]
    assert replayed(shards) == ["shown"]
    order = Replay.objects.get()
    assert answer.redirect_chain == [(f"{REPLAYS}{order.pk}/change/", 302)]
    assert (order.ordered_by, order.criteria["reason"]) == ("ada", "crash")
    again = post(staff, MATCHING, criteria=form["criteria"], all="Replay all 1")
    assert "Somebody was faster" in said(again)[0]
    shown.refresh_from_db()
    die_again(shown)
    post(staff, MATCHING, criteria=form["criteria"], all="Replay all 1")
    assert replayed(shards) == ["shown"], "one that died again is another death than the one that was shown"


def test_of_many_the_first_are_replayed_at_once_and_the_message_says_so(staff: Client) -> None:
    record_all((event(f"user-{number}") for number in range(replay.CHUNK + 1)), failed_ms=now_ms(60))
    answer = post(staff, MATCHING, criteria=question(staff)["criteria"], all="Replay all 501")
    assert said(answer) == [
        "501 letters ordered: 500 are replayed, the DLQ worker does the rest. This page follows them."
    ]


def test_two_operators_who_answer_the_same_question_replay_each_letter_once(staff: Client, shards: Shards) -> None:
    for number in range(3):
        dead(f"user-{number}")
    other = signed_in("grace")
    mine, theirs = question(staff), question(other, "?reason=invalid")
    post(other, MATCHING, criteria=theirs["criteria"], all="Replay all 3")
    post(staff, MATCHING, criteria=mine["criteria"], all="Replay all 3")
    assert replayed(shards) == ["user-0", "user-1", "user-2"]
    assert Passage.objects.filter(kind=Passage.Kind.ORDERED).count() == 3


def test_a_search_is_a_criterion_where_it_can_be_one(staff: Client, shards: Shards) -> None:
    dead("alice", error="the oven is cold")
    dead("alice", type="other", error="the oven is hot")
    dead("bob")
    form = question(staff, "?q=alice&type=other")
    assert "to alice" in page(staff, f"{MATCHING}?q=alice")
    post(staff, MATCHING, criteria=form["criteria"], all="Replay all 1")
    assert [found.type for found in in_lane(shards, "live")] == ["other"]
    refused = staff.get(f"{MATCHING}?q=oven", follow=True)
    assert refused.redirect_chain == [(f"{LETTERS}?q=oven", 302)]
    assert "no criterion of a replay" in said(refused)[0]
    assert "no criterion of a replay" in page(staff, f"{LETTERS}?q=oven")


@look_only
@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("?status=replayed", "Only dead letters can be replayed"),
        ("?type=nothing", "no dead letter that matches"),
        ("?type=%00", "no dead letter that matches"),
        ("?q=other&type=test.event", "No letter has two of them"),
    ],
)
def test_what_cannot_be_replayed_as_a_whole_is_refused_with_a_reason(staff: Client, query: str, reason: str) -> None:
    dead()
    dead(type="other")
    assert reason in said(staff.get(MATCHING + query, follow=True))[0]


@look_only
def test_the_question_refuses_what_the_list_refuses(staff: Client) -> None:
    dead()
    for query in ("recipient=alice", "reasn=crash", "last_failed_at__gte=2026-01-01"):
        assert staff.get(f"{LETTERS}?{query}").status_code == 400
        assert staff.get(f"{MATCHING}?{query}").status_code == 400, query
    listed = "reason=invalid&q=alice&causes=newest&o=1&p=1"
    assert staff.get(f"{MATCHING}?{listed}").status_code == staff.get(f"{LETTERS}?{listed}").status_code == 200


@look_only
@pytest.mark.parametrize("criteria", ["", "x", "[]", '{"since": "x"}', '{"type": "\\u0000"}'])
def test_criteria_that_none_of_our_pages_sent_are_refused(staff: Client, criteria: str) -> None:
    one = dead()
    assert staff.post(MATCHING, {"criteria": criteria, "all": "x"}).status_code == 400
    assert staff.get(f"{LETTERS}canary/", {"letter": str(one.pk), "criteria": criteria}).status_code == 400
    assert staff.post(MATCHING, {"criteria": "{}", "canary": "x"}).status_code == 400


def test_a_canary_goes_alone_and_a_second_click_sends_no_other(staff: Client, shards: Shards) -> None:
    for number in range(3):
        dead(f"user-{number}", ago=100 - number)
    form = question(staff)
    first = post(staff, MATCHING, **form)
    second = post(staff, MATCHING, **form)
    assert first.redirect_chain == second.redirect_chain
    assert replayed(shards) == ["user-2"]
    assert "It is on its way" in second.content.decode()
    assert 'http-equiv="refresh"' in second.content.decode()
    assert "Replay the rest (2)" in second.content.decode()
    dead("died since", ago=0)
    post(staff, MATCHING, criteria=second.context["criteria"], all="Replay the rest (2)")
    assert replayed(shards) == ["user-0", "user-1", "user-2"]


def test_the_canary_s_page_tells_what_became_of_it(
    staff: Client, shards: Shards, redis_is_away: Callable[[], None]
) -> None:
    one = dead("alice", ago=5)
    dead("bob")
    answer = post(staff, MATCHING, **question(staff))
    address = answer.redirect_chain[-1][0]
    die_again(one, "still too cold")
    again = page(staff, address)
    assert "It died again" in again
    assert "still too cold" in again
    assert "most likely fail in the same way" in again
    assert 'http-equiv="refresh"' not in again
    press_replay(staff, one)
    store.store([msgspec.structs.replace(msgspec.json.decode(bytes(one.payload), type=Event), life=2)])
    stored = page(staff, address)
    assert "It is stored" in stored
    assert "Replay the rest (1)" in stored
    redis_is_away()
    assert "Redis does not answer" in page(staff, address)


def test_without_redis_a_replay_is_ordered_and_waits(
    staff: Client, shards: Shards, redis_is_away: Callable[[], None]
) -> None:
    one = dead()
    redis_is_away()
    assert said(press_replay(staff, one)) == ["1 letter ordered: it is replayed as soon as Redis takes it."]
    one.refresh_from_db()
    assert one.status == Status.REPLAYING


@look_only
def test_an_order_s_page_says_what_became_of_its_letters(staff: Client) -> None:
    names = ("waits", "travels", "stored", "died", "given up")
    letters = {name: dead(name.replace(" ", "-")) for name in names}
    order = replay.order(Criteria(reason="invalid"), "grace")
    replay.begin(order)
    DeadLetter.objects.filter(pk=letters["waits"].pk).update(status=Status.REPLAYING)
    store.store([msgspec.json.decode(bytes(letters["stored"].payload), type=Event)])
    for name in ("died", "given up"):
        die_again(letters[name], "died again")
    replay.discard(Criteria(ids=[letters["given up"].pk]), "tests")
    answer = staff.get(f"{REPLAYS}{order.pk}/change/")
    stages = {stage["kind"]: stage["count"] for stage in answer.context["stages"]}
    assert stages == {"stored": 1, "waiting": 1, "travelling": 1, "dead": 2, "discarded": 1}
    assert answer.context["refresh"]
    assert "died again" in answer.content.decode()
    replay.order(Criteria(ids=[letters["died"].pk]), "ada")
    assert [stage["count"] for stage in staff.get(f"{REPLAYS}{order.pk}/change/").context["stages"]][-1] == 1
    rows = {row.ordered_by: row for row in staff.get(REPLAYS).context["cl"].result_list}
    assert (rows["grace"].outcome, rows["ada"].outcome) == (Outcome(1, 2, 2), Outcome(0, 0, 1))
    shown = page(staff, REPLAYS)
    assert "reason invalid" in shown
    assert f"the letter {letters['died'].pk}" in shown


@look_only
def test_what_became_of_an_order_stays_when_its_letters_are_replayed_again(staff: Client) -> None:
    one = dead()
    first, second = [_lived_through(one, error) for error in ("of the first", "of the second")]
    for order, error in ((first, "of the first"), (second, "of the second")):
        answer = staff.get(f"{REPLAYS}{order.pk}/change/")
        found = {stage["kind"]: stage["count"] for stage in answer.context["stages"]}
        assert (found["stored"], found["dead"]) == (0, 1)
        assert [row["error"] for row in answer.context["dead"]] == [error]
        assert answer.context["refresh"] is None
    rows = staff.get(REPLAYS).context["cl"].result_list
    assert [row.outcome.dead for row in rows] == [1, 1]


def _lived_through(one: DeadLetter, error: str) -> Replay:
    order = replay.order(Criteria(ids=[one.pk]), "tests")
    replay.begin(order)
    one.refresh_from_db()
    die_again(one, error)
    one.refresh_from_db()
    return order


@look_only
def test_orders_that_got_nothing_or_cannot_be_read_do_no_harm(staff: Client) -> None:
    replay.order(Criteria(type="nothing"), "too-late")
    Replay.objects.create(
        ordered_by="a later release", ordered_at="2026-01-01T00:00:00Z", criteria={"since": 7}, letters=1
    )
    dead()
    replay.order(Criteria(), "limited", 7)
    for odd in ({"since": "0001-01-01T00:00:00+14:00"}, {"until": "9999-12-31T23:59:59-14:00"}, ["x"]):
        Replay.objects.create(ordered_by="odd", ordered_at="2026-01-01T00:00:00Z", criteria=odd, letters=1)
    shown = page(staff, REPLAYS)
    assert "too-late" not in shown
    assert "a later release" in shown
    assert "died at 0001-01-01 00:00:00+14:00 or later" in shown
    assert "at most 7, the oldest first" in shown
    for order in Replay.objects.filter(letters=1):
        page(staff, f"{REPLAYS}{order.pk}/change/")
