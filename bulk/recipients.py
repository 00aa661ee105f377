"""Lists of recipients as they come in: each id checked, whatever is none told with its place. No I/O.

A list of any length is read in blocks. A whole block is checked at once, and line by line only where that fails.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Final, NamedTuple, TypeVar

import msgspec

from notifications import events
from notifications.events import RECIPIENT_RULE, Recipient
from notifications.exceptions import FieldError, Invalid

T = TypeVar("T")

MAX_INLINE: Final = 100_000
# An id of 128 characters, each escaped twice over, has 1538 bytes.
MAX_LINE_BYTES: Final = 4 * 1024
MAX_HEAD_BYTES: Final = 64 * 1024
# So many ids are looked at at once where they come one by one.
IDS_AT_ONCE: Final = 5000

INLINE_RULE: Final = f"must be a list of 1 to {MAX_INLINE} ids"
STRING_RULE: Final = "must be a JSON string in UTF-8 (RFC 8259)"
UTF8_RULE: Final = "must be UTF-8"
NO_ID_RULE: Final = 'must be an id, as it is or as a JSON string; as it is, it begins with none of " { ['
LENGTH_RULE: Final = f"must be at most {MAX_LINE_BYTES} bytes"
HEAD_LENGTH_RULE: Final = f"must be at most {MAX_HEAD_BYTES} bytes: the notification, on a line of its own"

# A line whose id is not as it is.
QUOTED: Final = re.compile(rb'^[ \t]*["{\[]', re.MULTILINE)
WHITE_SPACE: Final = b" \t\r"

_one_decoder: Final = msgspec.json.Decoder(Recipient)
_many_decoder: Final = msgspec.json.Decoder(list[Recipient])
_raws_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])


class _NoId(Exception):
    """A text is no id; the message is the rule that it breaks."""


class LineError(FieldError, frozen=True, kw_only=True, omit_defaults=True):
    """One broken rule in a body of lines: in which (the first is 1), and where in what stands there."""

    line: int
    pointer: str = ""


class Batch(NamedTuple):
    """As much of a list as is looked at at once: its ids in order, and an error for each that is none."""

    ids: list[str]
    errors: list[FieldError]


def of_list(document: msgspec.Raw, at: str) -> Batch:
    """The ids in a JSON array that stands at the pointer `at`. Raises Invalid where it is none, or too long."""
    try:
        raws = _raws_decoder.decode(document)
    except (msgspec.MsgspecError, RecursionError):
        raise Invalid([FieldError(at, INLINE_RULE)]) from None
    if not 1 <= len(raws) <= MAX_INLINE:
        raise Invalid([FieldError(at, INLINE_RULE)])
    try:
        return Batch(_many_decoder.decode(document), [])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _one_by_one(raws, _of_json, lambda place, rule: FieldError(f"{at}/{place}", rule))


def of_ids(ids: Iterable[str], line: int = 1) -> Iterator[Batch]:
    """Ids that were read elsewhere, one a line; the first stands in that `line`."""
    rest = iter(ids)
    while texts := list(islice(rest, IDS_AT_ONCE)):
        yield _one_by_one(texts, _of_text, _at_line(line))
        line += len(texts)


def of_lines(blocks: Iterable[bytes], line: int = 1) -> Iterator[Batch]:
    """The ids in lines, which come in blocks cut anywhere; the first stands in that `line`.

    A line is an id as it is, or as a JSON string; one without anything is passed over.
    """
    for lines in _whole_lines(blocks):
        count = lines.count(b"\n")
        ids = _at_once(lines, count)
        yield _one_by_one(lines.split(b"\n")[:-1], _of_line, _at_line(line)) if ids is None else Batch(ids, [])
        line += count


def first_line(blocks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first line, and the blocks of what follows. Raises Invalid where it is longer than MAX_HEAD_BYTES."""
    head, rest = b"", iter(blocks)
    for block in rest:
        head += block
        if b"\n" in block or len(head) > MAX_HEAD_BYTES:
            break
    first, _, begun = head.partition(b"\n")
    if len(first) > MAX_HEAD_BYTES:
        raise Invalid([LineError(line=1, detail=HEAD_LENGTH_RULE)])
    return first, chain([begun], rest)


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks that end where a line ends. Of a line that is too long, the end is cut off."""
    rest = b""
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end:
            yield rest + block[:end]
            rest = block[end:]
        else:
            rest = (rest + block)[: MAX_LINE_BYTES + 1]
    if rest:
        yield rest + b"\n"


def _at_once(lines: bytes, count: int) -> list[str] | None:
    """The ids in so many whole lines; None where some line is no id, or more than that."""
    try:
        if lines.startswith(b'"'):
            # No JSON string goes over the end of a line: so many of them are one in each.
            ids = _many_decoder.decode(b"[%b]" % lines[:-1].replace(b"\n", b",\n"))
        elif QUOTED.search(lines):
            return None
        else:
            ids = msgspec.convert(lines.decode().replace("\r\n", "\n").split("\n")[:-1], list[Recipient])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return ids if len(ids) == count else None


def _one_by_one(texts: Iterable[T], read: Callable[[T], str], error: Callable[[int, str], FieldError]) -> Batch:
    """A batch of what `read` makes of each text: an id, or nothing of one that is empty."""
    batch = Batch([], [])
    for place, text in enumerate(texts):
        try:
            if recipient := read(text):
                batch.ids.append(recipient)
        except _NoId as rule:
            batch.errors.append(error(place, str(rule)))
    return batch


def _at_line(first: int) -> Callable[[int, str], FieldError]:
    return lambda place, rule: LineError(line=first + place, detail=rule)


def _of_line(line: bytes) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise _NoId(LENGTH_RULE)
    bare = line.strip(WHITE_SPACE)
    if bare.startswith(b'"'):
        return _of_json(bare)
    if bare.startswith((b"{", b"[")):
        raise _NoId(NO_ID_RULE)
    try:
        return _of_text(bare.decode())
    except UnicodeDecodeError:
        raise _NoId(UTF8_RULE) from None


def _of_json(document: bytes | msgspec.Raw) -> str:
    try:
        return _one_decoder.decode(document)
    except msgspec.ValidationError:
        raise _NoId(RECIPIENT_RULE) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _NoId(STRING_RULE) from None


def _of_text(text: str) -> str:
    if text and not events.fits(text, Recipient):
        raise _NoId(RECIPIENT_RULE)
    return text
