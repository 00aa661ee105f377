"""One consumer of a consumer group: what it reads and claims is held until it is settled.

A consumer that fell silent (killed, frozen, cut off) is told by its entries, which nobody renewed for a while; any
other claims them. Who was alone with an entry when it died is remembered in the entry's delivery count, so that one
that kills its worker is found, and what only happened to be beside it is not blamed. The count means:

    0      given back by a consumer that stopped in order: as good as new
    1      the first delivery
    2 + n  claimed, and n consumers died while they handled this entry and nothing else (`handle_alone`)
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

import redis
from redis.exceptions import ResponseError

from notifications.stream import scripts

# Few at a time: others can claim the rest of a long list meanwhile, which so does not wait for a killer among these.
CLAIM_STEP: Final = 20
CLAIMED: Final = 2
# An empty consumer that was not heard of for so many times the claim's idle time is forgotten.
FORGET_AFTER_IDLE_TIMES: Final = 6


def group_is_lost(error: ResponseError) -> bool:
    """Whether a command failed as its stream or group is not there: a flushed Redis. `create_groups` mends it."""
    return "NOGROUP" in str(error)


class Entry(NamedTuple):
    """One delivered stream entry. `deaths` is None at its first delivery; after that, how many died alone with it."""

    stream: bytes
    entry_id: bytes
    fields: dict[bytes, bytes]
    deaths: int | None = None

    @property
    def payload(self) -> bytes:
        """The event in it; empty where it holds none."""
        return self.fields.get(b"event", b"")

    @property
    def is_chunk(self) -> bool:
        """Whether it is a chunk of a bulk job: one event for many."""
        return b"to" in self.fields

    @property
    def recipients(self) -> list[str] | None:
        """Of a chunk of a bulk job, who gets its event; None of any other entry."""
        to = self.fields.get(b"to")
        return None if to is None else to.decode(errors="replace").split("\n")

    @property
    def events(self) -> int:
        """How many events are in it."""
        to = self.fields.get(b"to")
        return 1 if to is None else to.count(b"\n") + 1


class GroupReader:
    """One consumer of one group over several streams.

    Held entries are its own as long as they are renewed (`renew`, from any thread) more often than `claim_idle_ms`.
    """

    def __init__(
        self, client: redis.Redis, streams: Sequence[bytes], *, group: str, consumer: str, claim_idle_ms: int
    ) -> None:
        self._client = client
        self._streams = streams
        self._group = group
        self._consumer = consumer
        self._claim_idle_ms = claim_idle_ms
        self._held: tuple[Entry, ...] = ()
        # The most that each consumer was seen to hold: what is left of a batch is not all that its owner had in hand.
        self._most_held: dict[bytes, int] = {}

    def create_groups(self) -> None:
        """Make streams and groups that are not there, from the first entry on. Safe at any time."""
        for stream in self._streams:
            # Not without a look: a Redis that is full refuses to create even what is there.
            if self._has_group(stream):
                continue
            try:
                self._client.xgroup_create(stream, self._group, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    def claim(self) -> list[Entry]:
        """What silent consumers held, of one stream, a step at a time; also what this one was given and never got.

        The latter is what the server sent into a connection that was lost on the way. It is as good as new, as this
        process did not die of it. An empty answer means that there is nothing to claim anywhere.
        """
        pending = self._pending()
        held = {(entry.stream, entry.entry_id) for entry in self._held}
        alone = self._held_one_alone(pending)
        arguments: list[str | bytes | int] = [self._group, self._consumer, self._claim_idle_ms, CLAIM_STEP, *alone]
        for stream, owners in pending.items():
            if owners:
                rows = scripts.run(self._client, "claim", [stream], arguments)
                claimed = [_claimed(stream, *row) for row in rows if (stream, row[0]) not in held]
                if claimed:
                    return self._hold(claimed)
        return []

    def handle_alone(self, entry: Entry) -> None:
        """Note in the entry's delivery count that this process handles it now, and nothing else."""
        self._count(entry, CLAIMED + (entry.deaths or 0) + 1)

    def not_alone(self, entry: Entry) -> None:
        """Take the note back: an outage ended the attempt, and whatever happens now is not the entry's doing."""
        self._count(entry, CLAIMED + (entry.deaths or 0))

    def renew(self) -> None:
        """Say that the held entries are still being worked on; adds nothing to their delivery counts."""
        self._touch(self._held, idle_ms=0)

    def give_back(self) -> None:
        """Let any consumer claim the held entries at once. Who gives back did not die: this delivery is not counted."""
        held, self._held = self._held, ()
        for deaths in {entry.deaths for entry in held}:
            uncounted = 0 if deaths is None else CLAIMED + deaths
            same = [entry for entry in held if entry.deaths == deaths]
            self._touch(same, idle_ms=self._claim_idle_ms * 10, retrycount=uncounted)

    def remove_dead_consumers(self) -> int:
        """Forget consumers that hold nothing and were silent for long; returns how many. One with entries stays."""
        long_silent_ms = self._claim_idle_ms * FORGET_AFTER_IDLE_TIMES
        return sum(
            scripts.run(self._client, "forget", [stream], [self._group, self._consumer, long_silent_ms])
            for stream in self._streams
        )

    def _deliver(self, streams: Iterable[bytes], *, count: int, block_ms: int | None) -> list[Entry]:
        answer: Any = self._client.xreadgroup(
            self._group, self._consumer, dict.fromkeys(streams, ">"), count=count, block=block_ms
        )
        return self._hold(
            [Entry(stream, entry_id, fields or {}) for stream, entries in answer or () for entry_id, fields in entries]
        )

    def _hold(self, entries: list[Entry]) -> list[Entry]:
        self._held = (*self._held, *entries)
        return entries

    def _release(self, settled: Iterable[Entry]) -> None:
        # By identity: the hash of an entry would go through its payload.
        gone = {id(entry) for entry in settled}
        self._held = tuple(entry for entry in self._held if id(entry) not in gone)

    def _pending(self) -> dict[bytes, dict[bytes, int]]:
        """How many entries each consumer holds, by stream."""
        pipe = self._client.pipeline(transaction=False)
        for stream in self._streams:
            pipe.xpending(stream, self._group)
        return {
            stream: {owner["name"]: owner["pending"] for owner in summary["consumers"]}
            for stream, summary in zip(self._streams, pipe.execute(), strict=True)
        }

    def _has_group(self, stream: bytes) -> bool:
        try:
            groups: Any = self._client.xinfo_groups(stream)
        except ResponseError:
            # There is no such stream.
            return False
        return any(group["name"] == self._group.encode() for group in groups)

    def _held_one_alone(self, pending: dict[bytes, dict[bytes, int]]) -> list[bytes]:
        """The consumers that held one entry and no other, in any stream: who died of its first delivery died of it."""
        totals = Counter[bytes]()
        for owners in pending.values():
            totals.update(owners)
        self._most_held = {owner: max(held, self._most_held.get(owner, 0)) for owner, held in totals.items()}
        return [owner for owner, held in self._most_held.items() if held == 1]

    def _count(self, entry: Entry, deliveries: int) -> None:
        self._touch([entry], idle_ms=0, retrycount=deliveries)

    def _touch(self, entries: Collection[Entry], *, idle_ms: int, retrycount: int | None = None) -> None:
        per_stream: dict[bytes, list[Any]] = {}
        for entry in entries:
            per_stream.setdefault(entry.stream, []).append(entry.entry_id)
        for stream, ids in per_stream.items():
            self._client.xclaim(
                stream, self._group, self._consumer, 0, ids, idle=idle_ms, retrycount=retrycount, justid=True
            )


def _claimed(stream: bytes, entry_id: bytes, deaths: int, flat: list[bytes]) -> Entry:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return Entry(stream, entry_id, fields, deaths if deaths >= 0 else None)
