"""PostgreSQL's arrays in its own binary format, for statements that take thousands of values at once.

psycopg packs a list value by value, in Python and for values of any kind. What is known to be all text, or all
integers, takes a third of that. The format: the server's array_send (src/backend/utils/adt/arrayfuncs.c).
"""

import struct
from collections.abc import Collection
from typing import Final

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

TEXT: Final = 25
BIGINT: Final = 20
SMALLINT: Final = 21

# One dimension; whether there are nulls; the type of the elements; how many; the first one's number.
_header: Final = struct.Struct(">iiIii").pack
_length: Final = struct.Struct(">i").pack
_NULL: Final = _length(-1)
# Most texts are short: their lengths are packed already.
_LENGTHS: Final = [_length(length) for length in range(1024)]


class Packed:
    """An array as it goes to the server; the cast in the statement tells its type."""

    __slots__ = ("array",)

    def __init__(self, array: bytes) -> None:
        self.array = array


class PackedDumper(Dumper):
    """Hands it on."""

    format = Format.BINARY

    def dump(self, obj: Packed) -> Buffer:
        """The parameter as the server takes it."""
        return obj.array


psycopg.adapters.register_dumper(Packed, PackedDumper)


def texts(values: Collection[bytes]) -> Packed:
    """A text[] of what is UTF-8 already."""
    parts = [b""] * (2 * len(values))
    parts[0::2] = [_LENGTHS[n] if (n := len(value)) < 1024 else _length(n) for value in values]
    parts[1::2] = values
    return _array(TEXT, len(values), b"".join(parts))


def optional_texts(values: Collection[str | None]) -> Packed:
    """A text[], null where there is none."""
    if not any(values):
        return _array(TEXT, len(values), _NULL * len(values), nulls=1)
    parts = [_NULL if value is None else _length(len(text := value.encode())) + text for value in values]
    return _array(TEXT, len(values), b"".join(parts), nulls=1)


def bigints(values: Collection[int]) -> Packed:
    """A bigint[]. Raises psycopg's DataError for what is none."""
    return _integers(BIGINT, ">iq", values)


def smallints(values: Collection[int]) -> Packed:
    """A smallint[]. Raises psycopg's DataError for what is none."""
    return _integers(SMALLINT, ">ih", values)


def _integers(oid: int, element: str, values: Collection[int]) -> Packed:
    item = struct.Struct(element)
    pack, size = item.pack, item.size - 4
    try:
        elements = b"".join([pack(size, value) for value in values])
    except struct.error as error:
        raise psycopg.DataError(f"integer out of range: {error}") from None
    return _array(oid, len(values), elements)


def _array(oid: int, count: int, elements: bytes, *, nulls: int = 0) -> Packed:
    return Packed(_header(1, nulls, oid, count, 1) + elements)
