"""What errors of one cause have in common."""

import hashlib
import re
from typing import Final

DIGITS: Final = 12

# What differs from event to event, in the order in which it is looked for. An apostrophe in a word opens no quotation.
_VARYING: Final = re.compile(
    r"""
      ^DETAIL:[\s\S]*?(?=^(?:HINT|CONTEXT):|\Z)          # the row that PostgreSQL refuses
    | \b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b   # an id
    | (?<!\w)'[^'\n]*'(?!\w) | "[^"\n]*"                # something quoted
    | \b0x[0-9a-f]+\b | \b(?=[a-f]*[0-9])[0-9a-f]{8,}\b # hexadecimal
    | \d+(?:[.,:]\d+)*                                  # a number, a time, a version
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)


def fingerprint(reason: str, error: str) -> str:
    """Twelve hex digits, the same for errors that differ only in ids, numbers and quoted values."""
    shape = f"{reason}\n{_VARYING.sub('*', error)}"
    return hashlib.sha256(shape.encode(errors="replace")).hexdigest()[:DIGITS]
