"""The parameters of a GET: what each takes, as a sentence and as a check; and the page that they ask for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from notifications import events
from notifications.exceptions import FieldError, Invalid

M = TypeVar("M", bound=Model)

Bounds = Mapping[str, tuple[str, Callable[[str], bool]]]

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
LIMITS: Final = frozenset(str(limit) for limit in range(1, MAX_LIMIT + 1))
LIMIT_BOUND: Final = (f"must be a whole number from 1 to {MAX_LIMIT}", LIMITS.__contains__)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


CURSOR_BOUND: Final = ("must be the 'next' of an earlier page", _is_id)


class Page(NamedTuple, Generic[M]):
    """The rows of a page, and the cursor of the next one; None on the last."""

    rows: list[M]
    following: str | None


def page_of(rows: QuerySet[M], query: Mapping[str, str]) -> Page[M]:
    """The page of rows, newest id first, that the `limit` and the `cursor` of a checked query ask for."""
    limit = int(query.get("limit", DEFAULT_LIMIT))
    if "cursor" in query:
        rows = rows.filter(pk__lt=UUID(query["cursor"]))
    found = list(rows.order_by("-pk")[: limit + 1])
    shown = found[:limit]
    return Page(shown, str(shown[-1].pk) if len(found) > limit else None)


def asked(parameters: Mapping[str, str], bounds: Bounds) -> dict[str, str]:
    """What a query asks for, checked. Raises Invalid with every unknown name and every broken rule."""
    # `type=` in an address that some template made asks for nothing.
    query = {name: value for name, value in parameters.items() if value}
    if errors := [*_unknown(query, bounds), *_out_of_bounds(query, bounds)]:
        raise Invalid(errors)
    return query


def _unknown(query: Mapping[str, str], bounds: Bounds) -> Iterator[FieldError]:
    known = ", ".join(sorted(bounds))
    for name in query.keys() - bounds.keys():
        yield FieldError(f"/{events.pointer_token(name)}", f"is not one of: {known}")


def _out_of_bounds(query: Mapping[str, str], bounds: Bounds) -> Iterator[FieldError]:
    for name, (rule, keeps) in bounds.items():
        if name in query and not keeps(query[name]):
            yield FieldError(f"/{name}", rule)
