"""What every long-running process tells of itself, and what all of them did in the last quarter of an hour.

Times are Redis' own. The past is kept in timespans of five seconds: in each, whoever comes first notes the totals of
the counters, and every worker adds how long its events took, in buckets. So a curve needs nobody who watches.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

import msgspec
import redis

from notifications.stream import keys, layout, scripts
from notifications.stream.client import Shards

SPAN_SECONDS: Final = 5
SPAN_MS: Final = SPAN_SECONDS * 1000
HISTORY_SECONDS: Final = 900
# A little longer than the history, so that its first timespan is there to its end.
KEPT_SECONDS: Final = 960

# Of a report every two seconds.
SILENT_MS: Final = 5_000
DEAD_MS: Final = 10_000
STOPPED_MS: Final = 10_000
FORGOTTEN_MS: Final = 60_000

# So many buckets for each power of ten, from a millisecond to an hour: the middle of one is off by 5 % at most.
BUCKETS_A_DECADE: Final = 24
LAST_BUCKET: Final = 157

State = Literal["alive", "silent", "dead", "stopped"]
COUNTERS: Final = ("accepted", "stored", "retried", "dead", "fired")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a process tells of itself. Rates are per second since it last told; the last three are a gateway's."""

    kind: str
    host: str
    pid: int
    handled: int
    rate: float
    rss_bytes: int
    sockets: int | None = None
    recipients: int | None = None
    frame_rate: float | None = None


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process as it last told of itself, `beat_age_ms` ago. `started_at` is Unix ms.

    `silent`: not heard of for longer than between two reports; `dead`: for so long that it is not coming back, as far
    as can be told; `stopped`: it said goodbye.
    """

    name: str
    kind: str
    host: str
    pid: int
    started_at: int
    beat_age_ms: int
    state: State
    handled: int
    rate: float
    rss_bytes: int
    sockets: int | None
    recipients: int | None
    frame_rate: float | None


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """What was done in the five seconds from `at` (Unix ms) on. `failed`: attempts that are tried again.

    `latencies`: of the events of the lane `live` that were stored, how many took how long, by bucket.
    """

    at: int
    accepted: int
    stored: int
    failed: int
    dead: int
    fired: int
    latencies: Mapping[int, int]


class Register:
    """The writing side: one process' own entry, under its name."""

    def __init__(self, shards: Shards, name: str) -> None:
        self._shards = shards
        self._name = name
        # Redis' clock less this process' monotonic one.
        self._offset_ms: float | None = None

    def report(self, report: Report, latencies: Mapping[int, int], *, age_ms: int, stopped: bool = False) -> None:
        """Tell, and note the totals of the counters where nobody did in this timespan. `age_ms`: since the start.

        Raises OtherShards where Redis came back with another number of shards; and RedisError.
        """
        layout.fix(self._shards)
        names = [keys.processes(), keys.timespan(self._present()), keys.latencies()]
        arguments: list[str | bytes | int] = [self._name, "stopped" if stopped else "alive", age_ms]
        arguments += [msgspec.json.encode(report), KEPT_SECONDS]
        for slot, count in latencies.items():
            arguments += (slot, count)
        asked = _monotonic_ms()
        now_ms, noted = scripts.run(self._shards.client, "report", names, arguments)
        self._offset_ms = now_ms - (asked + _monotonic_ms()) / 2
        if not noted:
            self._note(names[1])

    def now_ms(self) -> int | None:
        """Redis' time as it was at the last report, gone on since; None before the first. Asks nobody."""
        return None if self._offset_ms is None else round(_monotonic_ms() + self._offset_ms)

    def _present(self) -> int:
        now_ms = self.now_ms()
        return (_server_ms(self._shards.client.time()) if now_ms is None else now_ms) // SPAN_MS

    def _note(self, timespan: str) -> None:
        """Note the counters, which are in other slots than the timespan; and see who is long gone."""
        pipe = self._shards.client.pipeline(transaction=False)
        for shard in self._shards.each():
            pipe.hmget(keys.counters(shard), COUNTERS)
        pipe.time()
        *counters, server_time = pipe.execute()
        totals = [sum(int(count or 0) for count in counts) for counts in zip(*counters, strict=True)]
        note = " ".join(map(str, (_server_ms(server_time), *totals)))
        scripts.run(self._shards.client, "note", [timespan], [note, KEPT_SECONDS])
        processes(self._shards.client)


def processes(client: redis.Redis) -> list[Process]:
    """Every process that told of itself and is not long gone, by kind and start. Raises RedisError."""
    pipe = client.pipeline(transaction=False)
    pipe.time()
    pipe.hgetall(keys.processes())
    server_time, entries = pipe.execute()
    now_ms = _server_ms(server_time)
    known = {name: _process(name, entry, now_ms) for name, entry in entries.items()}
    gone = [name for name, process in known.items() if process is None]
    if gone:
        client.hdel(keys.processes(), *gone)
    found = [process for process in known.values() if process]
    return sorted(found, key=lambda process: (process.kind, process.started_at, process.name))


def history(client: redis.Redis, seconds: int = HISTORY_SECONDS) -> list[Slice]:
    """The slices that are over, of so many seconds, oldest first. One that nobody saw is missing. Raises RedisError."""
    now = _server_ms(client.time()) // SPAN_MS
    first = now - seconds // SPAN_SECONDS
    spans = _timespans(client, range(first - 1, now + 1))
    totals = [_at_border(*pair) for pair in pairwise(spans)]
    borders = zip(spans[1:], pairwise(totals), strict=False)
    return [_slice(span, start, end) for span, (start, end) in borders if start and end]


def latencies(client: redis.Redis, seconds: int = 30) -> dict[int, int]:
    """How many events of the lane `live` took how long, by bucket, in so many seconds up to now. Raises RedisError."""
    now = _server_ms(client.time()) // SPAN_MS
    spans = _timespans(client, range(now - seconds // SPAN_SECONDS + 1, now + 1))
    return merged(span.latencies for span in spans)


def latencies_ever(client: redis.Redis) -> dict[int, int]:
    """The same since the first start. Raises RedisError."""
    found: Any = client.hgetall(keys.latencies())
    return {int(number): int(count) for number, count in found.items()}


def middle_ms(number: int) -> float:
    """The geometric middle of a bucket, in milliseconds."""
    return float(10 ** ((number + 0.5) / BUCKETS_A_DECADE))


def upper_seconds(number: int) -> float:
    """The longest duration of a bucket, in seconds; what took longer than that of LAST_BUCKET is in it, too."""
    return float(10 ** ((number + 1) / BUCKETS_A_DECADE)) / 1000


def merged(several: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Several counts by bucket, added up."""
    total = Counter[int]()
    for buckets in several:
        total.update(buckets)
    return dict(total)


def bucket(duration_ms: float) -> int:
    """The bucket of a duration: 0 for a millisecond and less, LAST_BUCKET for about an hour and more."""
    if duration_ms <= 1:
        return 0
    return min(LAST_BUCKET, int(BUCKETS_A_DECADE * math.log10(duration_ms)))


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """The duration in milliseconds that `share` (0 to 1) of all did not pass, within 5 %; None where there is none."""
    rank = max(1, math.ceil(share * sum(buckets.values())))
    for number, count in sorted(buckets.items()):
        rank -= count
        if rank <= 0:
            return middle_ms(number)
    return None


class _Timespan(NamedTuple):
    """What a timespan holds: its number, when the totals were noted in it (Unix ms), the totals, the latencies."""

    number: int
    noted_ms: int
    totals: Sequence[int]
    latencies: Mapping[int, int]


def _timespans(client: redis.Redis, numbers: range) -> list[_Timespan]:
    pipe = client.pipeline(transaction=False)
    for number in numbers:
        pipe.hgetall(keys.timespan(number))
    return [_timespan(number, fields) for number, fields in zip(numbers, pipe.execute(), strict=True)]


def _timespan(number: int, fields: dict[bytes, bytes]) -> _Timespan:
    noted_ms, *totals = map(int, fields.pop(b"totals", b"0").split())
    return _Timespan(number, noted_ms, totals, {int(name[1:]): int(count) for name, count in fields.items()})


def _at_border(before: _Timespan, after: _Timespan) -> Sequence[int] | None:
    """The totals as they were when one timespan became the next; None where nobody noted them in the latter.

    They are noted a moment later, which is another one each time: a straight line from note to note tells better.
    """
    if not after.totals:
        return None
    if not before.totals:
        return after.totals
    border_ms = after.number * SPAN_MS
    share = (border_ms - before.noted_ms) / max(1, after.noted_ms - before.noted_ms)
    share = min(1.0, max(0.0, share))
    return [round(old + (new - old) * share) for old, new in zip(before.totals, after.totals, strict=True)]


def _slice(span: _Timespan, start: Sequence[int], end: Sequence[int]) -> Slice:
    # A Redis that lost its last moments counts them again; nothing was done less than not at all.
    done = [max(0, new - old) for old, new in zip(start, end, strict=True)]
    accepted, stored, failed, dead, fired = done
    return Slice(
        at=span.number * SPAN_MS,
        accepted=accepted,
        stored=stored,
        failed=failed,
        dead=dead,
        fired=fired,
        latencies=span.latencies,
    )


def _process(name: bytes, entry: bytes, now_ms: int) -> Process | None:
    """A process from its entry; None where it is long gone, or nothing that this release can read."""
    head, _, body = entry.partition(b"\n")
    try:
        beat, start, told = head.split(b" ")
        beat_ms, started_ms = int(beat), int(start)
        report = msgspec.json.decode(body, type=Report)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
    age_ms = max(0, now_ms - beat_ms)
    state = _state(age_ms, stopped=told == b"stopped")
    if state is None:
        return None
    return Process(
        name=name.decode(errors="replace"),
        started_at=started_ms,
        beat_age_ms=age_ms,
        state=state,
        **msgspec.structs.asdict(report),
    )


def _state(age_ms: int, *, stopped: bool) -> State | None:
    """None: it is to be forgotten."""
    if stopped:
        return "stopped" if age_ms <= STOPPED_MS else None
    if age_ms > FORGOTTEN_MS:
        return None
    if age_ms > DEAD_MS:
        return "dead"
    return "silent" if age_ms > SILENT_MS else "alive"


def _monotonic_ms() -> float:
    return time.monotonic() * 1000


def _server_ms(answer: Any) -> int:  # noqa: ANN401 - redis-py's answer to TIME has no type
    seconds, microseconds = answer
    return int(seconds * 1000 + microseconds // 1000)
