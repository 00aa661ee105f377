"""Lists of recipients in files: plain, CSV or NDJSON, read a piece at a time."""

import csv
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from itertools import islice
from pathlib import PurePath
from typing import BinaryIO, Final, Literal

import msgspec

from bulk import recipients
from bulk.recipients import IDS_AT_ONCE, Batch, LineError
from notifications import events
from notifications.events import RECIPIENT_RULE, Recipient
from notifications.exceptions import NotifyError

Format = Literal["plain", "csv", "ndjson"]

FORMATS: Final[tuple[Format, ...]] = ("plain", "csv", "ndjson")
OF_SUFFIX: Final[dict[str, Format]] = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
# What a column of ids is called where nobody says.
USUAL_COLUMNS: Final = ("recipient", "recipient_id", "user_id", "user", "id")
BLOCK_BYTES: Final = 64 * 1024

OBJECT_RULE: Final = "must be an id as a JSON string, or a JSON object with one in '{column}'"


class Unusable(NotifyError):
    """A file that is no list; the message says why."""


def format_of(name: str) -> Format:
    """The format that a file's name tells; what tells none has an id a line."""
    return OF_SUFFIX.get(PurePath(name).suffix.lower(), "plain")


def read(file: BinaryIO, kind: Format, column: str | None, count: Callable[[int], object]) -> Iterator[Batch]:
    """The recipients in a file, batch by batch. `count` is told how many bytes were read each time. Raises Unusable."""
    if kind == "csv":
        return _csv(file, column, count)
    if kind == "ndjson":
        return _ndjson(file, column or USUAL_COLUMNS[0], count)
    return recipients.of_lines(_blocks(file, count))


def _blocks(file: BinaryIO, count: Callable[[int], object]) -> Iterator[bytes]:
    first = True
    while block := file.read(BLOCK_BYTES):
        count(len(block))
        # A spreadsheet's or an editor's mark that the text is UTF-8 is no part of the first id.
        yield block.removeprefix(BOM_UTF8) if first else block
        first = False


def _csv(file: BinaryIO, column: str | None, count: Callable[[int], object]) -> Iterator[Batch]:
    # A spreadsheet begins its files with a byte order mark.
    text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        rows = csv.reader(text)
        place = _place(next(rows, []), column)
        while found := list(islice(rows, IDS_AT_ONCE)):
            count(sum(len(value) + 1 for row in found for value in row))
            first = rows.line_num - len(found) + 1
            yield from recipients.of_ids((row[place].strip() if place < len(row) else "" for row in found), first)
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unusable(f"it is no CSV in UTF-8: {error}") from None


def _place(header: list[str], column: str | None) -> int:
    names = [name.strip().lower() for name in header]
    wanted = [column.lower()] if column else USUAL_COLUMNS
    for name in wanted:
        if name in names:
            return names.index(name)
    if len(names) == 1 and column is None:
        return 0
    raise Unusable(f"its first line names no column {' or '.join(wanted)}; say which with --column")


def _ndjson(file: BinaryIO, column: str, count: Callable[[int], object]) -> Iterator[Batch]:
    line = 0
    while lines := list(islice(file, IDS_AT_ONCE)):
        count(sum(map(len, lines)))
        batch = Batch([], [])
        for text in lines:
            line += 1
            if not text.strip():
                continue
            value = _value(text.removeprefix(BOM_UTF8) if line == 1 else text, column)
            if isinstance(value, str) and events.fits(value, Recipient):
                batch.ids.append(value)
            else:
                rule = RECIPIENT_RULE if isinstance(value, str) else OBJECT_RULE.format(column=column)
                batch.errors.append(LineError(line=line, detail=rule))
        yield batch


def _value(text: bytes, column: str) -> object:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return value.get(column) if isinstance(value, dict) else value
