"""The parameters of a GET: what each takes, as a sentence and as a check."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from notifications import events
from notifications.exceptions import FieldError, Invalid

Bounds = Mapping[str, tuple[str, Callable[[str], bool]]]

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
LIMITS: Final = frozenset(str(limit) for limit in range(1, MAX_LIMIT + 1))
LIMIT_BOUND: Final = (f"must be a whole number from 1 to {MAX_LIMIT}", LIMITS.__contains__)


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
