"""The rules of an event, each of the contract's, and the ids."""

import contextlib
import json
import time
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications import events
from notifications.exceptions import Invalid

pytestmark = pytest.mark.one_shard_is_enough

VALID: dict[str, Any] = {"recipient": "alice", "type": "order.shipped", "title": "Shipped"}


def document(**fields: Any) -> bytes:
    return json.dumps(VALID | fields).encode()


def broken(payload: bytes) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        events.parse(payload)
    return {error.pointer: error.detail for error in caught.value.errors}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_only_recipient_type_and_title_are_required() -> None:
    draft = events.parse(document())
    assert (draft.recipient, draft.type, draft.title, draft.body, draft.data) == (
        "alice",
        "order.shipped",
        "Shipped",
        "",
        {},
    )
    assert broken(b"{}") == dict.fromkeys(("/recipient", "/type", "/title"), "is required")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("recipient", "x" * 128),
        ("recipient", "😀" * 128),
        ("recipient", "org/user:7@example.org"),
        ("type", "9a._-" + "b" * 95),
        ("title", "t" * 200),
        ("body", "b" * 4096),
        ("body", "line\nline\ttab"),
        ("data", {"text": "x" * (16 * 1024 - len('{"text":""}'))}),
        ("data", nested(16)),
        ("data", {"a backslash and u0000": "\\u0000"}),
        ("data", {"many": [[], [], {}, [], [], {}, [], [], [], [], [], [], [], [], [], [], []]}),
    ],
)
def test_what_is_just_within_the_limits_is_taken(field: str, value: object) -> None:
    assert getattr(events.parse(document(**{field: value})), field) == value


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("recipient", "", "1 to 128 characters"),
        ("recipient", "x" * 129, "1 to 128 characters"),
        ("recipient", "a b", "white space"),
        ("recipient", "a\u00a0b", "white space"),
        ("recipient", "a\n", "white space"),
        ("recipient", "a\x1b", "control"),
        ("recipient", "a\x7f", "control"),
        ("recipient", "a\x85b", "control"),
        ("recipient", "a\x00", "control"),
        ("recipient", 7, "1 to 128 characters"),
        ("recipient", None, "1 to 128 characters"),
        ("type", "", "1 to 100"),
        ("type", "a" * 101, "1 to 100"),
        ("type", "Upper", "a-z 0-9"),
        ("type", ".dot", "begin with a letter or a digit"),
        ("type", "a\n", "a-z 0-9"),
        ("title", "", "1 to 200"),
        ("title", "t" * 201, "1 to 200"),
        ("title", "nul\x00", "NUL"),
        ("body", "b" * 4097, "at most 4096"),
        ("body", "nul\x00", "NUL"),
        ("body", None, "at most 4096"),
        ("data", [], "JSON object"),
        ("data", None, "JSON object"),
        ("data", "text", "JSON object"),
        ("data", {"text": "x" * (16 * 1024)}, "at most 16384 bytes"),
        ("data", nested(17), "deeper than 16 levels"),
        ("data", {"a": "nul\x00"}, "NUL"),
        ("data", {"nul\x00": 1}, "NUL"),
        ("data", {"a": "\ud800"}, "lone surrogate"),
        ("title", "\udfff", "lone surrogate"),
        ("surprise", 1, "not a field"),
    ],
)
def test_a_broken_rule_is_named_with_its_field(field: str, value: object, rule: str) -> None:
    errors = broken(document(**{field: value}))
    assert list(errors) == [f"/{field}"]
    assert rule in errors[f"/{field}"]


def test_every_broken_rule_is_named_at_once() -> None:
    errors = broken(json.dumps({"recipient": "a b", "type": "", "x/y~z": 1, "data": []}).encode())
    assert set(errors) == {"/recipient", "/type", "/title", "/x~1y~0z", "/data"}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"recipient":"\xff"}',
        b"[" * 100_000,
        b'{"recipient":"alice","type":"t","title":"t","data":{"n":NaN}}',
        document().decode().encode("utf-16"),
        b"\x00",
    ],
)
def test_what_is_no_json_is_refused_as_such(payload: bytes) -> None:
    assert list(broken(payload)) == [""]


@pytest.mark.parametrize("payload", [b"[]", b'"text"', b"null", b"7"])
def test_json_that_is_no_object_is_refused_as_such(payload: bytes) -> None:
    assert "JSON object" in broken(payload)[""]


def test_a_number_that_no_double_holds_is_named_with_its_field() -> None:
    assert "double" in broken(b'{"recipient":"a","type":"t","title":"t","data":{"n":1e999}}')["/data"]


def test_data_of_absurd_depth_is_refused_without_harm() -> None:
    deep = b'{"recipient":"a","type":"t","title":"t","data":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}"
    assert any("16 levels" in rule for rule in broken(deep).values())


@given(st.binary(max_size=200))
def test_no_bytes_whatever_do_anything_but_parse_or_be_invalid(payload: bytes) -> None:
    with contextlib.suppress(Invalid):
        events.parse(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*VALID, "body", "data", "other"], json_values)))
def test_no_document_whatever_does_anything_but_parse_or_be_invalid(fields: dict[str, Any]) -> None:
    with contextlib.suppress(Invalid):
        draft = events.parse(json.dumps(VALID | fields).encode())
        event = events.accept(draft, events.new_id(draft.recipient))
        assert events.decode(events.encode(event)) == event


def test_data_travels_as_the_producers_json_without_white_space() -> None:
    draft = events.parse(b'{"recipient":"a","type":"t","title":"t","data":{"b": [1, 2.50], "a": "\\u00e9"}}')
    event = events.accept(draft, events.new_id("a"))
    assert bytes(event.data) == '{"b":[1,2.5],"a":"é"}'.encode()


def test_an_entry_of_an_older_release_is_read_and_one_of_a_later_release_is_refused() -> None:
    first_release = b'{"v":1,"id":"01a20433-cd9e-7a24-b36e-c92899ccf0fe","recipient":"a","type":"t","title":"t"}'
    assert events.decode(first_release).title == "t"
    with pytest.raises(Invalid, match="this release"):
        events.decode(first_release.replace(b'"v":1', b'"v":2'))


def test_an_id_is_a_uuid_of_version_7_that_tells_its_time_and_its_route() -> None:
    before = time.time_ns() // 1_000_000
    event_id = events.new_id("alice")
    after = time.time_ns() // 1_000_000
    parsed = uuid.UUID(event_id)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert before <= events.accepted_ms(event_id) <= after
    assert events.route_of(event_id) == events.route("alice")


def test_the_route_is_the_crc16_of_redis_cluster() -> None:
    assert events.route("123456789") == 0x31C3


def test_ids_do_not_repeat() -> None:
    assert len({events.new_id("alice") for _ in range(10_000)}) == 10_000


def test_a_derived_id_is_made_again_from_the_same_parts_and_from_no_others() -> None:
    first = events.derived_id("alice", 1_800_000_000_000, "a", "b")
    assert first == events.derived_id("alice", 1_800_000_000_000, "a", "b")
    others = {
        events.derived_id("bob", 1_800_000_000_000, "a", "b"),
        events.derived_id("alice", 1_800_000_000_001, "a", "b"),
        events.derived_id("alice", 1_800_000_000_000, "a", "c"),
        events.derived_id("alice", 1_800_000_000_000, "b", "a"),
        events.derived_id("alice", 1_800_000_000_000, "ab"),
        events.derived_id("alice", 1_800_000_000_000),
    }
    assert len(others | {first}) == 7


@given(st.integers(0, 2**48 - 1), st.text(max_size=20), st.lists(st.text(max_size=20), max_size=3))
def test_a_derived_id_is_a_uuid_of_version_7_that_tells_its_time_and_its_route(
    unix_ms: int, recipient: str, parts: list[str]
) -> None:
    event_id = events.derived_id(recipient, unix_ms, *parts)
    parsed = uuid.UUID(event_id)
    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, event_id)
    assert events.accepted_ms(event_id) == unix_ms
    assert events.route_of(event_id) == events.route(recipient)


def test_ids_derived_for_one_moment_do_not_repeat() -> None:
    assert len({events.derived_id("alice", 1_800_000_000_000, str(number)) for number in range(10_000)}) == 10_000


def test_every_field_of_a_draft_carries_its_rule_for_people() -> None:
    schema = msgspec.json.schema(events.Draft)["$defs"]["Draft"]["properties"]
    assert all(schema[name].get("description") for name in ("recipient", "type", "title", "body"))
