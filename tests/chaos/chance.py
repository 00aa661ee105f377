"""What is left to chance, and yet the same for the same seed."""

from collections.abc import Iterator
from random import Random


def drawn(seed: int, part: str) -> Random:
    """The random numbers of one part of a run: the same for the same seed."""
    return Random(f"{seed} {part}")  # noqa: S311 - to be repeatable is all that is asked of them


def moments(random: Random, seconds: float, per_second: float) -> Iterator[float]:
    """Times at random, as they come in life: so many a second, in no rhythm."""
    at = random.expovariate(per_second)
    while at < seconds:
        yield at
        at += random.expovariate(per_second)
