"""The worker's side: entries out of the lanes, held until they are settled."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import ResponseError

from notifications.stream import keys, scripts
from notifications.stream.client import Shards
from notifications.stream.keys import GROUP, LANES, Lane

PAYLOAD: Final = b"event"
CLAIM_STEP: Final = 1000


class Entry(NamedTuple):
    """One delivered stream entry. `payload` is empty where the entry holds no event."""

    shard: int
    lane: Lane
    entry_id: bytes
    payload: bytes


class Dead(NamedTuple):
    """An entry that is given up, and why. `event_id` is empty where the payload could not be read."""

    entry: Entry
    event_id: str
    reason: str
    error: str
    attempts: int


class Reader:
    """One consumer of the group `workers`, over every shard and both lanes.

    It holds one batch at a time: what it read or claimed last. Held entries are its own as long as they are renewed
    (`renew`) more often than `claim_idle_ms`; after that any reader may claim them.
    """

    def __init__(self, shards: Shards, consumer: str, *, batch_size: int, claim_idle_ms: int) -> None:
        self._shards = shards
        self._consumer = consumer
        self._batch_size = batch_size
        self._claim_idle_ms = claim_idle_ms
        self._lanes = {keys.lane(shard, lane).encode(): (shard, lane) for lane in LANES for shard in shards.each()}
        self._claim_from: dict[bytes, bytes] = dict.fromkeys(self._lanes, b"0-0")
        self._held: Sequence[Entry] = ()

    def create_groups(self) -> None:
        """Make streams and groups that are not there, from the first entry on. Safe at any time."""
        for stream in self._lanes:
            try:
                self._shards.client.xgroup_create(stream, GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    def read(self, *, block_ms: int) -> list[Entry]:
        """The next batch: `live` entries if any wait, else `bulk` ones, else whatever comes within `block_ms`."""
        for lane in LANES:
            if entries := self._read([name for name, (_, of) in self._lanes.items() if of == lane], None):
                return entries
        return self._read(list(self._lanes), block_ms)

    def claim(self) -> list[Entry]:
        """One step over what silent readers hold: the next entries that nobody renewed for `claim_idle_ms`.

        Goes through the pending list in steps and remembers where it is; an empty answer means that this step
        found none.
        """
        for stream, (shard, lane) in self._lanes.items():
            cursor, entries, *_ = self._shards.client.xautoclaim(
                stream,
                GROUP,
                self._consumer,
                self._claim_idle_ms,
                start_id=self._claim_from[stream],
                count=min(CLAIM_STEP, self._batch_size),
            )
            self._claim_from[stream] = cursor
            if entries:
                return self._hold([_entry(shard, lane, entry) for entry in entries])
        return []

    def renew(self) -> None:
        """Say that the held entries are still being worked on; adds nothing to their delivery counts."""
        self._touch(self._held, idle_ms=0)

    def give_back(self) -> None:
        """Let any reader claim the held entries at once: a stop in the middle of an outage costs nobody a wait."""
        self._touch(self._held, idle_ms=self._claim_idle_ms * 10)
        self._held = ()

    def settle(self, stored: Iterable[tuple[Entry, str]], dead: Iterable[Dead]) -> None:
        """End the held batch: stored entries leave, with their event ids; dead ones go to the dead letters.

        One script a lane and shard; safe to repeat after an error half-way.
        """
        per_lane: dict[tuple[int, Lane], tuple[list[tuple[Entry, str]], list[Dead]]] = {}
        for pair in stored:
            per_lane.setdefault((pair[0].shard, pair[0].lane), ([], []))[0].append(pair)
        for letter in dead:
            per_lane.setdefault((letter.entry.shard, letter.entry.lane), ([], []))[1].append(letter)
        for (shard, lane), (done, letters) in per_lane.items():
            self._settle(shard, lane, done, letters)
        self._held = ()

    def _settle(self, shard: int, lane: Lane, done: list[tuple[Entry, str]], letters: list[Dead]) -> None:
        arguments: list[str | bytes | int] = [GROUP, len(done)]
        arguments += [entry.entry_id for entry, _ in done]
        arguments += [event_id for _, event_id in done]
        for entry, event_id, reason, error, attempts in letters:
            arguments += (entry.entry_id, event_id, entry.payload, reason, error, attempts)
        names = [
            keys.lane(shard, lane),
            keys.inflight(shard),
            keys.counters(shard),
            keys.dead_letters(shard),
        ]
        scripts.run(self._shards.client, "settle", names, arguments)

    def _read(self, streams: list[bytes], block_ms: int | None) -> list[Entry]:
        count = max(1, self._batch_size // self._shards.count)
        answer: Any = self._shards.client.xreadgroup(
            GROUP, self._consumer, dict.fromkeys(streams, ">"), count=count, block=block_ms
        )
        return self._hold(
            [_entry(*self._lanes[stream], entry) for stream, entries in answer or () for entry in entries]
        )

    def _hold(self, entries: list[Entry]) -> list[Entry]:
        self._held = entries
        return entries

    def _touch(self, entries: Sequence[Entry], *, idle_ms: int) -> None:
        per_stream: dict[str, list[Any]] = {}
        for entry in entries:
            per_stream.setdefault(keys.lane(entry.shard, entry.lane), []).append(entry.entry_id)
        for stream, ids in per_stream.items():
            self._shards.client.xclaim(stream, GROUP, self._consumer, 0, ids, idle=idle_ms, justid=True)


def _entry(shard: int, lane: Lane, entry: tuple[bytes, dict[bytes, bytes] | None]) -> Entry:
    entry_id, fields = entry
    return Entry(shard, lane, entry_id, (fields or {}).get(PAYLOAD, b""))
