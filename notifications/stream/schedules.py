"""Schedules in Redis: what waits for its time, what becomes of it, and the log of that for PostgreSQL.

A schedule is three lines: `<kind> <revision>`, what is known about it (JSON, the scheduler's own business), and the
event that it fires (JSON). `revision` rises with each change, and a change is made from a revision: of an edit, a
cancellation and a firing that meet, one comes first, and the others learn so.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple, TypeVar

from redis.exceptions import RedisError

from notifications.exceptions import Refused
from notifications.stream import keys, scripts
from notifications.stream.agenda import AWAY_MS, Agenda, begun
from notifications.stream.client import Shards, run_of
from notifications.stream.clock import ServerClock
from notifications.stream.once import Once, Pending, Records, Replayed, answered
from notifications.stream.replicas import Replicas
from notifications.stream.timely import Timely

T = TypeVar("T")

# `fired`: before its time; what fires once stays `once` when it fires at its time, and waits no more. `stopped`: it
# came again, and was cancelled.
Kind = Literal["once", "recurring", "fired", "cancelled", "stopped"]
Outcome = Literal["changed", "accepted", "stale", "over", "unknown"]

FIRE_AT_ONCE: Final = 500
# More in one script would make others wait.
FORGET_AT_ONCE: Final = 1000
COMPARED: Final = b"compared"


class Kept(NamedTuple):
    """A schedule as Redis keeps it. `due_ms` is None where it waits no more: it fired, or was cancelled."""

    id: str
    kind: Kind
    revision: int
    about: bytes
    event: bytes
    due_ms: int | None

    @property
    def value(self) -> bytes:
        """Its three lines."""
        return b"%s %d\n%s\n%s" % (self.kind.encode(), self.revision, self.about, self.event)


class Step(NamedTuple):
    """What becomes of a schedule that comes again: how it was seen, how it is next, and what it fires, if anything."""

    seen: Kept
    following: Kept
    event_id: str = ""
    event: bytes = b""


class Due(NamedTuple):
    """What one round of firing did and found: how many fired, those that come again, when the next is due (None: none
    waits) and the server's time, both in ms, those that were put off, as this release cannot read them, and by how many
    ms each that fired was late."""

    fired: int
    again: list[Kept]
    next_in_ms: int | None
    now_ms: int
    put_off: Sequence[str] = ()
    late_ms: Sequence[int] = ()


class Change(NamedTuple):
    """One entry of the log: a schedule as it was then; or such as fire once, by id and revision, and when they did.

    One that this release cannot read is neither.
    """

    entry_id: bytes
    kept: Kept | None = None
    fired: Sequence[tuple[str, int]] = ()
    at_ms: int = 0


def parse(schedule_id: str, value: bytes, due: float | bytes | None) -> Kept:
    """A schedule from its three lines. Raises ValueError where they are none."""
    head, about, event = value.split(b"\n", 2)
    kind, _, revision = head.decode().partition(" ")
    due_ms = int(float(due)) if due else None
    return Kept(schedule_id, kind, int(revision), about, event, due_ms)  # type: ignore[arg-type]


class Schedules:
    """Every shard's schedules."""

    def __init__(
        self,
        shards: Shards,
        clock: ServerClock,
        *,
        patience_ms: int,
        memory_seconds: int = 25 * 3600,
        replicas: int = 0,
    ) -> None:
        """`patience_ms`: how long the caller waits for an answer. What would be changed later is not changed.

        `memory_seconds`: how long a request may be repeated, and what it made must not come back when it is gone.
        `replicas`: so many must have what is made or changed; where fewer do, that raises NotReplicated.
        """
        self._shards = shards
        self._memory_seconds = memory_seconds
        self._timely = Timely(shards.own, clock, patience_ms=patience_ms, replicas=replicas)
        self._records = Records(shards, Replicas(replicas, patience_ms))

    @property
    def shards(self) -> Shards:
        """Where they are."""
        return self._shards

    def now_ms(self, recipient: str = "") -> int:
        """The server's time at the latest, Unix ms; in a cluster that of the node which tells what is due for them."""
        return self._timely.latest_ms(keys.scheduled(self._shards.of(recipient)) if recipient else "")

    def earliest_ms(self) -> int:
        """The server's time at the earliest, Unix ms: for what has to be over by then."""
        return self._timely.earliest_ms()

    def look(self, schedule_id: str) -> Kept | None:
        """One schedule; None where there is none, or where its end is recorded in PostgreSQL."""
        return self.look_many([schedule_id]).get(schedule_id)

    def look_many(self, ids: Iterable[str]) -> dict[str, Kept]:
        """Those of the schedules that are here, by id."""
        per_shard: dict[int, list[str]] = defaultdict(list)
        for schedule_id in ids:
            per_shard[self._shards.of_id(schedule_id)].append(schedule_id)
        found: dict[str, Kept] = {}
        for shard, wanted in per_shard.items():
            # A transaction: what changes in between would be seen half as it was.
            pipe = self._shards.client.pipeline(transaction=True)
            for schedule_id in wanted:
                pipe.hget(keys.schedules(shard), schedule_id)
                pipe.zscore(keys.scheduled(shard), schedule_id)
            answers = iter(pipe.execute())
            triples = zip(wanted, answers, answers, strict=True)
            found |= {schedule_id: parse(schedule_id, value, score) for schedule_id, value, score in triples if value}
        return found

    def plan(self, kept: Kept, since: float | None = None) -> None:
        """Accept a schedule; accepting it again has no effect. `since`: see Timely.run."""
        self._plan(kept, since=since)

    def plan_once(self, kept: Kept, once: Once, answer: bytes, since: float | None = None) -> Replayed | Pending | None:
        """Accept a schedule for a request with an idempotency key; None when this call was the first.

        After Pending, `finish` the schedule that is in the answer. Raises IdempotencyConflict; and Refused, which tells
        whether the reservation stands.
        """
        if self._records.home(once) == self._shards.of_id(kept.id):
            return self._plan(kept, once, answer, since)
        reserved = self._records.reserve(once, answer)
        if reserved is None:
            try:
                self.finish(kept, once, answer, since)
            except Refused as refused:
                refused.reserved = True
                raise
        return reserved

    def earlier(self, once: Once) -> Replayed | Pending | None:
        """What an idempotency key was used for. Raises IdempotencyConflict."""
        return self._records.earlier(once)

    def finish(self, kept: Kept, once: Once, answer: bytes, since: float | None = None) -> None:
        """Accept the schedule of a reserved request and complete its record."""
        self._plan(kept, since=since)
        self._complete(once, answer)

    def change(self, seen: Kept, changed: Kept) -> Outcome:
        """Replace a schedule that waits, if it is still as it was seen: `changed`, `stale`, `over` or `unknown`."""
        shard = self._shards.of_id(seen.id)
        arguments: list[str | bytes | int] = [seen.id, seen.revision, _due(changed), changed.value]
        names = [*self._names(shard)[:3], keys.cancelled(shard, seen.id)]
        return _outcome(self._timely.run("replan", names, [*arguments, self._memory_seconds]))

    def run(self, step: Step, once: Once | None = None, answer: bytes = b"") -> Outcome | Replayed | Pending:
        """Fire a schedule now: `accepted`, `stale`, `over` or `unknown`; or what its idempotency key was used for.

        Raises IdempotencyConflict. After Pending, call it again with the event in the answer, by `run_reserved`.
        """
        if once is None or self._records.home(once) == self._shards.of_id(step.seen.id):
            return self._run(step, once, answer)
        if reserved := self._records.reserve(once, answer):
            return reserved
        outcome = self.run_reserved(step, once, answer)
        if outcome in {"stale", "over", "unknown"}:
            # So that the key is free, as it would be had its record been in the schedule's own shard.
            self._records.release(once, answer)
        return outcome

    def run_reserved(self, step: Step, once: Once, answer: bytes) -> Outcome | Replayed:
        """Fire for a reserved request, and complete its record; again, it has no second effect under the same id."""
        outcome = self._run(step)
        if outcome == "accepted":
            self._complete(once, answer)
        return outcome

    def fire(self, agenda: Agenda | None = None) -> Due:
        """Fire what is due and fires once, at most FIRE_AT_ONCE of each shard, and find what comes again.

        A shard whose node is away waits for it. `agenda`: see delayed.move_due.
        """
        with begun(self._shards, agenda) as looked_at:
            calls = [(self._names(shard), [FIRE_AT_ONCE]) for shard in looked_at]
            answers = scripts.run_where_possible(self._shards.client, "fire", calls)
        fired, again, put_off, waits, now, late = 0, list[Kept](), list[str](), list[int](), 0, list[int]()
        for shard, told in zip(looked_at, answers, strict=True):
            count, next_in_ms, now_ms, flat, unreadable, by = told or (0, AWAY_MS, 0, (), (), ())
            fired, now = fired + count, max(now, now_ms)
            triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
            again += [parse(schedule_id.decode(), value, due) for schedule_id, due, value in triples]
            put_off += [schedule_id.decode() for schedule_id in unreadable]
            late += by
            if next_in_ms >= 0:
                waits.append(next_in_ms)
                if agenda:
                    agenda.note(shard, next_in_ms)
        return Due(fired, again, min(waits, default=None), now, put_off, late)

    def step(self, steps: Iterable[Step]) -> int:
        """Fire occurrences and move their schedules on, each unless somebody else did; returns how many moved."""
        per_shard: dict[int, list[str | bytes | int]] = defaultdict(list)
        for seen, following, event_id, event in steps:
            arguments = per_shard[self._shards.of_id(seen.id)]
            arguments += (seen.id, _due(seen), seen.revision, _due(following), following.value, event_id, event)
        calls = [(self._names(shard), arguments) for shard, arguments in per_shard.items()]
        return sum(moved or 0 for moved in scripts.run_where_possible(self._shards.client, "step", calls))

    def changes(self, shard: int, count: int | None = None) -> list[Change]:
        """The oldest changes that are not recorded yet; all, without a count."""
        entries: Any = self._shards.client.xrange(keys.changes(shard), count=count)
        return [_change(entry_id, fields) for entry_id, fields in entries]

    def changed_shards(self, agenda: Agenda | None = None) -> list[int]:
        """The shards with changes that are not recorded yet; without those whose node is away.

        `agenda`: what is asked for the shards to look at. Those that are returned are to be looked at again.
        """
        with begun(self._shards, agenda) as looked_at:
            entries = self._shards.ask_each(lambda pipe, shard: pipe.xlen(keys.changes(shard)), looked_at)
        found = [shard for shard, waiting in entries.items() if waiting]
        if agenda:
            agenda.again(found)
        return found

    def await_changes(self, block_ms: int) -> bool:
        """Whether there may be changes to be recorded; waits for one. In a cluster the answer is yes, and at once."""
        if not self._shards.is_one_server:
            return True
        streams: Any = dict.fromkeys(map(keys.changes, self._shards.each()), "0")
        return bool(self._shards.client.xread(streams, count=1, block=block_ms))

    def recorded(self, shard: int, changes: Sequence[Change], over: Iterable[str]) -> None:
        """Forget changes, and schedules that are over by them: PostgreSQL has both."""
        names = self._names(shard)[:3]
        for ids in _chunks(list(over)):
            scripts.run(self._shards.client, "recorded", names, [0, *ids])
        for entries in _chunks([change.entry_id for change in changes]):
            scripts.run(self._shards.client, "recorded", names, [len(entries), *entries])

    def uproot(self, shard: int, ids: Sequence[str], entries: Sequence[bytes]) -> int:
        """Remove schedules for good, and entries of the log with them; returns how many schedules were here."""
        removed = 0
        names, life = self._names(shard)[:3], self._memory_seconds
        for chunk in _chunks(ids):
            notes = [keys.cancelled(shard, schedule_id) for schedule_id in chunk]
            removed += scripts.run(self._shards.client, "uproot", [*names, *notes], [life, *chunk])
        for told in _chunks(entries):
            scripts.run(self._shards.client, "uproot", names, [life, *told])
        return removed

    def waiting(self, shard: int, count: int) -> Iterator[list[str]]:
        """The ids of all that waits in a shard, some `count` at a time; what comes or goes meanwhile may be missing."""
        cursor = 0
        while True:
            found: Any = self._shards.client.zscan(keys.scheduled(shard), cursor, count=count)
            cursor, pairs = found
            yield [schedule_id.decode() for schedule_id, _ in pairs]
            if not cursor:
                return

    def behind(self, shard: int, revisions: Iterable[tuple[str, int]]) -> list[str]:
        """Those that are not here, or of an older revision; the revision of one that is over is given negative."""
        arguments = [part for pair in revisions for part in pair]
        found = scripts.run(self._shards.client, "behind", [keys.schedules(shard)], arguments) if arguments else []
        return [schedule_id.decode() for schedule_id in found]

    def restore(self, shard: int, schedules: Iterable[Kept], until_ms: int) -> int:
        """Put back what is not here, or older here; returns how many. Raises TimeoutError after `until_ms`."""
        arguments: list[str | bytes | int] = [until_ms]
        for kept in schedules:
            arguments += (kept.id, kept.revision, _due(kept), kept.value)
        names = [keys.scheduled(shard), keys.schedules(shard), keys.inflight(shard)]
        outcome, *restored = scripts.run(self._shards.client, "restore", names, arguments)
        if outcome == b"late":
            raise TimeoutError("what was to be restored may have changed meanwhile")
        return int(restored[0])

    def lost(self) -> list[int]:
        """The shards that were never compared with PostgreSQL, or lost the note of it, and what else they had."""
        notes = self._shards.ask_each(lambda pipe, shard: pipe.get(keys.compared(shard)))
        return [shard for shard, note in notes.items() if note != COMPARED]

    def begin_comparison(self, shard: int, token: str) -> bytes:
        """Note that a shard is being compared; returns the note, to end with. A flush meanwhile takes it away."""
        note = keys.compared(shard)
        self._shards.client.set(note, token, nx=True)
        found: Any = self._shards.client.get(note)
        return found or b""

    def end_comparison(self, shard: int, note: bytes) -> bool:
        """Note that a shard is compared; False where the server lost the note, and so what it had, meanwhile."""
        replaced = scripts.run(self._shards.client, "replace", [keys.compared(shard)], [note, COMPARED])
        # Another may have been at it, too, and have ended first.
        return bool(replaced) or self._shards.client.get(keys.compared(shard)) == COMPARED

    def server(self) -> str:
        """The run of the server that answers, of each node of a cluster: another may lack what the last one had."""
        return run_of(self._shards.client)

    def _plan(
        self, kept: Kept, once: Once | None = None, answer: bytes = b"", since: float | None = None
    ) -> Replayed | None:
        shard = self._shards.of_id(kept.id)
        names = [*self._names(shard)[:3], keys.cancelled(shard, kept.id)]
        names, arguments = _with_record(names, shard, once, answer)
        # Once: where the clock jumps, the time that was computed by it is wrong, too.
        arguments += (kept.id, _due(kept), kept.value)
        outcome, *rest = self._timely.run("plan", names, arguments, tries=1, since=since)
        return answered(outcome, rest)

    def _run(self, step: Step, once: Once | None = None, answer: bytes = b"") -> Outcome | Replayed:
        seen, following = step.seen, step.following
        shard = self._shards.of_id(seen.id)
        names, arguments = _with_record(self._names(shard), shard, once, answer)
        arguments += (seen.id, seen.revision, following.value, step.event_id, step.event)
        outcome, *rest = self._timely.run("run", names, arguments)
        return answered(outcome, rest) or _outcome([outcome])

    def _complete(self, once: Once, answer: bytes) -> None:
        # It is done by now. A record that is left reserved is completed by the next request with its key.
        with suppress(RedisError):
            self._records.complete(once, answer)

    def _names(self, shard: int) -> list[str]:
        return [
            keys.scheduled(shard),
            keys.schedules(shard),
            keys.changes(shard),
            keys.lane(shard, "live"),
            keys.inflight(shard),
            keys.counters(shard),
        ]


def _with_record(
    names: list[str], shard: int, once: Once | None, answer: bytes
) -> tuple[list[str], list[str | bytes | int]]:
    if once is None:
        return names, ["", "", ""]
    return [*names, once.key(shard)], [once.fingerprint, answer, once.seconds]


def _due(kept: Kept) -> str | int:
    return "" if kept.due_ms is None else kept.due_ms


def _outcome(answer: list[Any]) -> Outcome:
    outcome: Outcome = answer[0].decode()
    return outcome


def _change(entry_id: bytes, fields: dict[bytes, bytes]) -> Change:
    try:
        if b"fired" in fields:
            words = iter(fields[b"fired"].decode().split(" "))
            pairs = [(schedule_id, int(revision)) for schedule_id, revision in zip(words, words, strict=True)]
            return Change(entry_id, fired=pairs, at_ms=int(fields[b"at"]))
        return Change(entry_id, parse(fields[b"id"].decode(), fields[b"schedule"], fields[b"due"]))
    except (KeyError, ValueError):
        return Change(entry_id)


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), FORGET_AT_ONCE):
        yield items[start : start + FORGET_AT_ONCE]
