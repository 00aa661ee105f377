"""Lists of recipients in files: what is read, what is told, and at which line."""

from codecs import BOM_UTF8
from io import BytesIO

import pytest

from bulk import files
from bulk.files import Format, Unusable
from bulk.recipients import LineError
from notifications.exceptions import FieldError

pytestmark = pytest.mark.one_shard_is_enough


def read(content: bytes, kind: Format, column: str | None = None) -> tuple[list[str], list[FieldError]]:
    batches = list(files.read(BytesIO(content), kind, column, lambda _: None))
    return [one for batch in batches for one in batch.ids], [error for batch in batches for error in batch.errors]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "csv"),
        ("A.CSV", "csv"),
        ("a.ndjson", "ndjson"),
        ("a.jsonl", "ndjson"),
        ("a.txt", "plain"),
        ("-", "plain"),
    ],
)
def test_a_files_name_tells_its_format(name: str, kind: Format) -> None:
    assert files.format_of(name) == kind


def test_plain_is_an_id_a_line_with_or_without_an_end_to_the_last() -> None:
    assert read(b"alice\nbob\r\n\ncarol", "plain") == (["alice", "bob", "carol"], [])


def test_csv_has_its_ids_in_the_usual_column_or_in_the_one_that_is_named() -> None:
    content = '\ufeffname,User_ID,mail\nAlice,alice,a@x\n"Bob, Jr.",bob,b@x\n'.encode()
    assert read(content, "csv") == (["alice", "bob"], [])
    assert read(content, "csv", "mail") == (["a@x", "b@x"], [])
    assert read(b"whatever\nalice\nbob\n", "csv") == (["alice", "bob"], [])


def test_csv_without_such_a_column_is_refused_in_words_that_help() -> None:
    with pytest.raises(Unusable, match="--column"):
        read(b"name,mail\nAlice,a@x\n", "csv")
    with pytest.raises(Unusable, match="no column mail"):
        read(b"name,id\nAlice,a\n", "csv", "mail")


def test_a_bad_line_of_csv_is_told_with_its_line() -> None:
    ids, errors = read(b"id,name\nalice,A\nnot an id,B\ncarol,C\n", "csv")
    assert ids == ["alice", "carol"]
    assert [error.line for error in errors if isinstance(error, LineError)] == [3]


def test_ndjson_is_strings_or_objects() -> None:
    content = b'"alice"\n{"recipient": "bob", "x": 1}\n\n{"x": 1}\nnonsense\n{"recipient": "no id"}\n"dave"\n'
    ids, errors = read(content, "ndjson")
    assert ids == ["alice", "bob", "dave"]
    assert [error.line for error in errors if isinstance(error, LineError)] == [4, 5, 6]
    assert read(b'{"who": "alice"}\n', "ndjson", "who") == (["alice"], [])


@pytest.mark.parametrize("kind", files.FORMATS)
def test_a_mark_that_a_file_is_utf8_is_no_part_of_its_first_id(kind: Format) -> None:
    first, second = ('"alice"', '"bob"') if kind == "ndjson" else ("alice", "bob")
    content = "\n".join(["id", first, second] if kind == "csv" else [first, second])
    assert read(content.encode("utf-8-sig"), kind) == (["alice", "bob"], [])


def test_a_mark_that_stands_anywhere_else_belongs_to_its_line() -> None:
    begun = b"x" * 100 + b"\n"
    lines = begun * (files.BLOCK_BYTES // len(begun))
    # At the beginning of the second block, too.
    content = lines + b"y" * (files.BLOCK_BYTES - len(lines) - 1) + b"\n" + BOM_UTF8 + b"alice\n"
    assert read(content, "plain")[0][-1] == "\ufeffalice"


def test_a_csv_that_is_no_text_is_refused() -> None:
    with pytest.raises(Unusable, match="UTF-8"):
        read(b"id\n\xff\xfe\n", "csv")
