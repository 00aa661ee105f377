"""What waits in Redis just now, and how much was done in all: one round trip, whatever the number of shards."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from redis.client import Pipeline
from redis.exceptions import ResponseError

from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.keys import LANES
from notifications.stream.register import COUNTERS


class Queue(NamedTuple):
    """A stream, over all shards: its entries, those that somebody has read and not settled, the oldest one's time.

    `entries` includes `in_hand`. `oldest_ms`: Unix ms, None where the stream is empty.
    """

    entries: int = 0
    in_hand: int = 0
    oldest_ms: int | None = None

    @property
    def waiting(self) -> int:
        """Entries that nobody has read yet."""
        return max(0, self.entries - self.in_hand)


class Timed(NamedTuple):
    """What waits for its time, over all shards: how many, and when the first is due (Unix ms; None: none waits)."""

    waiting: int = 0
    first_ms: int | None = None


class Totals(NamedTuple):
    """What was done since the first start, over all shards (see keys.counters)."""

    accepted: int = 0
    stored: int = 0
    retried: int = 0
    dead: int = 0
    fired: int = 0


class Gauges(NamedTuple):
    """All of it, at one time of Redis' own (Unix ms). Of `bulk`, an entry may be a chunk of many events.

    `fullest`: the entries in both lanes of the shard that has most of them: the door is shut shard by shard.
    """

    at_ms: int
    live: Queue
    bulk: Queue
    delayed: Timed
    scheduled: Timed
    dead_letters: Queue
    totals: Totals
    fullest: int = 0


def read(shards: Shards) -> Gauges:
    """Look at every shard. Raises RedisError."""
    pipe = shards.client.pipeline(transaction=False)
    pipe.time()
    for shard in shards.each():
        _ask(pipe, shard)
    server_time, *answers = map(_known, pipe.execute(raise_on_error=False))
    found = iter(answers)
    parts = [_taken(found) for _ in shards.each()]
    live, bulk, letters, delayed, scheduled, totals = zip(*parts, strict=True)
    return Gauges(
        at_ms=server_time[0] * 1000 + server_time[1] // 1000,
        live=_all_queues(live),
        bulk=_all_queues(bulk),
        dead_letters=_all_queues(letters),
        delayed=_all_timed(delayed),
        scheduled=_all_timed(scheduled),
        totals=Totals(*(sum(counts) for counts in zip(*totals, strict=True))),
        fullest=max(one.entries + other.entries for one, other in zip(live, bulk, strict=True)),
    )


def _ask(pipe: Pipeline, shard: int) -> None:
    """Ask a shard; `_taken` takes the answers in the same order."""
    for stream in (*(keys.lane(shard, lane) for lane in LANES), keys.dead_letters(shard)):
        pipe.xlen(stream)
        pipe.xinfo_groups(stream)
        pipe.xrange(stream, count=1)
    for waiting in (keys.delayed(shard), keys.scheduled(shard)):
        pipe.zcard(waiting)
        pipe.zrange(waiting, 0, 0, withscores=True)
    pipe.hmget(keys.counters(shard), COUNTERS)


def _taken(answers: Iterator[Any]) -> tuple[Queue, Queue, Queue, Timed, Timed, Totals]:
    live, bulk, letters = (_queue(*islice(answers, 3)) for _ in range(3))
    delayed, scheduled = (_timed(*islice(answers, 2)) for _ in range(2))
    return live, bulk, letters, delayed, scheduled, Totals(*(int(count or 0) for count in next(answers)))


def _known(answer: Any) -> Any:  # noqa: ANN401 - whatever Redis answers
    """An answer. A stream that is not there yet has no groups, which an error to Redis; any other is one here too."""
    if isinstance(answer, ResponseError) and "no such key" in str(answer):
        return []
    if isinstance(answer, Exception):
        raise answer
    return answer


def _queue(entries: int, groups: list[dict[str, Any]], oldest: list[tuple[bytes, object]]) -> Queue:
    # A stream has one group: that of the workers, or that of the recorders.
    in_hand = sum(group["pending"] for group in groups)
    return Queue(entries, in_hand, int(oldest[0][0].partition(b"-")[0]) if oldest else None)


def _timed(waiting: int, first: list[tuple[bytes, float]]) -> Timed:
    return Timed(waiting, int(first[0][1]) if first else None)


def _all_queues(queues: Iterable[Queue]) -> Queue:
    entries, in_hand, oldest = zip(*queues, strict=True)
    return Queue(sum(entries), sum(in_hand), _first(oldest))


def _all_timed(timed: Iterable[Timed]) -> Timed:
    waiting, firsts = zip(*timed, strict=True)
    return Timed(sum(waiting), _first(firsts))


def _first(times: Iterable[int | None]) -> int | None:
    return min((time for time in times if time is not None), default=None)
