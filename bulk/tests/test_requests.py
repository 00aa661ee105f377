"""The rules of a request for a bulk job, each with the field that it names."""

import json
from typing import Any

import msgspec
import pytest

from bulk import requests
from bulk.requests import Content, Inline, Running
from notifications.exceptions import Invalid

pytestmark = pytest.mark.one_shard_is_enough

NOW = 1_800_000_000_000
NOTIFICATION = {"type": "news", "title": "A title"}
INLINE = {"recipients": ["a"], "notification": NOTIFICATION}


def inline(fields: dict[str, Any]) -> Inline:
    return requests.parse_inline(json.dumps(INLINE | fields).encode(), NOW)


def head(fields: dict[str, Any]) -> Content:
    return requests.parse(json.dumps(NOTIFICATION | fields).encode(), NOW)


def refused(document: bytes, *, lines: bool = False) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        (requests.parse if lines else requests.parse_inline)(document, NOW)
    return {error.pointer: error.detail for error in caught.value.errors}


def test_a_request_says_what_all_get_and_who() -> None:
    content, batch = inline(
        {"notification": NOTIFICATION | {"body": "B", "data": {"n": [1]}}, "recipients": ["a", "b"]}
    )
    draft = content.draft
    assert (draft.type, draft.title, draft.body, draft.data) == ("news", "A title", "B", {"n": [1]})
    assert (batch.ids, batch.errors, content.running) == (["a", "b"], [], Running())


WAYS = [
    ({}, Running()),
    ({"rate": "500/s"}, Running("500/s")),
    ({"rate": None}, Running()),
    ({"delay": 0}, Running()),
    ({"delay": 1.5}, Running(delay_ms=1500)),
    ({"at": "2027-01-15T08:00:00Z"}, Running(at_ms=NOW)),
    ({"at": "2027-01-15T07:59:30Z"}, Running(at_ms=NOW)),
    ({"at": "2027-01-15T10:00:00+01:00", "rate": "1/m"}, Running("1/m", NOW + 3_600_000)),
]


@pytest.mark.parametrize(("fields", "running"), WAYS)
def test_how_fast_and_when_stand_beside_the_list_or_in_the_first_line(fields: dict[str, Any], running: Running) -> None:
    assert inline(fields).content.running == running
    assert head(fields).running == running


BROKEN = [
    ({"rate": "fast"}, {"/rate": "number and a unit"}),
    ({"rate": 500}, {"/rate": "number and a unit"}),
    ({"rate": "0/s"}, {"/rate": "number and a unit"}),
    ({"rate": "500/s\n"}, {"/rate": "number and a unit"}),
    ({"at": "tomorrow"}, {"/at": "RFC 3339"}),
    ({"at": "2027-01-15T07:58:00Z"}, {"/at": "in the past"}),
    ({"delay": -1}, {"/delay": "0 or more"}),
    ({"delay": "5"}, {"/delay": "0 or more"}),
    ({"at": "2100-01-01T00:00:00Z", "delay": 1}, {"": "at most one of"}),
    ({"rate": 1, "delay": -1}, {"/rate": "unit", "/delay": "0 or more"}),
]


@pytest.mark.parametrize(("fields", "errors"), BROKEN)
def test_how_fast_and_when_have_their_rules(fields: dict[str, Any], errors: dict[str, str]) -> None:
    for found in (
        refused(json.dumps(INLINE | fields).encode()),
        refused(json.dumps(NOTIFICATION | fields).encode(), lines=True),
    ):
        assert found.keys() == errors.keys()
        assert all(part in found[pointer] for pointer, part in errors.items())


CONTENT = [
    ({"title": ""}, "/title", "1 to 200"),
    ({"type": "Ä"}, "/type", "1 to 100"),
    ({"body": 5}, "/body", "4096"),
    ({"data": []}, "/data", "JSON object"),
    ({"foo": 1}, "/foo", "not a field"),
    ({"recipient": "alice"}, "/recipient", "the list's"),
    ({"recipient": 7}, "/recipient", "the list's"),
]


@pytest.mark.parametrize(("fields", "pointer", "part"), CONTENT)
def test_the_notification_has_the_rules_of_an_event(fields: dict[str, Any], pointer: str, part: str) -> None:
    found = refused(json.dumps(INLINE | {"notification": NOTIFICATION | fields}).encode())
    assert found.keys() == {f"/notification{pointer}"}
    assert part in found[f"/notification{pointer}"]
    found = refused(json.dumps(NOTIFICATION | fields).encode(), lines=True)
    assert found.keys() == {pointer}
    assert part in found[pointer]


def test_fault_injection_has_its_rule_here_too(settings: Any) -> None:
    fault = NOTIFICATION | {"data": {"fault": {"fail": "often"}}}
    assert inline({"notification": fault}).content.draft.data == fault["data"]
    settings.NOTIFY = msgspec.structs.replace(settings.NOTIFY, fault_injection=True)
    assert refused(json.dumps(INLINE | {"notification": fault}).encode()).keys() == {"/notification/data/fault"}
    assert refused(json.dumps(fault).encode(), lines=True).keys() == {"/data/fault"}


def test_every_broken_rule_is_named() -> None:
    request = {"recipients": "all", "notification": {"title": ""}, "rate": 5, "at": 7, "foo": 1, "a/b": 2}
    assert refused(json.dumps(request).encode()).keys() == {
        "/recipients",
        "/notification/title",
        "/notification/type",
        "/rate",
        "/at",
        "/foo",
        "/a~1b",
    }
    assert refused(b"{}").keys() == {"/recipients", "/notification"}
    assert refused(b'{"foo": 1, "rate": 1}', lines=True).keys() == {"/foo", "/type", "/title", "/rate"}


@pytest.mark.parametrize("document", [b"", b"[]", b"7", b"{", b'{"title": "\xff"}', b"[" * 100_000, b'{"x":' * 100_000])
def test_what_is_no_json_object_is_refused(document: bytes) -> None:
    assert refused(document, lines=True).keys() in ({""}, {"/title", "/type"})
    assert refused(document)
    assert refused(b'{"recipients": ["a"], "notification": %b}' % (document or b"[]"))


def test_ids_that_are_none_do_not_refuse_the_request() -> None:
    batch = inline({"recipients": ["a", "b b", "c"]}).batch
    assert (batch.ids, [error.pointer for error in batch.errors]) == (["a", "c"], ["/recipients/1"])
