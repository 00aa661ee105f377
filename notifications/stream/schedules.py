"""Schedules in Redis: what waits for its time, what becomes of it, and the log of that for PostgreSQL.

A schedule is three lines: `<kind> <revision>`, what is known about it (JSON, the scheduler's own business), and the
event that it fires (JSON). `revision` rises with each change, and a change is made from a revision: of an edit, a
cancellation and a firing that meet, one comes first, and the others learn so.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple

from redis.exceptions import RedisError

from notifications import events
from notifications.stream import keys, scripts
from notifications.stream.client import Shards
from notifications.stream.clock import ServerClock
from notifications.stream.once import Once, Pending, Records, Replayed, answered
from notifications.stream.timely import Timely

Kind = Literal["once", "recurring", "cancelled"]
Outcome = Literal["changed", "accepted", "stale", "over", "unknown"]

FIRE_AT_ONCE: Final = 500
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
    waits) and the server's time, both in ms."""

    fired: int
    again: list[Kept]
    next_in_ms: int | None
    now_ms: int


class Change(NamedTuple):
    """One entry of the log: a schedule as it was then; or ids of such as fire once, and when they did."""

    entry_id: bytes
    kept: Kept | None
    fired: list[str]
    at_ms: int


def parse(schedule_id: str, value: bytes, due: float | bytes | None) -> Kept:
    """A schedule from its three lines."""
    head, about, event = value.split(b"\n", 2)
    kind, _, revision = head.decode().partition(" ")
    due_ms = int(float(due)) if due else None
    return Kept(schedule_id, kind, int(revision), about, event, due_ms)  # type: ignore[arg-type]


class Schedules:
    """Every shard's schedules."""

    def __init__(self, shards: Shards, clock: ServerClock, *, patience_ms: int) -> None:
        """`patience_ms`: how long the caller waits for an answer. What would be changed later is not changed."""
        self._shards = shards
        self._timely = Timely(shards.client, clock, patience_ms=patience_ms)
        self._records = Records(shards)

    @property
    def shards(self) -> Shards:
        """Where they are."""
        return self._shards

    def now_ms(self) -> int:
        """The server's time at the latest, Unix ms: the one that tells what is due."""
        return self._timely.latest_ms()

    def look(self, schedule_id: str) -> Kept | None:
        """One schedule; None where there is none, or where its end is recorded in PostgreSQL."""
        return self.look_many([schedule_id]).get(schedule_id)

    def look_many(self, ids: Iterable[str]) -> dict[str, Kept]:
        """Those of the schedules that are here, by id."""
        wanted = list(ids)
        pipe = self._shards.client.pipeline(transaction=False)
        for schedule_id in wanted:
            shard = self._shards.of_id(schedule_id)
            # The order matters: what fires in between is seen to wait no more.
            pipe.hget(keys.schedules(shard), schedule_id)
            pipe.zscore(keys.scheduled(shard), schedule_id)
        answers = iter(pipe.execute())
        found = zip(wanted, answers, answers, strict=True)
        return {schedule_id: parse(schedule_id, value, score) for schedule_id, value, score in found if value}

    def plan(self, kept: Kept) -> None:
        """Accept a schedule; accepting it again has no effect."""
        self._plan(kept)

    def plan_once(self, kept: Kept, once: Once, answer: bytes) -> Replayed | Pending | None:
        """Accept a schedule for a request with an idempotency key; None when this call was the first.

        After Pending, `finish` the schedule that is in the answer. Raises IdempotencyConflict.
        """
        if self._records.home(once) == self._shards.of_id(kept.id):
            return self._plan(kept, once, answer)
        reserved = self._records.reserve(once, answer)
        if reserved is None:
            self.finish(kept, once, answer)
        return reserved

    def earlier(self, once: Once) -> Replayed | Pending | None:
        """What an idempotency key was used for. Raises IdempotencyConflict."""
        return self._records.earlier(once)

    def finish(self, kept: Kept, once: Once, answer: bytes) -> None:
        """Accept the schedule of a reserved request and complete its record."""
        self._plan(kept)
        self._complete(once, answer)

    def change(self, seen: Kept, changed: Kept) -> Outcome:
        """Replace a schedule that waits, if it is still as it was seen: `changed`, `stale`, `over` or `unknown`."""
        shard = self._shards.of_id(seen.id)
        arguments: list[str | bytes | int] = [seen.id, seen.revision, _due(changed), changed.value]
        return _outcome(self._timely.run("replan", self._names(shard)[:3], arguments))

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

    def fire(self) -> Due:
        """Fire what is due and fires once, at most FIRE_AT_ONCE of each shard, and find what comes again."""
        calls = [(self._names(shard), [FIRE_AT_ONCE]) for shard in self._shards.each()]
        fired, again, waits, now = 0, [], [], 0
        for count, next_in_ms, now_ms, flat in scripts.run_each(self._shards.client, "fire", calls):
            fired, now = fired + count, max(now, now_ms)
            triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
            again += [parse(schedule_id.decode(), value, due) for schedule_id, due, value in triples]
            if next_in_ms >= 0:
                waits.append(next_in_ms)
        return Due(fired, again, min(waits, default=None), now)

    def step(self, steps: Iterable[Step]) -> int:
        """Fire occurrences and move their schedules on, each unless somebody else did; returns how many moved."""
        moved = 0
        per_shard: dict[int, list[str | bytes | int]] = defaultdict(list)
        for seen, following, event_id, event in steps:
            arguments = per_shard[self._shards.of_id(seen.id)]
            arguments += (seen.id, _due(seen), seen.revision, _due(following), following.value, event_id, event)
        for shard, arguments in per_shard.items():
            moved += scripts.run(self._shards.client, "step", self._names(shard), arguments)
        return moved

    def changes(self, shard: int, count: int | None = None) -> list[Change]:
        """The oldest changes that are not recorded yet; all, without a count."""
        entries: Any = self._shards.client.xrange(keys.changes(shard), count=count)
        return [_change(entry_id, fields) for entry_id, fields in entries]

    def changed_shards(self) -> list[int]:
        """The shards with changes that are not recorded yet."""
        pipe = self._shards.client.pipeline(transaction=False)
        for shard in self._shards.each():
            pipe.xlen(keys.changes(shard))
        return [shard for shard, entries in enumerate(pipe.execute()) if entries]

    def recorded(self, shard: int, changes: Sequence[Change], over: Iterable[str]) -> None:
        """Forget changes, and schedules that are over by them: PostgreSQL has both."""
        entries = [change.entry_id for change in changes]
        scripts.run(self._shards.client, "recorded", self._names(shard)[:3], [len(entries), *entries, *over])

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
        pipe = self._shards.client.pipeline(transaction=False)
        for shard in self._shards.each():
            pipe.get(keys.compared(shard))
        return [shard for shard, note in enumerate(pipe.execute()) if note != COMPARED]

    def begin_comparison(self, shard: int, token: str) -> bytes:
        """Note that a shard is being compared; returns the note, to end with. A flush meanwhile takes it away."""
        note = keys.compared(shard)
        self._shards.client.set(note, token, nx=True)
        found: Any = self._shards.client.get(note)
        return found or b""

    def end_comparison(self, shard: int, note: bytes) -> bool:
        """Note that a shard is compared; False where the server lost the note, and so what it had, meanwhile."""
        return bool(scripts.run(self._shards.client, "replace", [keys.compared(shard)], [note, COMPARED]))

    def _plan(self, kept: Kept, once: Once | None = None, answer: bytes = b"") -> Replayed | None:
        shard = self._shards.of_id(kept.id)
        names, arguments = _with_record(self._names(shard)[:3], shard, once, answer)
        outcome, *rest = self._timely.run("plan", names, [*arguments, kept.id, _due(kept), kept.value])
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
    if b"fired" in fields:
        return Change(entry_id, None, fields[b"fired"].decode().split(" "), int(fields[b"at"]))
    kept = parse(fields[b"id"].decode(), fields[b"schedule"], fields[b"due"])
    return Change(entry_id, kept, [], events.accepted_ms(kept.id))
