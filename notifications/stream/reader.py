"""The worker's side: entries out of the lanes, held until they are settled."""

import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from notifications.stream import keys, scripts
from notifications.stream.client import Shards
from notifications.stream.group import Entry, GroupReader
from notifications.stream.keys import GROUP, LANES, Lane
from notifications.stream.scripts import Call

# Somebody who is just sent something is not to wait for a large batch of bulk: while there is traffic in `live`, and
# for so long after it, batches of bulk are small.
POLITE_SECONDS: Final = 2.0
POLITE_EVENTS: Final = 100
# After each of them the worker waits for `live` as long as that one took, within these bounds: so others have half of
# the processor and the disks, however slow these are just now.
LEAST_REST_MS: Final = 2
MOST_REST_MS: Final = 30
# Entries of bulk at a time, once they were seen to be chunks of many events each; others can have the rest.
CHUNKS_AT_ONCE: Final = 10
# While they are single events again, so many times as many with each look.
MORE: Final = 4


class Done(NamedTuple):
    """An entry whose event is stored."""

    entry: Entry
    event_id: str


class Again(NamedTuple):
    """An entry whose attempt failed: its event as it is tried next, and how long from now."""

    entry: Entry
    event_id: str
    payload: bytes
    delay_ms: int


class Dead(NamedTuple):
    """An entry that is given up, and why: its payload as it is kept. `event_id` is empty where that tells none.

    `life` says how often the event was replayed before.
    """

    entry: Entry
    event_id: str
    payload: bytes
    reason: str
    error: str
    attempts: int
    life: int


class Spread(NamedTuple):
    """A chunk, how many of its events are stored, and the others, which go on as entries of their own: id, payload."""

    entry: Entry
    stored: int
    left: Sequence[tuple[str, bytes]]


Outcome = Done | Again | Dead | Spread


class Reader(GroupReader):
    """One consumer of the group `workers`, over both lanes of every shard, or of some."""

    def __init__(
        self,
        shards: Shards,
        consumer: str,
        *,
        batch_size: int,
        claim_idle_ms: int,
        only: Collection[int] | None = None,
    ) -> None:
        """`only`: the shards that are its own; None: every one."""
        own = sorted(shards.each() if only is None else only)
        self._lanes = {keys.lane(shard, lane).encode(): (shard, lane) for lane in LANES for shard in own}
        super().__init__(shards.client, list(self._lanes), group=GROUP, consumer=consumer, claim_idle_ms=claim_idle_ms)
        self._live = [name for name, (_, lane) in self._lanes.items() if lane == "live"]
        self._bulk = [name for name, (_, lane) in self._lanes.items() if lane == "bulk"]
        self._batch_size = batch_size
        self._count_each = max(1, batch_size // len(own))
        self._bulk_count = self._count_each
        self._ahead: deque[Entry] = deque()
        self._live_at = float("-inf")
        self._part_at: float | None = None

    def read(self, *, block_ms: int | None) -> list[Entry]:
        """The next batch: `live` entries if any wait, else some of `bulk`, else whatever comes within `block_ms`.

        What is read of `bulk` is handed out in parts, between which `live` has its turn.
        """
        each, in_all = self._count_each, self._batch_size
        if entries := self._deliver(self._live, count=each, block_ms=self._rest_ms(), in_all=in_all):
            self._live_at = time.monotonic()
            return entries
        if not self._ahead:
            self._read_ahead(self._deliver_bulk(self._bulk, block_ms=None))
        if not self._ahead and block_ms:
            found = self._deliver_bulk(self._lanes, block_ms=block_ms)
            if live := [entry for entry in found if self._lanes[entry.stream][1] == "live"]:
                self._live_at = time.monotonic()
            self._read_ahead([entry for entry in found if self._lanes[entry.stream][1] == "bulk"])
            if live:
                return live
        return self._part_of_bulk()

    def put_off(self, entries: Iterable[Entry]) -> None:
        """Hand out held entries of `bulk` again, in parts, as if they had just been read."""
        self._ahead += entries

    def within_reach(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of the entries that can be settled just now. The others are held no more, and claimed when they can be.

        All of them where no server answers: then there is nothing to go on with.
        """
        self._ahead = deque(super().within_reach(self._ahead))
        return super().within_reach(entries)

    def _deliver_bulk(self, streams: Collection[bytes], *, block_ms: int | None) -> list[Entry]:
        in_all = self._batch_size if self._bulk_count == self._count_each else 0
        return self._deliver(streams, count=self._bulk_count, block_ms=block_ms, in_all=in_all)

    def _read_ahead(self, entries: list[Entry]) -> None:
        self._ahead += entries
        if any(entry.is_chunk for entry in entries):
            self._bulk_count = min(self._count_each, CHUNKS_AT_ONCE)
        else:
            self._bulk_count = min(self._count_each, self._bulk_count * MORE)

    def _part_of_bulk(self) -> list[Entry]:
        """As many entries as make a batch, at least one if there is one."""
        limit = min(POLITE_EVENTS, self._batch_size) if self._is_polite() else self._batch_size
        part: list[Entry] = []
        events = 0
        while self._ahead and (not part or events + self._ahead[0].events <= limit):
            entry = self._ahead.popleft()
            part.append(entry)
            events += entry.events
        self._part_at = time.monotonic() if part else None
        return part

    def _rest_ms(self) -> int | None:
        """How long to wait for `live` before the next part of bulk; None (not at all) where there is no need."""
        part_at, self._part_at = self._part_at, None
        if part_at is None or not self._is_polite():
            return None
        return min(MOST_REST_MS, max(LEAST_REST_MS, round((time.monotonic() - part_at) * 1000)))

    def _is_polite(self) -> bool:
        """Whether somebody was sent something just now."""
        return time.monotonic() - self._live_at < POLITE_SECONDS

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        """End held entries: what is stored leaves, what failed waits for its next attempt, what is dead is a letter.

        One script a lane and shard, all at once; safe to repeat after an error half-way.
        """
        per_lane: dict[bytes, list[Outcome]] = {}
        for outcome in outcomes:
            per_lane.setdefault(outcome.entry.stream, []).append(outcome)
        lanes = [(*self._lanes[stream], members) for stream, members in per_lane.items()]
        self._run("spread", [self._spread(*lane) for lane in lanes])
        self._run("settle", [self._settle(*lane) for lane in lanes])
        self._release(outcome.entry for members in per_lane.values() for outcome in members)

    def _run(self, script: str, calls: Iterable[Call | None]) -> None:
        scripts.run_each(self._client, script, [call for call in calls if call])

    def _spread(self, shard: int, lane: Lane, outcomes: list[Outcome]) -> Call | None:
        arguments: list[str | bytes | int] = [GROUP, lane]
        for outcome in outcomes:
            if isinstance(outcome, Spread):
                arguments += (outcome.entry.entry_id, outcome.stored, len(outcome.left))
                for event in outcome.left:
                    arguments += event
        names = [keys.lane(shard, lane), keys.inflight(shard), keys.counters(shard)]
        return (names, arguments) if len(arguments) > 2 else None

    def _settle(self, shard: int, lane: Lane, outcomes: list[Outcome]) -> Call | None:
        done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
        again = [outcome for outcome in outcomes if isinstance(outcome, Again)]
        dead = [outcome for outcome in outcomes if isinstance(outcome, Dead)]
        arguments: list[str | bytes | int] = [GROUP, lane, len(done), len(again)]
        arguments += [entry.entry_id for entry, _ in done]
        arguments += [event_id for _, event_id in done]
        for failed in again:
            arguments += (failed.entry.entry_id, failed.event_id, failed.payload, failed.delay_ms)
        for entry, event_id, payload, reason, error, attempts, life in dead:
            arguments += (entry.entry_id, event_id, payload, reason, error, attempts, life)
        names = [
            keys.lane(shard, lane),
            keys.inflight(shard),
            keys.counters(shard),
            keys.dead_letters(shard),
            keys.delayed(shard),
            keys.payloads(shard),
        ]
        return (names, arguments) if len(arguments) > 4 else None
