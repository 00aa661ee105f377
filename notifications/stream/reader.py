"""The worker's side: entries out of the lanes, held until they are settled."""

from collections.abc import Iterable
from typing import NamedTuple

from notifications.stream import keys, scripts
from notifications.stream.client import Shards
from notifications.stream.group import Entry, GroupReader
from notifications.stream.keys import GROUP, LANES, Lane


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


Outcome = Done | Again | Dead


class Reader(GroupReader):
    """One consumer of the group `workers`, over every shard and both lanes."""

    def __init__(self, shards: Shards, consumer: str, *, batch_size: int, claim_idle_ms: int) -> None:
        self._lanes = {keys.lane(shard, lane).encode(): (shard, lane) for lane in LANES for shard in shards.each()}
        super().__init__(shards.client, list(self._lanes), group=GROUP, consumer=consumer, claim_idle_ms=claim_idle_ms)
        self._count_each = max(1, batch_size // shards.count)

    def read(self, *, block_ms: int | None) -> list[Entry]:
        """The next batch: `live` entries if any wait, else `bulk` ones, else whatever comes within `block_ms`."""
        for lane in LANES:
            names = [name for name, (_, of) in self._lanes.items() if of == lane]
            if entries := self._deliver(names, count=self._count_each, block_ms=None):
                return entries
        return self._deliver(self._lanes, count=self._count_each, block_ms=block_ms) if block_ms else []

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        """End held entries: what is stored leaves, what failed waits for its next attempt, what is dead is a letter.

        One script a lane and shard; safe to repeat after an error half-way.
        """
        per_lane: dict[bytes, list[Outcome]] = {}
        for outcome in outcomes:
            per_lane.setdefault(outcome.entry.stream, []).append(outcome)
        for stream, members in per_lane.items():
            self._settle(*self._lanes[stream], members)
        self._release(outcome.entry for members in per_lane.values() for outcome in members)

    def _settle(self, shard: int, lane: Lane, outcomes: list[Outcome]) -> None:
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
        scripts.run(self._client, "settle", names, arguments)
