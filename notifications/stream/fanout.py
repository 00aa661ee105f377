"""Bulk jobs in Redis: how far each has been fanned out into the bulk lane, and whether it may go on.

A job stands in each shard for itself, as a small hash, whatever the length of its list. Chunks and position are written
by one script, so a chunk is in the lane exactly once, whoever dies; a job that is paused or cancelled is so from one
script to the next. What was not fanned out by then stays where it was: with the caller.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

from notifications.stream import keys, scripts
from notifications.stream.client import Shards
from notifications.stream.cluster import AWAY, is_gone
from notifications.stream.keys import Lane

LANE: Final[Lane] = "bulk"
# A bulk worker that was not heard of for so long has the job no more.
HELD_MS: Final = 2000

State = Literal["running", "paused", "cancelled"]
What = Literal["fanned", "full", "held", "stale", "paused", "cancelled", "gone"]


class Order(NamedTuple):
    """What a job is to do: the newer revision counts.

    `rates`: events a second by shard; None: no limit. `ends`: how many recipients of each shard are to be fanned out,
    which is said once, when it is begun; None: all that there are.
    """

    state: State
    revision: int
    rates: Sequence[float] | None
    ends: Sequence[int] | None = None


class Standing(NamedTuple):
    """How a job stands in a shard: the last order that it was told, and how many recipients are fanned out."""

    state: State
    revision: int
    position: int


class Crowd(NamedTuple):
    """What a shard holds: entries in the bulk lane, and events that failed and wait for what is next."""

    lane: int
    failed: int


class Fanned(NamedTuple):
    """What became of a call, where the job is then, and for how many milliseconds there is no use in another."""

    what: What
    position: int
    wait_ms: int


class Fanout:
    """The bulk jobs under way, in every shard."""

    def __init__(self, shards: Shards, holder: str = "") -> None:
        """`holder`: the bulk worker that fans out; whoever only looks and steers is none."""
        self.shards = shards
        self._holder = holder

    def open(self, job_id: str, order: Order) -> None:
        """Begin a job in every shard where it is not begun. Safe at any time while it is not over."""
        scripts.run_each(self.shards.client, "open", self._calls(job_id, order))

    def steer(self, job_id: str, order: Order) -> list[int | None]:
        """Carry out an order; how many recipients of each shard were fanned out when it took effect.

        None where the job is not begun there. When this returns, the order has taken effect everywhere.
        """
        positions = scripts.run_each(self.shards.client, "steer", self._calls(job_id, order))
        return [None if position < 0 else position for position in positions]

    def standings(self, job_ids: Iterable[str]) -> dict[str, list[Standing | None]]:
        """How jobs stand in each shard; None where one is not begun."""
        names = list(job_ids)
        pipe = self.shards.client.pipeline(transaction=False)
        for job_id in names:
            for shard in self.shards.each():
                pipe.hmget(keys.job(shard, job_id), ["state", "revision", "position"])
        answers = iter(pipe.execute())
        return {job_id: [_standing(next(answers)) for _ in self.shards.each()] for job_id in names}

    def crowds(self) -> list[Crowd]:
        """What each shard holds; that it is full, where its node is away. Raises RedisError where no server answers."""
        pipe = self.shards.client.pipeline(transaction=False)
        for shard in self.shards.each():
            pipe.xlen(keys.lane(shard, LANE))
            pipe.zcard(keys.delayed(shard))
            pipe.xlen(keys.dead_letters(shard))
        told = pipe.execute(raise_on_error=False)
        crowds = [_crowd(told[place : place + 3]) for place in range(0, len(told), 3)]
        if all(crowd is FULL for crowd in crowds) and is_gone(self.shards.client):
            raise told[0]
        return crowds

    def fan(
        self, job_id: str, shard: int, *, position: int, event: bytes, chunks: Sequence[Sequence[str]], limit: int
    ) -> Fanned:
        """Put chunks of recipients, from a position on, into the lane as long as that holds less than `limit`."""
        arguments: list[str | bytes | int] = [self._holder, HELD_MS, limit, position, event]
        for chunk in chunks:
            arguments += ("\n".join(chunk), len(chunk))
        names = [keys.lane(shard, LANE), keys.job(shard, job_id), keys.counters(shard)]
        what, reached, wait_ms = scripts.run(self.shards.client, "fan", names, arguments)
        return Fanned(what.decode(), reached, wait_ms)

    def close(self, job_id: str) -> None:
        """Forget a job that is over."""
        pipe = self.shards.client.pipeline(transaction=False)
        for shard in self.shards.each():
            pipe.delete(keys.job(shard, job_id))
        pipe.execute()

    def _calls(self, job_id: str, order: Order) -> list[tuple[list[str], list[str | int]]]:
        rates = ["" if order.rates is None else f"{order.rates[shard]:.9g}" for shard in self.shards.each()]
        ends = ["" if order.ends is None else order.ends[shard] for shard in self.shards.each()]
        return [
            ([keys.job(shard, job_id)], [order.state, order.revision, rates[shard], ends[shard]])
            for shard in self.shards.each()
        ]


FULL: Final = Crowd(1 << 31, 0)


def _crowd(told: list[Any]) -> Crowd:
    for answer in told:
        if isinstance(answer, AWAY):
            return FULL
        if isinstance(answer, Exception):
            raise answer
    lane, delayed, dead = told
    return Crowd(lane, delayed + dead)


def _standing(values: list[bytes | None]) -> Standing | None:
    state, revision, position = values
    if state is None or revision is None or position is None:
        return None
    name: State = state.decode()  # type: ignore[assignment]  # what the scripts write
    return Standing(name, int(revision), int(position))
