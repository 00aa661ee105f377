"""Dead letters in Django's admin: what is dead, and why."""

import msgspec
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dlq import replay
from dlq.admin import asked
from dlq.replay import Criteria
from dlq.tests.browsing import (
    LETTERS,
    REPLAYS,
    Status,
    act,
    dead,
    die_again,
    fields_of,
    listed,
    look_only,
    page,
    post,
    press_discard,
)
from dlq.tests.letters import event, record
from notifications import lookup
from notifications.admin import inboxes

pytestmark = pytest.mark.django_db


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
    press_discard(staff, one)
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
def test_a_letter_that_is_tried_again_says_how_often_it_failed(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    one = dead()
    replay.begin(replay.order(Criteria(ids=[one.pk]), "tests"))
    for attempts, words in ((1, "It failed once and"), (2, "It failed 2 times and")):
        life = {"status": "retrying", "attempts": attempts, "last_error": "cold"}
        monkeypatch.setattr(lookup, "life", lambda _, life=life: life)
        assert words in page(staff, f"{LETTERS}{one.pk}/change/")


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
