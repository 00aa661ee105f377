"""Lists of recipients: read in blocks cut anywhere, each id checked, what is none told with its place."""

import json
from collections.abc import Iterable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk import recipients
from bulk.recipients import HEAD_LENGTH_RULE, LENGTH_RULE, NO_ID_RULE, STRING_RULE, UTF8_RULE, Batch
from notifications.events import RECIPIENT_RULE
from notifications.exceptions import FieldError, Invalid

pytestmark = pytest.mark.one_shard_is_enough


def told(batches: Iterable[Batch]) -> tuple[list[str], dict[object, str]]:
    """All ids, and the errors by their places: lines or pointers."""
    ids: list[str] = []
    errors: dict[object, str] = {}
    for batch in batches:
        ids += batch.ids
        errors |= {getattr(error, "line", error.pointer): error.detail for error in batch.errors}
    return ids, errors


def of_lines(*blocks: bytes) -> tuple[list[str], dict[object, str]]:
    return told(recipients.of_lines(blocks))


@pytest.mark.parametrize(
    "body",
    [
        b'"a"\n"b"\n"c"\n',
        b'"a"\n"b"\n"c"',
        b"a\nb\nc\n",
        b"a\nb\nc",
        b"a\r\nb\r\nc\r\n",
        b'"a"\r\n"b"\r\n"c"\r\n',
        b'\n\na\n\n"b"\n \n\t\r\nc\n\n',
        b' "a" \n\tb\t\n  c',
        b'a\n"b"\nc',
        b'"\\u0061"\nb\n"\\u0063"',
    ],
)
def test_an_id_may_stand_as_it_is_or_as_a_json_string_whatever_ends_a_line(body: bytes) -> None:
    assert of_lines(body) == (["a", "b", "c"], {})


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"a b", RECIPIENT_RULE),
        (b'"a b"', RECIPIENT_RULE),
        (b'""', RECIPIENT_RULE),
        (b"x" * 129, RECIPIENT_RULE),
        (b'"a\\u0000"', RECIPIENT_RULE),
        (b"a\x00", RECIPIENT_RULE),
        (b"a\xc2\x85b", RECIPIENT_RULE),
        (b"a\rb", RECIPIENT_RULE),
        (b"a\xff", UTF8_RULE),
        (b'"a\xff"', STRING_RULE),
        (b'"a', STRING_RULE),
        (b'"a""b"', STRING_RULE),
        (b'"a","b"', STRING_RULE),
        (b'"\\ud800"', STRING_RULE),
        (b'{"id": "a"}', NO_ID_RULE),
        (b'  ["a"]', NO_ID_RULE),
        (b"x" * 5000, LENGTH_RULE),
        (b'"' + b"x" * 5000 + b'"', LENGTH_RULE),
    ],
)
def test_a_line_that_is_no_id_is_told_by_its_number_and_the_others_stay(line: bytes, rule: str) -> None:
    for quote in (b"", b'"'):
        before, after = quote + b"before" + quote, quote + b"after" + quote
        assert of_lines(b"\n".join([before, b"", line, after])) == (["before", "after"], {3: rule})
    assert of_lines(line) == ([], {1: rule})


def test_two_ids_in_one_line_do_not_pass_for_the_one_that_is_missing_in_another() -> None:
    """As many ids as lines, taken together."""
    assert of_lines(b'"a\nb"\n"c","d"\n') == (['b"'], {1: STRING_RULE, 3: STRING_RULE})
    assert of_lines(b'"a","b"\n\n') == ([], {1: STRING_RULE})


ids = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=20).filter(
    lambda text: not any(map(str.isspace, text))
)
lines = st.one_of(
    ids.filter(lambda text: text[0] not in '"{[').map(str.encode),
    ids.map(lambda text: json.dumps(text).encode()),
    ids.map(lambda text: json.dumps(text, ensure_ascii=False).encode()),
    st.binary(max_size=12).filter(lambda text: b"\n" not in text),
    st.sampled_from([b"", b" ", b'"a b"', b"a b", b"{}", b"x" * 5000, b'"' + b"y" * 9000]),
)


@given(st.lists(lines), st.data())
def test_blocks_cut_anywhere_say_what_the_lines_say_one_by_one(body: list[bytes], data: st.DataObject) -> None:
    whole = b"\n".join(body)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    blocks = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    alone = [of_lines(line) for line in body]
    expected = [found for line_ids, _ in alone for found in line_ids]
    errors = {number: rule[1] for number, (_, rule) in enumerate(alone, 1) if rule}
    assert of_lines(*blocks) == (expected, errors)


def test_a_line_without_an_end_is_told_once_and_never_held_in_memory() -> None:
    def endless() -> Iterator[bytes]:
        yield b"a\n"
        for _ in range(1000):
            yield b"x" * 65536
        yield b"\nb\n"

    longest = max(len(block) for block in recipients._whole_lines(endless()))
    assert longest < 2 * 65536
    assert told(recipients.of_lines(endless())) == (["a", "b"], {2: LENGTH_RULE})


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_the_first_line_is_told_from_the_rest_wherever_blocks_are_cut(size: int) -> None:
    body = b'{"title": "x"}\r\na\nb'
    head, rest = recipients.first_line(body[start : start + size] for start in range(0, len(body), size))
    assert (head, told(recipients.of_lines(rest, 2))) == (b'{"title": "x"}\r', (["a", "b"], {}))


def test_a_first_line_of_too_many_bytes_is_refused_before_more_is_read() -> None:
    blocks = iter([b"x" * 40_000] * 100)
    with pytest.raises(Invalid) as caught:
        recipients.first_line(blocks)
    assert msgspec.to_builtins(caught.value.errors) == [{"line": 1, "detail": HEAD_LENGTH_RULE}]
    assert len(list(blocks)) == 98


def test_a_body_of_one_line_has_no_list() -> None:
    for body in ([], [b""], [b"{}"], [b"{}\n"]):
        head, rest = recipients.first_line(body)
        assert (head, told(recipients.of_lines(rest, 2))) == (b"{}" if any(body) else b"", ([], {}))


def test_ids_from_elsewhere_are_told_by_their_lines() -> None:
    found = told(recipients.of_ids([*(f"u{n}" for n in range(12_000)), "a b", "", "z"], line=2))
    assert found == ([*(f"u{n}" for n in range(12_000)), "z"], {12_002: RECIPIENT_RULE})


def test_what_is_no_id_in_an_array_is_told_by_its_pointer_and_the_others_stay() -> None:
    document = msgspec.Raw(b'["a", 7, null, "b b", ["c"], {}, "", "d"]')
    ids, errors = told([recipients.of_list(document, "/recipients")])
    assert ids == ["a", "d"]
    assert errors == {f"/recipients/{place}": RECIPIENT_RULE for place in range(1, 7)}


def test_what_is_nested_too_deep_is_no_id_and_no_list_however_deep() -> None:
    """Some depths are too much for the one who counts, and some for the one who looks closer then."""
    for depth in (1, 10, *range(400, 1200, 7), 100_000):
        nested = b"[" * depth + b"]" * depth
        found = refused_or_told(msgspec.Raw(b'["a",%b]' % nested))
        assert found in (["/recipients"], ["a", "/recipients/1"])


def refused_or_told(document: msgspec.Raw) -> list[str]:
    """Where a list breaks the rules: as a whole, or, after the ids that are some, one by one."""
    try:
        batch = recipients.of_list(document, "/recipients")
    except Invalid as invalid:
        return [error.pointer for error in invalid.errors]
    return [*batch.ids, *(error.pointer for error in batch.errors)]


@pytest.mark.parametrize("document", [b"{}", b"null", b'"a"', b"[]", json.dumps(["a"] * 100_001).encode()])
def test_what_is_no_list_or_is_too_long_is_refused_as_a_whole(document: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        recipients.of_list(msgspec.Raw(document), "/recipients")
    assert caught.value.errors == [FieldError("/recipients", recipients.INLINE_RULE)]
    assert len(recipients.of_list(msgspec.Raw(json.dumps(["a"] * 100_000).encode()), "").ids) == 100_000
