"""One consumer of a consumer group: what it reads and claims is held until it is settled.

A consumer that fell silent (killed, frozen, cut off) is told by its entries, which nobody renewed for a while; any
other claims them. Who was alone with an entry when it died is remembered in the entry's delivery count, so that one
that kills its worker is found, and what only happened to be beside it is not blamed. The count means:

    0      given back by a consumer that stopped in order: as good as new
    1      the first delivery
    2 + n  claimed, and n consumers died while they handled this entry and nothing else (`handle_alone`)
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

import redis
from redis.client import Pipeline
from redis.exceptions import RedisError, ResponseError

from notifications.stream import bells, scripts
from notifications.stream.bells import Bells
from notifications.stream.cluster import AWAY, is_gone
from notifications.stream.scripts import Call

# Few at a time: others can claim the rest of a long list meanwhile, which so does not wait for a killer among these.
CLAIM_STEP: Final = 20
CLAIMED: Final = 2
# An empty consumer that was not heard of for so many times the claim's idle time is forgotten.
FORGET_AFTER_IDLE_TIMES: Final = 6
DEEP_AT_ONCE: Final = 4


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

    In a cluster, streams whose node is away are passed over until it is back: only where no node answers, or one
    answers that something is wrong, does a method raise.
    """

    def __init__(
        self, client: redis.Redis, streams: Sequence[bytes], *, group: str, consumer: str, claim_idle_ms: int
    ) -> None:
        self._client = client
        self._streams = streams
        self._group = group
        self._consumer = consumer
        self._claim_idle_ms = claim_idle_ms
        # What is read and what is settled may change it at the same time.
        self._holding = threading.Lock()
        self._bells = bells.for_streams(client, streams)
        # Those of which as much was read as was asked for, the longest ago first.
        self._deep: dict[bytes, None] = {}
        self._held: tuple[Entry, ...] = ()
        # The most that each consumer was seen to hold: what is left of a batch is not all that its owner had in hand.
        self._most_held: dict[bytes, int] = {}

    def create_groups(self) -> None:
        """Make streams and groups that are not there, from the first entry on. Safe at any time."""
        # Not without a look: a Redis that is full refuses to create even what is there.
        looks = self._ask_each(self._streams, lambda pipe, stream: pipe.xinfo_groups(stream))
        lacking = [stream for stream, groups in looks.items() if not self._is_among(groups)]
        made = self._ask_each(lacking, lambda pipe, name: pipe.xgroup_create(name, self._group, id="0", mkstream=True))
        for answer in made.values():
            if isinstance(answer, ResponseError) and not str(answer).startswith("BUSYGROUP"):
                raise answer

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
        with self._holding:
            held, self._held = self._held, ()
        for deaths in {entry.deaths for entry in held}:
            uncounted = 0 if deaths is None else CLAIMED + deaths
            same = [entry for entry in held if entry.deaths == deaths]
            self._touch(same, idle_ms=self._claim_idle_ms * 10, retrycount=uncounted)

    def remove_dead_consumers(self) -> int:
        """Forget consumers that hold nothing and were silent for long; returns how many. One with entries stays."""
        long_silent_ms = self._claim_idle_ms * FORGET_AFTER_IDLE_TIMES
        arguments: list[str | bytes | int] = [self._group, self._consumer, long_silent_ms]
        calls: list[Call] = [([stream], arguments) for stream in self._streams]
        forgotten: list[int | None] = scripts.run_where_possible(self._client, "forget", calls)
        return sum(count or 0 for count in forgotten)

    def within_reach(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of the entries that can be settled just now. The others are held no more, and claimed when they can be.

        All of them where no server answers: then there is nothing to go on with.
        """
        chosen = list(entries)
        if self._bells is None:
            return chosen
        served = {stream: self._bells.is_served(stream) for stream in {entry.stream for entry in chosen}}
        self._release(entry for entry in chosen if not served[entry.stream])
        return [entry for entry in chosen if served[entry.stream]]

    def _deliver(self, streams: Collection[bytes], *, count: int, block_ms: int | None, in_all: int = 0) -> list[Entry]:
        """New entries, `count` of each stream; or more of each, `in_all`, where it is known that few have any."""
        if self._bells is None:
            found = self._of_deep(streams, count, in_all)
            return self._hold(found or self._read(streams, count, block_ms))
        entries = self._look(self._bells, streams, count, in_all)
        if not entries and block_ms:
            self._bells.wait(streams, block_ms / 1000)
            entries = self._look(self._bells, streams, count, in_all)
        return entries

    def _of_deep(self, streams: Collection[bytes], count: int, in_all: int) -> list[Entry]:
        """Of streams of one server: much of a few that have more than was read, after a little of each that had not.

        Nothing where none is known to have more. See `_chosen`.
        """
        chosen = [stream for stream in self._deep if stream in streams][:DEEP_AT_ONCE]
        if not in_all or not chosen:
            return []
        others = [stream for stream in streams if stream not in self._deep]
        entries = self._read(others, count) if others else []
        return entries + self._read(chosen, max(count, (in_all - len(entries)) // len(chosen)))

    def _read(self, streams: Collection[bytes], count: int, block_ms: int | None = None) -> list[Entry]:
        """New entries of streams of one server, `count` of each, or what comes within `block_ms`."""
        answer: Any = self._client.xreadgroup(
            self._group, self._consumer, dict.fromkeys(streams, ">"), count=count, block=block_ms
        )
        found = {stream: len(entries) for stream, entries in answer or ()}
        for stream in streams:
            self._note(stream, is_deep=found.get(stream) == count)
        return _entries(answer)

    def _look(self, heard: Bells, streams: Collection[bytes], count: int, in_all: int) -> list[Entry]:
        """New entries of the streams that rang."""
        rung = self._chosen(heard, heard.take(streams))
        each = max(count, in_all // max(1, len(rung)))
        group, consumer = self._group, self._consumer
        try:
            answers = self._ask_each(rung, lambda pipe, name: pipe.xreadgroup(group, consumer, {name: ">"}, count=each))
        except RedisError:
            # Else the next look would find nothing, and nothing wrong.
            heard.ring(rung)
            raise
        entries, wrong = list[Entry](), None
        for stream, answer in answers.items():
            if isinstance(answer, Exception):
                wrong = wrong or answer
                continue
            found = _entries(answer)
            entries += found
            self._note(stream, is_deep=len(found) == each)
            if stream in self._deep:
                heard.ring([stream])
        self._hold(entries)
        if wrong:
            # What was read meanwhile is claimed again, as if its connection had been lost.
            self._release(entries)
            heard.ring(rung)
            raise wrong
        return entries

    def _chosen(self, heard: Bells, rung: list[bytes]) -> list[bytes]:
        """Of streams with more than was read from them, a few at a time, much of each: each costs commands of its own.

        The others come first next time.
        """
        deep = [stream for stream in self._deep if stream in rung]
        put_off = set(deep[DEEP_AT_ONCE:])
        if not put_off:
            return rung
        heard.ring(put_off)
        return [stream for stream in rung if stream not in put_off]

    def _note(self, stream: bytes, *, is_deep: bool) -> None:
        """Whether as much was read of a stream as was asked for: there may be more. It is the last to have its turn."""
        self._deep.pop(stream, None)
        if is_deep:
            self._deep[stream] = None

    def _ask_each(self, streams: Iterable[bytes], ask: Callable[[Pipeline, bytes], object]) -> dict[bytes, Any]:
        """Ask something of each stream, at once; answers, and what the server says is wrong, by stream.

        One whose node is away is left out. Raises where no server answers.
        """
        names = list(streams)
        pipe = self._client.pipeline(transaction=False)
        for stream in names:
            ask(pipe, stream)
        answers = dict(zip(names, pipe.execute(raise_on_error=False), strict=True))
        found = {stream: answer for stream, answer in answers.items() if not isinstance(answer, AWAY)}
        if names and not found and is_gone(self._client):
            raise answers[names[0]]
        return found

    def _hold(self, entries: list[Entry]) -> list[Entry]:
        with self._holding:
            self._held = (*self._held, *entries)
        return entries

    def _release(self, settled: Iterable[Entry]) -> None:
        # By identity: the hash of an entry would go through its payload.
        gone = {id(entry) for entry in settled}
        with self._holding:
            self._held = tuple(entry for entry in self._held if id(entry) not in gone)

    def _pending(self) -> dict[bytes, dict[bytes, int]]:
        """How many entries each consumer holds, by stream."""
        found = self._ask_each(self._streams, lambda pipe, stream: pipe.xpending(stream, self._group))
        for answer in found.values():
            if isinstance(answer, Exception):
                raise answer
        return {
            stream: {owner["name"]: owner["pending"] for owner in summary["consumers"]}
            for stream, summary in found.items()
        }

    def _is_among(self, groups: Any) -> bool:  # noqa: ANN401 - XINFO GROUPS, or the error that there is no such stream
        if isinstance(groups, Exception):
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
        group, consumer = self._group, self._consumer

        def claim(pipe: Pipeline, stream: bytes) -> None:
            ids = per_stream[stream]
            pipe.xclaim(stream, group, consumer, 0, ids, idle=idle_ms, retrycount=retrycount, justid=True)

        for answer in self._ask_each(per_stream, claim).values():
            if isinstance(answer, Exception):
                raise answer


def _entries(answer: Any) -> list[Entry]:  # noqa: ANN401 - XREADGROUP's
    return [Entry(stream, entry_id, fields or {}) for stream, entries in answer or () for entry_id, fields in entries]


def _claimed(stream: bytes, entry_id: bytes, deaths: int, flat: list[bytes]) -> Entry:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return Entry(stream, entry_id, fields, deaths if deaths >= 0 else None)
