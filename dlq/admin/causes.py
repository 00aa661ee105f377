"""Why the letters of a list are dead: their groups, as rows above it."""

from datetime import datetime
from typing import Final, NamedTuple

from django.db.models import QuerySet

from dlq import groups
from dlq.admin import words
from dlq.models import DeadLetter

SHOWN: Final = 10
ORDERS: Final = ("most", "newest")


class Cause(NamedTuple):
    """Letters that were given up for one reason, with errors of one kind."""

    reason: str
    fingerprint: str
    letters: int
    newest: datetime
    error: str


class Causes(NamedTuple):
    """The first causes in the order asked for, and whether there are more."""

    shown: list[Cause]
    more: bool


def of(letters: QuerySet[DeadLetter], order: str = "most", shown: int = SHOWN) -> Causes:
    """The causes of these letters: `most` letters first or `newest` first."""
    found = groups.of(letters, order, shown)
    causes = [Cause(g.reason, g.fingerprint, g.letters, g.newest, words.first_line(g.error)) for g in found.shown]
    return Causes(causes, found.more)
