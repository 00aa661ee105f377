"""What is recorded of a dead letter, whatever is in it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dlq.deaths import death_of, derived_id
from dlq.fingerprint import fingerprint
from dlq.tests.letters import FAILED_MS, event, failed_at, letter
from notifications import events

pytestmark = pytest.mark.one_shard_is_enough


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("row 4711 is too long", "row 12 is too long"),
        ("value 'abc' is refused", "value '' is refused"),
        ('key "a b" is there', 'key "c" is there'),
        ("no 019aab5e-0000-7000-8000-00000000abcd", "no 019aab5e-1111-7111-8111-11111111ABCD"),
        ("at 0x7f03 in deadbeef42", "at 0xff in 0123456789abcdef"),
        ("after 1.5 s at 12:30:01", "after 60 s at 1:02"),
        ("bad row\nDETAIL:  Failing row contains (a, x\ny).", "bad row\nDETAIL:  Failing row contains (b, z)."),
        ("bad row\nDETAIL:  Row (a).\nHINT:  Mend it.", "bad row\nDETAIL:  Row (b).\nHINT:  Mend it."),
    ],
)
def test_errors_that_differ_in_values_only_have_one_fingerprint(one: str, other: str) -> None:
    assert fingerprint("invalid", one) == fingerprint("invalid", other)
    assert len(fingerprint("invalid", one)) == 12


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("it doesn't fit and can't", "it doesn't work and can't"),
        ("missing field `id`", "missing field `title`"),
        ("too long", "too short"),
        ("bad row\nDETAIL:  Row (a).\nHINT:  Mend it.", "bad row\nDETAIL:  Row (a).\nHINT:  Throw it away."),
        ("bad row\nDETAIL:  Row (a).", "no row\nDETAIL:  Row (a)."),
    ],
)
def test_errors_of_other_words_have_other_fingerprints(one: str, other: str) -> None:
    assert fingerprint("invalid", one) != fingerprint("invalid", other)
    assert fingerprint("invalid", one) != fingerprint("crash", one)


def test_a_death_tells_what_its_event_told() -> None:
    dead = event("alice", type="order.shipped", life=2, first_failed_ms=FAILED_MS - 5000)
    death = death_of(letter(dead, reason="retries_exhausted", attempts=6))
    assert (str(death.event_id), death.life, death.recipient, death.type) == (dead.id, 2, "alice", "order.shipped")
    assert (death.reason, death.attempts, death.readable) == ("retries_exhausted", 6, True)
    assert (death.first_failed_at, death.failed_at) == (failed_at(FAILED_MS - 5000), failed_at())


def test_a_payload_that_is_no_event_has_an_id_of_its_own_and_always_the_same() -> None:
    first = letter(b"nonsense", shard=1, entry_id=b"1800000000000-7")
    death = death_of(first)
    assert death.event_id == death_of(first).event_id
    assert death.event_id.version == 7
    assert events.accepted_ms(str(death.event_id)) == 1_800_000_000_000
    assert events.route_of(str(death.event_id)) == 0
    others = [(0, b"1800000000000-7"), (1, b"1800000000000-8"), (1, b"1800000000001-7")]
    assert len({death.event_id} | {derived_id(*place) for place in others}) == 4
    assert (death.readable, death.recipient, death.type, death.life) == (False, "", "", 0)


def test_an_event_of_a_later_release_is_unreadable_but_keeps_its_id_and_recipient() -> None:
    dead = event("alice")
    payload = events.encode(dead).replace(b'"v":1', b'"v":2')
    death = death_of(letter(payload))
    assert (str(death.event_id), death.recipient, death.type) == (dead.id, "alice", "test.event")
    assert not death.readable


def test_an_event_whose_id_belongs_to_another_recipient_counts_as_unreadable() -> None:
    """Replayed as it is, it would be in one shard and its state in another."""
    dead = event("alice", id=events.new_id("bob"))
    assert not death_of(letter(dead)).readable
    assert not death_of(letter(event("alice", id="x"))).readable


def test_an_event_that_no_column_takes_is_recorded_without_what_does_not_fit() -> None:
    dead = event("x" * 300, type="y" * 300)
    death = death_of(letter(dead))
    assert (death.recipient, death.type, death.readable) == ("", "", True)


@given(
    payload=st.binary(),
    text=st.text(st.characters(exclude_categories=())),
    number=st.integers(),
    moment=st.integers(),
)
@example(payload=b"\xff\x00", text="\x00\ud800", number=2**40, moment=2**62)
def test_every_letter_makes_a_death_that_postgresql_takes(payload: bytes, text: str, number: int, moment: int) -> None:
    dead = event(life=7, first_failed_ms=min(max(moment, -(2**63)), 2**63 - 1))
    for body in (payload, events.encode(dead)):
        death = death_of(letter(body, event_id=text, reason=text, error=text, attempts=number, failed_ms=moment))
        for value in (death.reason, death.error, death.recipient, death.type):
            assert "\x00" not in value
            value.encode()
        assert len(death.reason) <= 40
        assert 0 <= death.attempts < 2**31
        assert death.failed_at.tzinfo is not None
