"""What a list of dead letters was asked for: its filters and its search, as criteria of a replay and as words."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from django.db.models import QuerySet
from django.utils import timezone

from dlq.models import DeadLetter
from dlq.replay import Criteria

SINCE: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
# The parameters of the list's address that choose letters.
COLUMNS: Final = ("reason", "fingerprint", "type")
EVERY_STATUS: Final = "all"
# No index helps to find words in an error: so many errors are read, in a good second.
MOST_READ: Final = 100_000

ONLY_THE_DEAD: Final = "Only dead letters can be replayed, and this list shows others. Choose the status “dead”."
NOTHING: Final = "There is no dead letter that matches and can be replayed as it is."
NOT_BY_ERROR: Final = (
    "A search for words in the error is for looking, and no criterion of a replay. "
    "Choose a cause from the table above the list: its letters failed in the same way."
)


class Impossible(Exception):
    """What the list shows cannot be replayed as a whole; the message says why, and what to do instead."""


class Meaning(NamedTuple):
    """What a search is taken for: a field, and the value it has to have (`error`: to have in it)."""

    field: str
    value: str

    def among(self, letters: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        """Those of the letters that have it; of words in the error, those of the newest MOST_READ."""
        if self.field != "error":
            return letters.filter(**{self.field: self.value})
        newest = letters.order_by("-last_failed_at", "-id").values("pk")[:MOST_READ]
        return letters.filter(pk__in=newest, error__icontains=self.value)


def meaning(search: str) -> Meaning | None:
    """What somebody who searches for this looks for: the first of these that there is; None for no search.

    Exact matches go first, so that a recipient is found along an index; words in an error are the last resort.
    """
    text = search.strip()
    if not text or "\x00" in text:
        return None
    for field, may_be in _FIELDS:
        if may_be(text) and DeadLetter.objects.filter(**{field: text}).exists():
            return Meaning(field, text)
    return Meaning("error", text)


def since(name: str) -> datetime | None:
    """When the last hour, day or week began; None for any other name."""
    return timezone.now() - SINCE[name] if name in SINCE else None


def criteria(query: Mapping[str, str]) -> Criteria:
    """The dead letters that a list with these parameters shows. Raises Impossible."""
    if query.get("status", "dead") not in {"dead", EVERY_STATUS, ""}:
        raise Impossible(ONLY_THE_DEAD)
    if any("\x00" in value for value in query.values()):
        raise Impossible(NOTHING)
    columns: dict[str, Any] = {name: query.get(name) or None for name in COLUMNS}
    chosen = Criteria(since=since(query.get("since", "")), **columns)
    sought = meaning(query.get("q", ""))
    if sought is None:
        return chosen
    if sought.field == "error":
        raise Impossible(NOT_BY_ERROR)
    if sought.field == "id":
        return msgspec.structs.replace(chosen, ids=[UUID(sought.value)])
    if getattr(chosen, sought.field) not in {None, sought.value}:
        raise Impossible(f"No letter has two of them: {sought.field} is “{getattr(chosen, sought.field)}”.")
    return msgspec.structs.replace(chosen, **{sought.field: sought.value})


def is_id(text: str) -> bool:
    """Whether a text can be a letter's id."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


_FIELDS: Final[tuple[tuple[str, Callable[[str], object]], ...]] = (
    ("id", is_id),
    ("recipient", lambda text: len(text) <= 128),
    ("fingerprint", lambda text: re.fullmatch(r"[0-9a-f]{12}", text)),
    ("type", lambda text: re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", text)),
)
