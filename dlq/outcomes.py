"""What became of the letters of an order, from their passages: a later order of the same letters changes nothing."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count, Exists, OuterRef
from django.db.models.functions import Coalesce

from dlq.models import Passage, Replay
from notifications.models import Notification

Kind = Passage.Kind


class Outcome(NamedTuple):
    """How many of an order's letters came to which end; together as many as it took.

    `dead`: died again, or put back as they cannot be read. `on_the_way`: in the pipeline, or about to go back into it.
    """

    stored: int
    dead: int
    on_the_way: int


def of(orders: Iterable[Replay]) -> dict[UUID, Outcome]:
    """The outcome of each order, by its id: one query, along the index on a passage's order."""
    same = Passage.objects.filter(replay=OuterRef("replay"), letter=OuterRef("letter"))
    row = Notification.objects.filter(pk=Coalesce(OuterRef("letter__replayed_as"), OuterRef("letter")))
    ids = [order.pk for order in orders]
    taken = Passage.objects.filter(replay__in=ids, kind=Kind.ORDERED).order_by()
    facts = {
        "failed": Exists(same.filter(kind__in=(Kind.DIED, Kind.UNREADABLE))),
        "closed": Exists(same.filter(kind=Kind.STORED)),
        "row": Exists(row),
    }
    counted: dict[UUID, Counter[str]] = defaultdict(Counter)
    groups: Any = taken.values("replay", **facts).annotate(n=Count("*"))
    for group in groups:
        counted[group["replay"]][_end(**{fact: group[fact] for fact in facts})] += group["n"]
    return {pk: Outcome(**{end: counted[pk][end] for end in Outcome._fields}) for pk in ids}


def _end(*, failed: bool, closed: bool, row: bool) -> str:
    if failed:
        return "stored" if closed else "dead"
    return "stored" if row else "on_the_way"
