"""The rules of a request for a schedule, each with the field that it names."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications.events import NOT_JSON
from notifications.exceptions import Invalid
from scheduler import requests, schedule
from scheduler.requests import Asked, Change
from scheduler.schedule import Schedule
from scheduler.tests.helpers import DAY, EVENT, HOUR, MINUTE, SECOND, ms, once, recurring

pytestmark = pytest.mark.one_shard_is_enough

NOW = ms("2026-03-01 12:00:00.500")
SOON = NOW + 10 * MINUTE


def parsed(fields: dict[str, Any]) -> Asked:
    return requests.parse(json.dumps(EVENT | fields).encode(), lambda _: NOW, "tests")


def errors_of(document: bytes) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        requests.parse(document, lambda _: NOW, "tests")
    return {error.pointer: error.detail for error in caught.value.errors}


def refused(fields: dict[str, Any]) -> dict[str, str]:
    return errors_of(json.dumps(EVENT | fields).encode())


def changed(known: Schedule, fields: dict[str, Any]) -> Change:
    return requests.parse_change(json.dumps(fields).encode(), known, NOW)


def change_refused(known: Schedule, fields: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        changed(known, fields)
    return {error.pointer: error.detail for error in caught.value.errors}


@pytest.mark.parametrize(
    ("fields", "due_ms"),
    [
        ({"delay": 0}, NOW),
        ({"delay": -0.0}, NOW),
        ({"delay": 0.5}, NOW + 500),
        ({"delay": 0.0001}, NOW + 1),
        ({"delay": 60}, NOW + MINUTE),
        ({"delay": 3_153_600_000}, NOW + 36_500 * DAY),
        ({"at": "2026-03-01T12:10:00.500Z"}, SOON),
        ({"at": "2026-03-01T12:10:00.4999Z"}, SOON),
        ({"at": "2026-03-01T17:40:00.500+05:30"}, SOON),
        ({"at": "2026-03-01T02:10:00.500-10:00"}, SOON),
        ({"at": "2026-03-01T12:10:00.500-00:00"}, SOON),
        ({"at": "2026-03-01T12:00:00.500Z"}, NOW),
        ({"at": "2026-03-01T11:59:00.500Z"}, NOW),
        ({"at": "2100-01-01T00:00:00Z"}, ms("2100-01-01")),
        ({"at": "8999-12-31T23:59:59Z"}, ms("8999-12-31 23:59:59")),
        ({"at": "2028-02-29T00:00:00Z"}, ms("2028-02-29")),
        ({"daily": "12:00"}, ms("2026-03-02 12:00")),
        ({"daily": "12:01"}, ms("2026-03-01 12:01")),
        ({"daily": "17:31", "timezone": "Asia/Kolkata"}, ms("2026-03-01 12:01")),
        ({"cron": "*/20 * * * *"}, ms("2026-03-01 12:20")),
        ({"cron": "0 0 29 2 *", "catch_up": "all"}, ms("2028-02-29")),
    ],
)
def test_a_time_is_the_instant_that_it_names_and_never_earlier(fields: dict[str, Any], due_ms: int) -> None:
    assert parsed(fields).due_ms == due_ms


def test_what_is_asked_is_kept_with_who_asked_and_when() -> None:
    asked = parsed({"daily": "08:00", "timezone": "Europe/Berlin", "catch_up": "all", "data": {"n": 1}})
    assert (asked.draft.title, asked.draft.data) == ("Report", {"n": 1})
    assert asked.about.recurrence is not None
    assert (asked.about.recurrence.daily, asked.about.recurrence.timezone) == ("08:00", "Europe/Berlin")
    assert (asked.about.catch_up, asked.about.by, asked.about.changed_ms) == ("all", "tests", NOW)
    assert (asked.about.at_ms, asked.about.runs, asked.about.last_run_ms) == (None, 0, None)
    assert parsed({"delay": 1}).about.at_ms == NOW + SECOND
    assert parsed({"daily": "08:00"}).about.catch_up == "once"


@pytest.mark.parametrize(
    ("fields", "pointer", "rule"),
    [
        ({}, "", "exactly one of: at, delay, daily, cron"),
        ({"at": "2100-01-01T00:00:00Z", "delay": 1}, "", "exactly one of"),
        ({"daily": "10:00", "cron": "* * * * *"}, "", "exactly one of"),
        ({"delay": 1, "cron": None}, "", "exactly one of"),
        ({"timezone": "UTC"}, "", "exactly one of"),
        ({"catch_up": "all"}, "", "exactly one of"),
        ({"at": "2026-03-01T11:59:00.499Z"}, "/at", "it is 2026-03-01T12:00:00.500Z"),
        ({"at": "2026-03-01T11:58:59Z"}, "/at", "up to 60 seconds ago is taken as now"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "/at", "RFC 3339"),
        ({"at": "2026-03-01T13:00:00"}, "/at", "with its zone"),
        ({"at": "2026-03-01"}, "/at", "RFC 3339"),
        ({"at": "2026-02-30T00:00:00Z"}, "/at", "RFC 3339"),
        ({"at": "2026-03-02T00:00:00+14:00"}, "/at", "in the past"),
        ({"at": "tomorrow"}, "/at", "RFC 3339"),
        ({"at": ""}, "/at", "RFC 3339"),
        ({"at": None}, "/at", "RFC 3339"),
        ({"at": True}, "/at", "RFC 3339"),
        ({"at": 1_900_000_000}, "/at", "RFC 3339"),
        ({"at": 1.5}, "/at", "RFC 3339"),
        ({"at": ["2100-01-01T00:00:00Z"]}, "/at", "RFC 3339"),
        ({"at": "9000-01-01T00:00:00Z"}, "/at", "before the year 9000"),
        ({"at": "8999-12-31T23:30:00-01:00"}, "/at", "before the year 9000"),
        ({"at": "9999-12-31T23:59:59-14:00"}, "/at", ""),
        ({"delay": -1}, "/delay", "0 or more"),
        ({"delay": -0.001}, "/delay", "0 or more"),
        ({"delay": 1e18}, "/delay", "before the year 9000"),
        ({"delay": 10**30}, "/delay", "before the year 9000"),
        ({"delay": 10**400}, "/delay", "before the year 9000"),
        ({"delay": 1e308}, "/delay", "before the year 9000"),
        ({"delay": 221_900_000_000}, "/delay", "before the year 9000"),
        ({"delay": True}, "/delay", "number of seconds"),
        ({"delay": "5"}, "/delay", "number of seconds"),
        ({"delay": None}, "/delay", "number of seconds"),
        ({"delay": [1]}, "/delay", "number of seconds"),
        ({"daily": "25:00"}, "/daily", "HH:MM"),
        ({"daily": "9:00"}, "/daily", "HH:MM"),
        ({"daily": ""}, "/daily", "HH:MM"),
        ({"daily": 9}, "/daily", "a text"),
        ({"daily": None}, "/daily", "a text"),
        ({"cron": "* * *"}, "/cron", "five fields"),
        ({"cron": "* * * * * *"}, "/cron", "five fields"),
        ({"cron": "60 * * * *"}, "/cron", "valid minute"),
        ({"cron": "0 0 30 2 *"}, "/cron", "valid day of month"),
        ({"cron": "x" * 257}, "/cron", "at most 256"),
        ({"cron": ["*"]}, "/cron", "a text"),
        ({"daily": "10:00", "timezone": "Mars/Olympus"}, "/timezone", "IANA"),
        ({"daily": "10:00", "timezone": "../../etc/passwd"}, "/timezone", "IANA"),
        ({"daily": "10:00", "timezone": ""}, "/timezone", "IANA"),
        ({"daily": "10:00", "timezone": "europe/berlin"}, "/timezone", "IANA"),
        ({"daily": "10:00", "timezone": None}, "/timezone", "a text"),
        ({"delay": 1, "timezone": "UTC"}, "/timezone", "for daily and cron only"),
        ({"at": "2100-01-01T00:00:00Z", "catch_up": "once"}, "/catch_up", "for daily and cron only"),
        ({"daily": "10:00", "catch_up": "never"}, "/catch_up", "once or all"),
        ({"daily": "10:00", "catch_up": None}, "/catch_up", "once or all"),
        ({"daily": "10:00", "catch_up": True}, "/catch_up", "once or all"),
        ({"daily": "10:00", "catch_up": ["all"]}, "/catch_up", "once or all"),
        ({"daily": "10:00", "catch_up": {}}, "/catch_up", "once or all"),
        ({"delay": 1, "revision": 1}, "/revision", "not a field"),
        ({"delay": 1, "id": "x"}, "/id", "not a field"),
        ({"delay": 1, "weekly": "MON"}, "/weekly", "not a field"),
        ({"delay": 1, "recipient": "a b"}, "/recipient", "white space"),
        ({"delay": 1, "title": "x" * 201}, "/title", "1 to 200"),
        ({"delay": 1, "data": []}, "/data", "JSON object"),
    ],
)
def test_a_broken_rule_is_named_with_its_field(fields: dict[str, Any], pointer: str, rule: str) -> None:
    errors = refused(fields)
    assert list(errors) == [pointer]
    assert rule in errors[pointer]


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"recipient": "a b", "foo": 1, "delay": -1}, {"/recipient", "/foo", "/delay"}),
        ({"title": "", "daily": 7, "timezone": 3, "catch_up": 0}, {"/title", "/daily", "/timezone", "/catch_up"}),
        ({"delay": 1, "timezone": "UTC", "catch_up": "all"}, {"/timezone", "/catch_up"}),
        ({"type": ""}, {"/type", ""}),
    ],
)
def test_every_broken_rule_of_both_halves_is_named_at_once(fields: dict[str, Any], pointers: set[str]) -> None:
    assert set(refused(fields)) == pointers


def test_an_empty_object_lacks_an_event_and_a_time() -> None:
    assert set(errors_of(b"{}")) == {"/recipient", "/type", "/title", ""}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"nonsense",
        b"\x00",
        b'{"delay": NaN}',
        b'{"delay": 1e400}',
        b'{"at": "\xff"}',
        b'{"daily": "\\ud800"}',
    ],
)
def test_what_is_no_json_is_refused_as_such(document: bytes) -> None:
    assert errors_of(document).get("") == NOT_JSON


@pytest.mark.parametrize("document", [b"[]", b"null", b"7", b'"at"'])
def test_json_that_is_no_object_is_refused_as_such(document: bytes) -> None:
    assert "JSON object" in errors_of(document)[""]


@pytest.mark.parametrize("digits", [400, 5000, 100_000])
def test_a_number_of_any_length_is_refused_and_does_no_harm(digits: int) -> None:
    document = json.dumps(EVENT).encode()[:-1] + b', "delay": 1%s}' % (b"0" * digits)
    assert errors_of(document)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [*EVENT, "body", "data", *requests.TIMING, "revision", "other"]


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, json_values)))
def test_no_document_whatever_does_anything_but_parse_or_be_invalid(fields: dict[str, Any]) -> None:
    with contextlib.suppress(Invalid):
        asked = parsed(fields)
        assert NOW <= asked.due_ms < schedule.unix_ms(datetime(9001, 1, 1, tzinfo=UTC))
    for known in (once(SOON), recurring(SOON)):
        with contextlib.suppress(Invalid):
            changed(known, fields)


@given(st.binary(max_size=100))
def test_no_bytes_whatever_do_anything_but_parse_or_be_invalid(document: bytes) -> None:
    with contextlib.suppress(Invalid):
        requests.parse(document, lambda _: NOW, "tests")
    with contextlib.suppress(Invalid):
        requests.parse_change(document, recurring(SOON), NOW)


def ran(known: Schedule) -> Schedule:
    about = msgspec.structs.replace(known.about, runs=3, last_run_ms=NOW - HOUR)
    return msgspec.structs.replace(known, about=about)


@pytest.mark.parametrize("known", [once(SOON), once(NOW - HOUR), recurring(SOON), recurring(NOW - HOUR)])
def test_an_empty_change_keeps_all_but_when_it_was_made(known: Schedule) -> None:
    (draft, due_ms, about), revision = changed(ran(known), {})
    assert (draft.recipient, draft.type, draft.title, draft.body, draft.data) == (
        *("alice", "report.due", "Report", ""),
        {},
    )
    assert (due_ms, revision) == (known.due_ms, None)
    assert about == msgspec.structs.replace(ran(known).about, changed_ms=NOW)


def test_content_is_another_where_it_is_given_and_the_time_stays() -> None:
    first = recurring(SOON)
    (draft, due_ms, about), _ = changed(first, {"title": "Another", "data": {"n": 1}})
    assert (draft.title, draft.data, draft.type, due_ms) == ("Another", {"n": 1}, "report.due", SOON)
    assert about.recurrence == first.about.recurrence
    second = schedule.changed(first, draft, about, due_ms)
    assert changed(second, {"body": "b"}).asked.draft.data == {"n": 1}
    assert changed(second, {"data": {}}).asked.draft.data == {}


def test_one_time_becomes_another() -> None:
    known = ran(once(SOON))
    asked, _ = changed(known, {"delay": 5})
    assert (asked.due_ms, asked.about.at_ms) == (NOW + 5 * SECOND, NOW + 5 * SECOND)
    assert (asked.about.runs, asked.about.last_run_ms, asked.about.by) == (3, NOW - HOUR, "tests")
    assert changed(known, {"at": "2026-03-01T11:59:00.500Z"}).asked.due_ms == NOW


def test_what_fires_once_comes_to_recur_and_back() -> None:
    asked, _ = changed(ran(once(SOON)), {"daily": "09:00", "timezone": "Asia/Tokyo", "catch_up": "all"})
    assert asked.due_ms == ms("2026-03-02 00:00")
    assert asked.about.recurrence is not None
    assert (asked.about.at_ms, asked.about.catch_up, asked.about.runs) == (None, "all", 3)
    asked, _ = changed(ran(recurring(SOON, zone="Asia/Tokyo", catch_up="all")), {"delay": 60})
    assert (asked.due_ms, asked.about.at_ms, asked.about.recurrence) == (NOW + MINUTE, NOW + MINUTE, None)
    assert (asked.about.catch_up, asked.about.runs) == ("once", 3)


def test_another_time_of_day_keeps_the_zone_and_what_happens_after_a_miss() -> None:
    known = recurring(SOON, cron="0 9 * * *", zone="Asia/Tokyo", catch_up="all")
    for fields in ({"daily": "10:00"}, {"cron": "0 10 * * *"}):
        asked, _ = changed(known, fields)
        assert asked.about.recurrence is not None
        assert (asked.about.recurrence.timezone, asked.about.catch_up) == ("Asia/Tokyo", "all")
        assert asked.due_ms == ms("2026-03-02 01:00")
    (_, _, about), _ = changed(known, {"daily": "10:00", "catch_up": "once", "timezone": "UTC"})
    assert about.recurrence is not None
    assert (about.recurrence.timezone, about.recurrence.cron, about.catch_up) == ("UTC", None, "once")


def test_another_zone_alone_moves_the_next_time() -> None:
    known = recurring(ms("2026-03-02 09:00"), cron="0 9 * * *")
    assert changed(known, {"timezone": "Asia/Tokyo"}).asked.due_ms == ms("2026-03-02 00:00")
    assert changed(known, {"timezone": "UTC"}).asked.due_ms == known.due_ms


@pytest.mark.parametrize("due_ms", [SOON, NOW - HOUR])
def test_what_happens_after_a_miss_changes_without_the_time(due_ms: int) -> None:
    asked, _ = changed(recurring(due_ms), {"catch_up": "all"})
    assert (asked.due_ms, asked.about.catch_up) == (due_ms, "all")
    assert changed(recurring(due_ms), {"cron": "* * * * *"}).asked.due_ms == due_ms


@pytest.mark.parametrize(
    ("known", "fields", "pointer", "rule"),
    [
        (once(SOON), {"recipient": "bob"}, "/recipient", "cannot be changed"),
        (once(SOON), {"recipient": None}, "/recipient", "1 to 128"),
        (once(SOON), {"title": None}, "/title", "1 to 200"),
        (once(SOON), {"data": None}, "/data", "JSON object"),
        (once(SOON), {"surprise": 1}, "/surprise", "not a field"),
        (once(SOON), {"status": "cancelled"}, "/status", "not a field"),
        (once(SOON), {"timezone": "UTC"}, "/timezone", "daily and cron only"),
        (once(SOON), {"catch_up": "all"}, "/catch_up", "daily and cron only"),
        (once(SOON), {"at": None}, "/at", "RFC 3339"),
        (once(SOON), {"at": "2026-03-01T11:00:00Z"}, "/at", "in the past"),
        (once(SOON), {"delay": 1, "daily": "10:00"}, "", "exactly one of"),
        (recurring(SOON), {"at": "2100-01-01T00:00:00Z", "timezone": "UTC"}, "/timezone", "daily and cron only"),
        (recurring(SOON), {"daily": None}, "/daily", "a text"),
        (recurring(SOON), {"timezone": None}, "/timezone", "a text"),
        (recurring(SOON), {"catch_up": None}, "/catch_up", "once or all"),
        (recurring(SOON), {"catch_up": []}, "/catch_up", "once or all"),
        (recurring(SOON), {"timezone": "Mars/Olympus"}, "/timezone", "IANA"),
        (recurring(SOON), {"daily": "10:00", "cron": "* * * * *"}, "", "exactly one of"),
        (recurring(SOON), {"revision": None}, "/revision", "a whole number"),
        (recurring(SOON), {"revision": True}, "/revision", "a whole number"),
        (recurring(SOON), {"revision": "1"}, "/revision", "a whole number"),
        (recurring(SOON), {"revision": 1.0}, "/revision", "a whole number"),
    ],
)
def test_a_broken_rule_of_a_change_is_named_with_its_field(
    known: Schedule, fields: dict[str, Any], pointer: str, rule: str
) -> None:
    errors = change_refused(known, fields)
    assert list(errors) == [pointer]
    assert rule in errors[pointer]


def test_every_broken_rule_of_a_change_is_named_at_once() -> None:
    errors = change_refused(once(SOON), {"revision": "1", "title": "", "x": 1, "delay": -1})
    assert set(errors) == {"/revision", "/title", "/x", "/delay"}


def test_the_same_recipient_and_the_revision_that_was_seen_may_be_given() -> None:
    asked, revision = changed(once(SOON), {"recipient": "alice", "revision": 7})
    assert (asked.draft.recipient, revision) == ("alice", 7)
