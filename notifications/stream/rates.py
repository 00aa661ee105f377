"""Rates: how many events somebody may send, or be sent, in a time; kept by one script in Redis' own time.

A rate of `20/m` lets 20 events through at once, its burst, and then one every three seconds. A rate that is whole has
no key: who is idle costs nothing.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, gcd
from typing import Final, NamedTuple

from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.clock import ServerClock
from notifications.stream.timely import Timely

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MICROSECONDS: Final = 1_000_000


class Rate(NamedTuple):
    """A rate: its text, its burst (events), its window (seconds), and one event's share of that, p/q microseconds."""

    text: str
    burst: int
    window: int
    p: int
    q: int


class Standing(NamedTuple):
    """How a rate stands after something was asked of it.

    `taken`: whether it was given. `left`: how many events it has now. `seconds`, rounded up: until it will have as
    many as were asked for, or, where it was taken, until it is whole again.
    """

    taken: bool
    left: int
    seconds: int


class Toll(NamedTuple):
    """What lets a request to send pass: the key of its caller's mirror, what that held, and the rate it takes from."""

    mirror_name: str
    mirror: bytes
    rate_name: str
    rate: Rate


@lru_cache(maxsize=4096)
def parse(text: str) -> Rate:
    """The rate that a text such as `20/m` stands for. Raises ValueError and KeyError where it is none."""
    number, _, unit = text.partition("/")
    burst, window = int(number), SECONDS[unit]
    common = gcd(window * MICROSECONDS, burst)
    return Rate(text, burst, window, window * MICROSECONDS // common, burst // common)


class Rates:
    """Every rate. One that is taken from in vain stays as it is.

    A take whose answer was lost with its connection is asked again, and may count twice.
    """

    def __init__(self, shards: Shards, clock: ServerClock, *, patience_ms: int) -> None:
        """`patience_ms`: how long the caller waits for an answer. Nothing is taken later."""
        self._shards = shards
        self._timely = Timely(shards.own, clock, patience_ms=patience_ms)

    def take(self, caller: str, rate: Rate, events: int, since: float | None = None) -> Standing:
        """Take events from a caller's rate, all or none; less than 0: give back. `since`: see Timely.run."""
        return self._run([keys.rate(caller, rate.text)], rate, [events], since)[0]

    def take_each(
        self, recipients: Sequence[str], rate: Rate, events: int = 1, since: float | None = None
    ) -> list[Standing]:
        """Take events (1; -1: give one back) from the rate of each recipient, all of the same shard, in their order.

        One who is named twice is taken from twice.
        """
        names = [keys.recipient_rate(self._shards.of(recipient), recipient, rate.text) for recipient in recipients]
        return self._run(names, rate, [events] * len(names), since)

    def _run(self, names: list[str], rate: Rate, events: list[int], since: float | None) -> list[Standing]:
        _, *flat = self._timely.run("rate", names, [rate.window * MICROSECONDS, rate.p, rate.q, *events], since=since)
        return [standing(*told) for told in zip(flat[::3], flat[1::3], flat[2::3], strict=True)]


def standing(taken: int, left: int, microseconds: int) -> Standing:
    """How a rate stands by what a script tells."""
    return Standing(taken == 1, left, ceil(microseconds / MICROSECONDS))
