"""Dead letters in Django's admin: what is dead and why, and what an operator does about it."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dlq import deaths, records, replay
from dlq.admin import asked
from dlq.models import DeadLetter, Passage, Replay
from dlq.replay import Criteria
from dlq.tests.letters import event, history, in_lane, letter, record
from notifications import store, wiring
from notifications.admin import inboxes
from notifications.events import Event
from notifications.stream.client import Shards, connect
from notifications.stream.clock import ServerClock
from notifications.stream.writer import Writer

pytestmark = pytest.mark.django_db

LETTERS = "/admin/dlq/deadletter/"
REPLAYS = "/admin/dlq/replay/"
MATCHING = f"{LETTERS}replay/"

Status = DeadLetter.Status

look_only = pytest.mark.one_shard_is_enough


@pytest.fixture
def staff() -> Client:
    """A superuser's browser."""
    return signed_in("ada")


@pytest.fixture
def onlooker() -> Client:
    """The browser of somebody who may look at letters, and no more."""
    user = User.objects.create_user("eve", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_deadletter"))
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.fixture
def redis_is_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on nobody answers at Redis' address."""
    nowhere = Shards(connect("unix:///nowhere/valkey.sock", timeout_seconds=1), 1)
    writer = Writer(nowhere, max_backlog=10**6, clock=ServerClock(nowhere.client), patience_ms=1000)

    def leave() -> None:
        monkeypatch.setattr(wiring, "shards", lambda: nowhere)
        monkeypatch.setattr(wiring, "writer", lambda *_: writer)

    return leave


def signed_in(name: str) -> Client:
    browser = Client()
    browser.force_login(User.objects.create_superuser(name))
    return browser


def now_ms(ago_seconds: float = 0) -> int:
    return int((time.time() - ago_seconds) * 1000)


def dead(
    recipient: str = "alice", *, ago: float = 60, reason: str = "invalid", error: str = "", **fields: Any
) -> DeadLetter:
    """A dead letter of so many seconds ago."""
    return record(event(recipient, **fields), failed_ms=now_ms(ago), reason=reason, error=error or "it is broken")


def die_again(one: DeadLetter, error: str = "still broken") -> None:
    """What the pipeline does with a replayed letter that fails again."""
    relived = msgspec.structs.replace(msgspec.json.decode(bytes(one.payload), type=Event), life=one.life + 1)
    records.record([deaths.death_of(letter(relived, failed_ms=now_ms(), error=error))])


def replayed(shards: Shards) -> list[str]:
    """Whose events wait in the lanes."""
    return sorted(found.recipient for lane in ("live", "bulk") for found in in_lane(shards, lane))


def page(browser: Client, address: str, status: int = 200) -> str:
    answer = browser.get(address)
    assert answer.status_code == status, address
    return answer.content.decode()


def post(browser: Client, address: str, **fields: Any) -> Any:
    """A POST, and the page to which it leads."""
    return browser.post(address, fields, follow=True)


def said(answer: Any) -> list[str]:
    """The messages of an answer."""
    return [str(message) for message in answer.context["messages"]]


def listed(browser: Client, query: str = "") -> set[str]:
    """The recipients in the list."""
    return {row.recipient for row in browser.get(LETTERS + query).context["cl"].result_list}


def act(browser: Client, action: str, *letters: DeadLetter, query: str = "") -> Any:
    """Tick letters in the list and run an action."""
    ticked = [one.pk for one in letters]
    return browser.post(LETTERS + query, {"action": action, "index": 0, "_selected_action": ticked}, follow=True)


def question(browser: Client, query: str = "") -> dict[str, str]:
    """What the page that asks before a replay of all that match carries in its form."""
    answer = browser.get(MATCHING + query)
    assert answer.status_code == 200
    return {"criteria": answer.context["criteria"], "canary": str(answer.context["canary"].pk)}


@look_only
def test_the_list_shows_what_is_dead_and_the_rest_when_asked(staff: Client) -> None:
    for name in ("alice", "bob", "carol"):
        dead(name)
    replay.order(Criteria(recipient="bob"), "tests")
    replay.discard(Criteria(recipient="carol"), "tests")
    assert listed(staff) == listed(staff, "?status=dead") == {"alice"}
    assert listed(staff, "?status=replaying") == {"bob"}
    assert listed(staff, "?status=discarded") == {"carol"}
    assert listed(staff, "?status=all") == {"alice", "bob", "carol"}
    assert listed(staff, "?status=nonsense") == set()
    assert 'href="?status=all"' in page(staff, LETTERS)


@look_only
def test_the_list_is_filtered_by_reason_type_fingerprint_and_time(staff: Client) -> None:
    dead("alice", reason="crash", ago=7200)
    cold = dead("bob", type="other", error="too cold")
    dead("carol", ago=200_000)
    assert listed(staff, "?reason=crash") == {"alice"}
    assert listed(staff, "?type=other") == listed(staff, f"?fingerprint={cold.fingerprint}") == {"bob"}
    assert listed(staff, "?since=hour") == {"bob"}
    assert listed(staff, "?since=day") == {"alice", "bob"}
    assert listed(staff, "?since=week&reason=&type=") == {"alice", "bob", "carol"}
    assert listed(staff, "?reason=crash&type=other") == listed(staff, "?type=%00") == set()
    for query in ("?recipient=alice", "?error__contains=x", "?payload=x"):
        assert staff.get(LETTERS + query).status_code == 400, "no look-ups by hand"


@look_only
def test_causes_are_counted_with_their_newest_error_and_lead_to_their_letters(staff: Client) -> None:
    for number in range(3):
        dead(
            f"slow-{number}", reason="retries_exhausted", error=f"no answer in {number} ms\nTraceback", ago=900 - number
        )
    dead("odd", error="/title is missing", ago=5)
    replay.discard(Criteria(recipient="slow-0"), "tests")

    def causes(query: str = "") -> list[tuple[str, int, str]]:
        found = staff.get(LETTERS + query).context["causes"].shown
        return [(cause.reason, cause.letters, cause.error) for cause in found]

    slow, odd = ("retries_exhausted", 2, "no answer in 2 ms"), ("invalid", 1, "/title is missing")
    assert causes() == causes("?causes=nonsense") == [slow, odd]
    assert causes("?causes=newest") == [odd, slow]
    assert causes("?since=hour&reason=invalid") == [slow, odd], "the other causes stay in sight"
    assert causes("?type=nothing") == []
    first = staff.get(LETTERS).context["cause_rows"][0]
    assert listed(staff, first["link"]) == {"slow-1", "slow-2"}
    assert listed(staff, staff.get(LETTERS + first["link"]).context["cause_rows"][0]["link"]) == {
        "odd",
        "slow-1",
        "slow-2",
    }


@look_only
def test_the_list_takes_as_many_queries_for_one_letter_as_for_many(
    staff: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def queries() -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            assert staff.get(LETTERS).status_code == 200
        return [query["sql"] for query in captured.captured_queries]

    dead("first")
    of_one = queries()
    for number in range(20):
        dead(f"user-{number}", error=f"error {'x' * number}")
    of_many = queries()
    assert len(of_one) == len(of_many) <= 9
    assert not any('"payload"' in query for query in of_many)
    (bounded,) = (query for query in of_many if "SELECT COUNT(*)" in query)
    assert f"LIMIT {inboxes.MOST_LISTED}" in bounded

    monkeypatch.setattr(inboxes, "MOST_LISTED", 5)
    assert "more than 5 letters" in page(staff, LETTERS)


@look_only
def test_a_search_finds_recipients_ids_types_fingerprints_and_words_in_the_error(
    staff: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = dead("alice", error="the oven is cold")
    dead("bob", type="alice.type", error="alice asked")
    assert listed(staff, "?q=alice") == listed(staff, f"?q={alice.pk}") == {"alice"}
    assert listed(staff, f"?q={alice.fingerprint}") == listed(staff, "?q=Oven+is") == {"alice"}
    assert listed(staff, "?q=alice.type") == listed(staff, "?q=asked") == {"bob"}
    assert listed(staff, "?q=nobody") == set()
    assert listed(staff, "?q=%20") == {"alice", "bob"}
    assert "whose recipient is" in page(staff, f"{LETTERS}?q=alice")
    monkeypatch.setattr(asked, "MOST_READ", 1)
    dead("newer", error="hot", ago=1)
    assert listed(staff, "?q=hot") == {"newer"}
    assert listed(staff, "?q=oven") == set(), "only so many errors are read"
    page(staff, f"{LETTERS}?q=%00")


@look_only
def test_a_letter_is_shown_whole_and_as_text(staff: Client) -> None:
    one = dead("bob/1", title="<b>bold</b>", data=msgspec.Raw(b'{"n":[1]}'), error="first\n<script>second</script>")
    dead("alike", error="first\n<script>second</script>")
    shown = page(staff, f"{LETTERS}{one.pk}/change/")
    assert "&lt;b&gt;bold&lt;/b&gt;" in shown
    assert "first\n&lt;script&gt;second&lt;/script&gt;" in shown
    assert "&quot;n&quot;: [\n" in shown
    assert f"?reason=invalid&amp;fingerprint={one.fingerprint}" in shown
    assert "2 dead now" in shown
    assert "none: its recipient has not got it" in shown
    assert "Save" not in shown
    assert staff.get(f"{LETTERS}{event().id}/change/").status_code == 302, "no such letter"


@look_only
@pytest.mark.parametrize(
    "payload", [b"\xff\x00 no JSON", b"[1]", b'{"title":"\\ud800","data":"x"}', b"[" * 5000 + b"]" * 5000]
)
def test_what_cannot_be_read_is_shown_all_the_same(staff: Client, payload: bytes) -> None:
    one = record(payload)
    shown = page(staff, f"{LETTERS}{one.pk}/change/")
    assert "with a corrected event" in shown
    assert ">Replay</button>" not in shown
    page(staff, f"{LETTERS}{one.pk}/edit/")
    page(staff, LETTERS)


@look_only
def test_the_history_says_what_happened_and_who_did_it(staff: Client) -> None:
    one = dead(title="Before")
    post(staff, f"{LETTERS}{one.pk}/edit/", **fields_of(one, title="After"))
    die_again(one, "still <broken>")
    post(staff, LETTERS + "discard/", letter=one.pk, confirmed="Discard")
    lines = staff.get(f"{LETTERS}{one.pk}/change/").context["history"]
    happened = [(line["what"], line["passage"].by) for line in lines]
    assert happened == [
        ("died", ""),
        ("edited", "ada"),
        ("replay ordered", "ada"),
        ("replayed", ""),
        ("died", ""),
        ("discarded", "ada"),
    ]
    assert "Before" in lines[1]["before"]
    assert "still &lt;broken&gt;" in page(staff, f"{LETTERS}{one.pk}/change/")


@look_only
def test_nobody_adds_changes_or_deletes_a_letter_or_an_order_by_hand(staff: Client) -> None:
    one = dead()
    order = replay.order(Criteria(), "tests")
    for path in (f"{LETTERS}add/", f"{LETTERS}{one.pk}/change/", f"{LETTERS}{one.pk}/delete/"):
        assert staff.post(path, {"post": "yes", "status": 0, "error": "forged"}).status_code == 403
    for path in (f"{REPLAYS}add/", f"{REPLAYS}{order.pk}/change/", f"{REPLAYS}{order.pk}/delete/"):
        assert staff.post(path, {"post": "yes", "letters": 7}).status_code == 403
    act(staff, "delete_selected", one)
    one.refresh_from_db()
    assert (one.status, one.error) == (Status.REPLAYING, "it is broken")


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
    assert said(post(staff, f"{LETTERS}{one.pk}/replay/")) == ["1 letter replayed."]
    (second,) = said(post(staff, f"{LETTERS}{one.pk}/replay/"))
    assert re.fullmatch(r"0 letters replayed, 1 was no longer dead \(replay ordered by ada at .+ UTC\)\.", second)
    assert replayed(shards) == ["alice"]
    assert history(one.pk) == ["DIED", "ORDERED", "REPLAYED"]


def test_of_two_operators_at_one_letter_one_replays_it(staff: Client, shards: Shards) -> None:
    one, other = dead("alice"), signed_in("grace")
    page(staff, LETTERS), page(other, LETTERS)
    act(staff, "replay_selected", one)
    assert "replay ordered by ada" in said(act(other, "replay_selected", one))[0]
    edited = post(other, f"{LETTERS}{one.pk}/edit/", **fields_of(one, title="Another title"))
    assert "no longer dead (replay ordered by ada" in edited.content.decode()
    assert "Another title" in edited.content.decode(), "what was typed is not lost"
    post(other, f"{LETTERS}discard/", letter=one.pk, confirmed="Discard")
    assert [found.title for found in in_lane(shards, "live")] == ["A title"]
    assert history(one.pk) == ["DIED", "ORDERED", "REPLAYED"]


@look_only
def test_discarding_asks_first_and_keeps_the_record(staff: Client) -> None:
    ticked = [dead("alice"), dead("bob")]
    first = act(staff, "discard_selected", *ticked)
    assert "nobody can replay them afterwards" in first.content.decode()
    from_its_page = post(staff, f"{LETTERS}discard/", letter=ticked[0].pk)
    assert "nobody can replay it afterwards" in from_its_page.content.decode()
    assert listed(staff) == {"alice", "bob"}
    answer = post(staff, f"{LETTERS}discard/", letter=[one.pk for one in ticked], confirmed="Discard")
    assert said(answer) == ["2 letters discarded."]
    assert listed(staff, "?status=discarded") == {"alice", "bob"}
    again = post(staff, f"{LETTERS}discard/", letter=ticked[0].pk, confirmed="Discard")
    assert "1 was no longer dead (discarded by ada at " in said(again)[0]
    for nonsense in ({}, {"letter": "x"}):
        assert staff.post(f"{LETTERS}discard/", nonsense).status_code == 400


def fields_of(one: DeadLetter, **changed: str) -> dict[str, str]:
    """What a browser sends of the form, with some fields changed."""
    whole = msgspec.json.decode(bytes(one.payload))
    texts = {name: whole.get(name, "") for name in ("type", "title", "body")}
    return {**texts, "data": json.dumps(whole.get("data", {})), **changed}


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
    answer = staff.post(f"{LETTERS}{one.pk}/edit/", {"type": "", "title": "", "body": "", "data": "{"})
    assert set(answer.context["form"].errors) == {"type", "title", "data"}


def test_what_was_no_event_becomes_one_by_hand(staff: Client, shards: Shards) -> None:
    one = record(b'{"title": "Half a')
    fields = {"recipient": "zoë", "type": "t", "title": "Whole", "body": "", "data": ""}
    post(staff, f"{LETTERS}{one.pk}/edit/", **fields)
    (sent,) = in_lane(shards, "live")
    store.store([sent])
    shown = page(staff, f"{LETTERS}{one.pk}/change/")
    assert f"/admin/notifications/notification/{sent.id}/change/" in shown
    assert "It is stored" in shown
    order = Replay.objects.get()
    assert staff.get(f"{REPLAYS}{order.pk}/change/").context["refresh"] is None


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
    post(staff, f"{LETTERS}{one.pk}/replay/")
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
    post(staff, f"{LETTERS}{one.pk}/replay/")
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
    assert stages == {"stored": 1, "waiting": 1, "travelling": 1, "dead": 1, "discarded": 1}
    assert answer.context["refresh"]
    assert "died again" in answer.content.decode()
    replay.order(Criteria(ids=[letters["died"].pk]), "ada")
    assert [stage["count"] for stage in staff.get(f"{REPLAYS}{order.pk}/change/").context["stages"]][-1] == 1
    rows = {row.ordered_by: row for row in staff.get(REPLAYS).context["cl"].result_list}
    assert (rows["grace"].progress["stored"], rows["ada"].progress["waiting"]) == (1, 1)
    shown = page(staff, REPLAYS)
    assert "reason invalid" in shown
    assert f"the letter {letters['died'].pk}" in shown


@look_only
def test_orders_that_got_nothing_or_cannot_be_read_do_no_harm(staff: Client) -> None:
    replay.order(Criteria(type="nothing"), "too-late")
    Replay.objects.create(
        ordered_by="a later release", ordered_at="2026-01-01T00:00:00Z", criteria={"since": 7}, letters=1
    )
    shown = page(staff, REPLAYS)
    assert "too-late" not in shown
    assert "a later release" in shown


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
