"""What an operator does to letters in the admin, and who may."""

import json
import re
import uuid
from collections.abc import Callable

import msgspec
import pytest
from django.contrib.auth.models import User
from django.test import Client

from dlq import replay
from dlq.models import DeadLetter, Replay
from dlq.replay import Criteria
from dlq.tests.browsing import (
    LETTERS,
    MATCHING,
    REPLAYS,
    Status,
    a_moment_passes,
    act,
    dead,
    die_again,
    fields_of,
    hidden,
    listed,
    look_only,
    page,
    post,
    press_discard,
    press_replay,
    replayed,
    said,
    shown_until,
    signed_in,
)
from dlq.tests.letters import history, in_lane, record
from notifications import store
from notifications.stream.client import Shards

pytestmark = pytest.mark.django_db


def test_selected_letters_are_replayed_and_the_message_says_how_many(staff: Client, shards: Shards) -> None:
    ticked = [dead(name) for name in ("alice", "bob", "carol", "dave", "erin")]
    dead("not ticked")
    replay.begin(replay.order(Criteria(ids=[ticked[0].pk, ticked[1].pk]), "grace"))
    answer = act(staff, "replay_selected", *ticked)
    assert said(answer) == ["3 letters replayed, 2 were no longer dead."]
    assert replayed(shards) == ["alice", "bob", "carol", "dave", "erin"]
    assert Replay.objects.filter(ordered_by="ada").get().letters == 3
    assert said(act(staff, "replay_selected", *ticked)) == ["0 letters replayed, 5 were no longer dead."]


def test_a_letter_that_cannot_be_read_is_left_out_and_named(staff: Client, shards: Shards) -> None:
    answer = act(staff, "replay_selected", dead("alice"), record(b"no event"))
    assert said(answer) == ["1 letter replayed, 1 cannot be read: correct it with “edit and replay”."]
    assert replayed(shards) == ["alice"]


def test_a_double_click_replays_once_and_says_who_did(staff: Client, shards: Shards) -> None:
    one = dead()
    assert said(press_replay(staff, one, life=0)) == ["1 letter replayed."]
    (second,) = said(press_replay(staff, one, life=0))
    assert re.fullmatch(r"0 letters replayed, 1 was no longer dead \(replay ordered by ada at .+ UTC\)\.", second)
    assert replayed(shards) == ["alice"]
    assert history(one.pk) == ["DIED", "ORDERED", "REPLAYED"]


def test_what_died_again_meanwhile_is_not_replayed_unseen(staff: Client, shards: Shards) -> None:
    one, other = dead("alice"), dead("bob")
    until = shown_until(staff)
    press_replay(signed_in("grace"), one)
    die_again(one)
    assert said(press_replay(staff, one, life=0)) == ["0 letters replayed, 1 died again since you looked."]
    answer = act(staff, "replay_selected", one, other, until=until)
    assert said(answer) == ["1 letter replayed, 1 died again since you looked."]
    assert replayed(shards) == ["alice", "bob"], "by grace, and by ada"
    assert history(one.pk) == ["DIED", "ORDERED", "REPLAYED", "DIED"]
    assert said(act(staff, "replay_selected", one)) == ["1 letter replayed."], "the list shows it as it is now"


@look_only
def test_what_died_again_meanwhile_is_not_corrected_unseen(staff: Client) -> None:
    one = dead(title="Before")
    stale = fields_of(one, title="After")
    press_replay(signed_in("grace"), one)
    die_again(one, "the newest error")
    answer = post(staff, f"{LETTERS}{one.pk}/edit/", **stale)
    shown = answer.content.decode()
    assert "died again since you looked" in shown
    assert "the newest error" in shown
    assert answer.context["form"]["title"].value() == "After", "what was typed is not lost"
    assert history(one.pk) == ["DIED", "ORDERED", "REPLAYED", "DIED"]
    wrong = post(staff, f"{LETTERS}{one.pk}/edit/", **{**stale, "title": ""})
    assert hidden(wrong.content.decode(), "life") == "0", "it was not told this time"
    post(staff, f"{LETTERS}{one.pk}/edit/", **{**stale, "life": hidden(shown, "life")})
    assert history(one.pk)[4:] == ["EDITED", "ORDERED", "REPLAYED"]


@look_only
def test_what_died_again_meanwhile_is_not_discarded_unseen(staff: Client) -> None:
    one, other = dead("alice"), dead("bob")
    until = shown_until(staff)
    press_replay(signed_in("grace"), one)
    die_again(one)
    asked = act(staff, "discard_selected", one, other, until=until)
    assert "This letter is given up" in asked.content.decode()
    assert "Of the others you chose, 1 died again since you looked." in asked.content.decode()
    assert hidden(asked.content.decode(), "letter") == str(other.pk)
    assert said(press_discard(staff, one, other, until=until)) == ["1 letter discarded, 1 died again since you looked."]
    for confirmed, words in ((False, "There is nothing to discard: "), (True, "0 letters discarded, ")):
        (message,) = said(press_discard(staff, one, until=until, confirmed=confirmed))
        assert message == f"{words}1 died again since you looked."
    assert history(one.pk) == ["DIED", "ORDERED", "REPLAYED", "DIED"]


@look_only
def test_the_question_before_a_discard_counts_what_is_there(staff: Client) -> None:
    one, gone = dead("alice"), dead("bob")
    replay.discard(Criteria(ids=[gone.pk]), "grace")
    unknown = DeadLetter(pk=uuid.uuid4())
    shown = press_discard(staff, one, gone, unknown, confirmed=False).content.decode()
    assert "This letter is given up" in shown
    assert "2 were no longer dead" in shown


@look_only
def test_the_page_of_what_died_at_once_has_no_button_under_a_double_click(staff: Client) -> None:
    one = dead()
    assert press_replay(staff, one).context["may_be_replayed"] is False
    die_again(one)
    at_once = page(staff, f"{LETTERS}{one.pk}/change/")
    assert "It died again" in at_once
    assert 'http-equiv="refresh"' in at_once
    assert not re.search(r">Replay</button>|Edit and replay|Discard", at_once)
    a_moment_passes()
    later = page(staff, f"{LETTERS}{one.pk}/change/")
    assert ">Replay</button>" in later
    assert 'http-equiv="refresh"' not in later
    assert hidden(later, "life") == "1"


@look_only
def test_a_deed_needs_what_its_page_showed(staff: Client) -> None:
    one = dead()
    for path in (f"{one.pk}/replay/", f"{one.pk}/edit/"):
        for life in ({}, {"life": "x"}, {"life": "-1"}, {"life": "9" * 20}):
            assert staff.post(LETTERS + path, {**fields_of(one), "life": "", **life}).status_code == 400
    for until in ({}, {"until": "x"}, {"until": "2026-01-01T00:00:00"}):
        fields = {"action": "replay_selected", "index": 0, "_selected_action": one.pk}
        assert staff.post(LETTERS, {**fields, **until}).status_code == 400
    assert history(one.pk) == ["DIED"]


def test_without_redis_the_message_says_what_is_ordered(staff: Client, redis_is_away: Callable[[], None]) -> None:
    ticked, corrected = [dead(name) for name in ("alice", "bob", "carol")], dead()
    press_replay(staff, ticked[0])
    redis_is_away()
    assert said(act(staff, "replay_selected", *ticked)) == [
        "2 letters ordered: they are replayed as soon as Redis takes them; 1 was no longer dead."
    ]
    assert said(post(staff, f"{LETTERS}{corrected.pk}/edit/", **fields_of(corrected, title="T"))) == [
        "1 letter ordered, as you corrected it: it is replayed as soon as Redis takes it."
    ]


def test_of_two_operators_at_one_letter_one_replays_it(staff: Client, shards: Shards) -> None:
    one, other = dead("alice"), signed_in("grace")
    page(staff, LETTERS), page(other, LETTERS)
    act(staff, "replay_selected", one)
    assert "replay ordered by ada" in said(act(other, "replay_selected", one))[0]
    edited = post(other, f"{LETTERS}{one.pk}/edit/", **fields_of(one, title="Another title"))
    assert "no longer dead (replay ordered by ada" in edited.content.decode()
    assert "Another title" in edited.content.decode(), "what was typed is not lost"
    press_discard(other, one)
    assert [found.title for found in in_lane(shards, "live")] == ["A title"]
    assert history(one.pk) == ["DIED", "ORDERED", "REPLAYED"]


@look_only
def test_discarding_asks_first_and_keeps_the_record(staff: Client) -> None:
    ticked = [dead("alice"), dead("bob")]
    first = act(staff, "discard_selected", *ticked)
    assert "nobody can replay them afterwards" in first.content.decode()
    from_its_page = press_discard(staff, ticked[0], confirmed=False)
    assert "nobody can replay it afterwards" in from_its_page.content.decode()
    assert listed(staff) == {"alice", "bob"}
    answer = press_discard(staff, *ticked)
    assert said(answer) == ["2 letters discarded."]
    assert listed(staff, "?status=discarded") == {"alice", "bob"}
    again = press_discard(staff, ticked[0])
    assert "1 was no longer dead (discarded by ada at " in said(again)[0]
    for nonsense in ({}, {"letter": "x"}, {"letter": ticked[0].pk}, {"letter": ticked[0].pk, "until": "x"}):
        assert staff.post(f"{LETTERS}discard/", nonsense).status_code == 400


def test_an_edited_letter_is_replayed_as_it_was_corrected(staff: Client, shards: Shards) -> None:
    one = dead(body="a\nb", data=msgspec.Raw(b'{"fault":{"fail":-1},"big":12345678901234567890}'))
    shown = page(staff, f"{LETTERS}{one.pk}/edit/")
    assert "12345678901234567890" in shown
    fields = fields_of(one, title="Mended ü", body="a\r\nb", data='{"n": 1}', recipient="somebody else")
    answer = post(staff, f"{LETTERS}{one.pk}/edit/", **fields)
    assert said(answer) == ["1 letter replayed, as you corrected it."]
    (sent,) = in_lane(shards, "live")
    assert (sent.id, sent.recipient, sent.title, sent.body) == (str(one.pk), "alice", "Mended ü", "a\nb")
    assert bytes(sent.data) == b'{"n":1}'
    assert history(one.pk) == ["DIED", "EDITED", "ORDERED", "REPLAYED"]


@look_only
@pytest.mark.parametrize(
    ("field", "typed", "rule"),
    [
        ("type", "Not A Type", "/type must be 1 to 100 of a-z"),
        ("title", "", "/title must be 1 to 200 characters"),
        ("title", "x" * 201, "/title must be 1 to 200 characters"),
        ("body", "x" * 4097, "/body must be at most 4096 characters"),
        ("type", "t\x00", "/type must be 1 to 100 of a-z"),
        ("title", "a\x00", "/title must be 1 to 200 characters, without NUL"),
        ("body", "a\x00", "/body must be at most 4096 characters, without NUL"),
        ("data", '{"a": "\x00"}', "/data must be JSON"),
        ("data", '{"a": "\\u0000"}', "/data must not contain NUL"),
        ("data", "{", "/data must be JSON"),
        ("data", "[1]", "/data must be a JSON object"),
        ("data", '{} , "id": 1', "/data must be JSON"),
        ("data", json.dumps({"x": "y" * 20_000}), "/data must be at most 16384 bytes"),
    ],
)
def test_each_broken_rule_stands_at_its_field_and_nothing_is_lost(
    staff: Client, field: str, typed: str, rule: str
) -> None:
    one = dead()
    answer = staff.post(f"{LETTERS}{one.pk}/edit/", {**fields_of(one, body="kept"), field: typed})
    form = answer.context["form"]
    assert list(form.errors) == [field]
    assert form.errors[field][0].startswith(rule)
    assert (form[field].value(), form["body"].value()) == (typed, typed if field == "body" else "kept")
    one.refresh_from_db()
    assert one.status == Status.DEAD


@look_only
def test_all_broken_rules_are_told_at_once(staff: Client) -> None:
    one = dead()
    answer = staff.post(f"{LETTERS}{one.pk}/edit/", {"type": "", "title": "", "body": "", "data": "{", "life": 0})
    assert set(answer.context["form"].errors) == {"type", "title", "data"}


def test_what_was_no_event_becomes_one_by_hand(staff: Client, shards: Shards) -> None:
    one = record(b'{"title": "Half a')
    fields = {"recipient": "zoë", "type": "t", "title": "Whole", "body": "", "data": "", "life": "0"}
    post(staff, f"{LETTERS}{one.pk}/edit/", **fields)
    (sent,) = in_lane(shards, "live")
    store.store([sent])
    shown = page(staff, f"{LETTERS}{one.pk}/change/")
    assert f"/admin/notifications/notification/{sent.id}/change/" in shown
    assert "It is stored" in shown
    order = Replay.objects.get()
    assert staff.get(f"{REPLAYS}{order.pk}/change/").context["refresh"] is None


@look_only
def test_who_may_only_look_sees_no_button_and_is_refused_every_deed(onlooker: Client) -> None:
    one = dead()
    order = replay.order(Criteria(recipient="nobody"), "tests")
    Replay.objects.filter(pk=order.pk).update(letters=1)
    for shown in (page(onlooker, LETTERS), page(onlooker, f"{LETTERS}{one.pk}/change/")):
        assert "alice" in shown
        assert not re.search(r"Replay all|<button[^>]*>Replay|Edit and replay|Discard|replay_selected", shown)
    page(onlooker, REPLAYS)
    page(onlooker, f"{REPLAYS}{order.pk}/change/")
    for path in (f"{one.pk}/edit/", "replay/", f"canary/?letter={one.pk}&criteria={{}}"):
        assert onlooker.get(LETTERS + path).status_code == 403
    for path in (f"{one.pk}/edit/", f"{one.pk}/replay/", "replay/", "discard/", ""):
        fields = {"letter": one.pk, "confirmed": "x", "criteria": "{}", "all": "x", "action": "replay_selected"}
        assert onlooker.post(LETTERS + path, {**fields, "_selected_action": one.pk, "index": 0}).status_code == 403
    one.refresh_from_db()
    assert one.status == Status.DEAD


@look_only
def test_who_may_not_look_at_letters_is_refused_every_page() -> None:
    one, browser = dead(), Client()
    assert browser.get(f"{LETTERS}{one.pk}/edit/").status_code == 302, "to the sign-in"
    browser.force_login(User.objects.create_user("mallory", is_staff=True))
    for path in (LETTERS, f"{LETTERS}{one.pk}/change/", REPLAYS, MATCHING):
        assert browser.get(path).status_code == 403


@look_only
def test_every_deed_needs_a_token_against_forgery_and_no_get_does_any() -> None:
    one = dead()
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(User.objects.create_superuser("ada"))
    for path in (f"{one.pk}/edit/", f"{one.pk}/replay/", "replay/", "discard/", ""):
        assert careful.post(LETTERS + path, {"letter": one.pk, "confirmed": "x", "criteria": "{}"}).status_code == 403
    for path in (f"{one.pk}/replay/", "discard/"):
        assert careful.get(LETTERS + path).status_code == 405
    assert careful.post(f"{LETTERS}canary/", {}).status_code == 403
    one.refresh_from_db()
    assert one.status == Status.DEAD
