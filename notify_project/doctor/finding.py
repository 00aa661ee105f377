"""What a check finds."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, TypeVar

Level = Literal["ok", "warn", "fail"]
F = TypeVar("F")


class Finding(NamedTuple):
    """One line of the answer. `fail`: not fit for production. `mend`: what to do about it; empty where all is well."""

    level: Level
    check: str
    detail: str
    mend: str = ""


Check = Callable[[F], Finding | None]


def apply(checks: Iterable[Check[F]], facts: F) -> Iterator[Finding]:
    """What the checks find in facts; one that has nothing to say of them says nothing."""
    yield from filter(None, (check(facts) for check in checks))


def judged(check: str, *, good: bool, detail: str, mend: str, worse: Level = "fail") -> Finding:
    """A finding that is `ok`, or `worse` with its mend."""
    return Finding("ok", check, detail) if good else Finding(worse, check, detail, mend)
