"""The producer's side: events into a lane, once, or not at all."""

from contextlib import suppress
from typing import Final

from redis.exceptions import RedisError

from notifications import events
from notifications.events import Event
from notifications.exceptions import BacklogFull, CallerChanged, IdempotencyConflict, Refused
from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.clock import ServerClock
from notifications.stream.keys import Lane
from notifications.stream.once import Once, Pending, Records, Replayed, answered
from notifications.stream.rates import MICROSECONDS, Standing, Toll, standing
from notifications.stream.replicas import Replicas
from notifications.stream.timely import Timely

BACKLOG_RETRY_SECONDS: Final = 5
NO_LIMIT: Final = -1


class Writer:
    """Writes events to one lane of each shard."""

    def __init__(
        self,
        shards: Shards,
        *,
        max_backlog: int,
        clock: ServerClock,
        patience_ms: int,
        lane: Lane = "live",
        replicas: int = 0,
    ) -> None:
        """`patience_ms`: how long the caller waits for an answer. What would be accepted later is not accepted.

        `replicas`: so many must have what is accepted; where fewer do, each method that accepts raises NotReplicated.
        """
        self._shards = shards
        self._lane = lane
        self._timely = Timely(shards.own, clock, patience_ms=patience_ms, replicas=replicas)
        self._records = Records(shards, Replicas(replicas, patience_ms))
        self._shard_backlog = -(-max_backlog // shards.count)

    def add(self, batch: list[Event], since: float | None = None) -> None:
        """Accept events: one script a shard, all at once. Adding an event again has no effect. `since`: see Timely.run.

        Raises BacklogFull, before anything is accepted, when a shard has no room for its part.
        """
        involved = self._shards.group(batch, lambda event: event.recipient)
        limit = self._shard_backlog
        if len(involved) > 1:
            self._check_room(involved)
            limit = NO_LIMIT
        calls = [self._acceptance(shard, members, limit) for shard, members in involved.items()]
        for outcome, *rest in self._timely.run_each("accept", calls, since):
            if outcome == b"full":
                raise _full(rest[0])

    def earlier(self, once: Once) -> Replayed | Pending | None:
        """What an idempotency key was used for. Raises IdempotencyConflict."""
        return self._records.earlier(once)

    def add_once(
        self, batch: list[Event], once: Once, answer: bytes, since: float | None = None
    ) -> Replayed | Pending | None:
        """Accept events for a request with an idempotency key; None when this call was the first.

        Where all of it lies in one shard, record and events are written by one script. Else the record is reserved
        in the key's own shard, the events added, and the record completed; a request that finds a reservation gets
        Pending and goes on under the ids in it (`finish`), which is harmless however often it happens.
        Raises IdempotencyConflict and BacklogFull; `reserved` tells whether the reservation stands.
        """
        home = self._records.home(once)
        involved = self._shards.group(batch, lambda event: event.recipient)
        if set(involved) <= {home}:
            return self._accept(home, batch, once, answer, since)
        reserved = self._records.reserve(once, answer)
        if reserved is None:
            try:
                self.finish(batch, once, answer, since)
            except Refused as refused:
                refused.reserved = True
                raise
        return reserved

    def admit(
        self, batch: list[Event], toll: Toll, once: Once | None = None, answer: bytes = b""
    ) -> tuple[Replayed | Pending | None, Standing]:
        """Accept events on one server, and take them from a rate: one script, all or nothing.

        What the idempotency key was used for before, if it was; and how the rate stands: where it did not let as many
        through, nothing was accepted. Raises CallerChanged, IdempotencyConflict and BacklogFull.
        """
        names = [toll.mirror_name, toll.rate_name]
        request = (once.fingerprint, answer, once.seconds) if once else ("", "", "")
        arguments: list[str | bytes | int] = [self._shard_backlog, self._lane, *request]
        rate = toll.rate
        arguments += (toll.mirror, rate.window * MICROSECONDS, rate.p, rate.q)
        for shard, members in self._shards.group(batch, lambda event: event.recipient).items():
            names += (*self._names(shard), keys.counters(shard))
            arguments.append(len(members))
            for event in members:
                arguments += (event.id, events.encode(event))
        if once:
            names.append(once.key(self._records.home(once)))
        outcome, *rest = self._timely.run("admit", names, arguments)
        if outcome == b"changed":
            raise CallerChanged
        if outcome == b"full":
            raise _full(rest[0])
        if outcome == b"conflict":
            raise IdempotencyConflict
        stands = standing(*rest[:3])
        return (Pending(rest[3]) if outcome == b"pending" else answered(outcome, rest[3:])), stands

    def finish(self, batch: list[Event], once: Once, answer: bytes, since: float | None = None) -> None:
        """Add the events of a reserved request and complete its record.

        Whatever keeps them from being added, a full backlog too, the reservation stays: another request with the key
        may have added some by now, and only under the reserved ids is adding them again harmless.
        """
        self.add(batch, since)
        # All is accepted by now. A record that is left reserved is completed by the next request with its key.
        with suppress(RedisError):
            self._records.complete(once, answer)

    def readmit(self, batch: list[Event]) -> None:
        """Take dead events in again; one that is in flight already, other than dead, is not added twice.

        Raises BacklogFull where a shard has no room for its part; other shards may have taken theirs. Repeating it is
        harmless.
        """
        for shard, members in self._shards.group(batch, lambda event: event.recipient).items():
            arguments: list[str | bytes | int] = [self._shard_backlog, self._lane]
            for event in members:
                arguments += (event.id, event.life, events.encode(event))
            outcome, count = self._timely.run("readmit", self._names(shard), arguments)
            if outcome == b"full":
                raise _full(count)

    def _check_room(self, involved: dict[int, list[Event]]) -> None:
        """Look at the backlog of each shard. What comes in between is let through: the limit need not be exact."""
        pipe = self._shards.client.pipeline(transaction=False)
        for shard in involved:
            for lane in keys.LANES:
                pipe.xlen(keys.lane(shard, lane))
        lengths = iter(pipe.execute())
        for members in involved.values():
            backlog = sum(next(lengths) for _ in keys.LANES)
            if backlog + len(members) > self._shard_backlog:
                raise _full(backlog)

    def _accept(
        self, shard: int, batch: list[Event], once: Once, answer: bytes, since: float | None
    ) -> Replayed | Pending | None:
        call = self._acceptance(shard, batch, self._shard_backlog, once, answer)
        outcome, *rest = self._timely.run("accept", *call, since=since)
        if outcome == b"full":
            raise _full(rest[0])
        return Pending(rest[0]) if outcome == b"pending" else answered(outcome, rest)

    def _acceptance(
        self, shard: int, batch: list[Event], limit: int, once: Once | None = None, answer: bytes = b""
    ) -> tuple[list[str], list[str | bytes | int]]:
        """The keys and the arguments of accept.lua."""
        names = [*self._names(shard), keys.counters(shard)]
        arguments: list[str | bytes | int] = [limit, self._lane, "", "", ""]
        if once:
            names.append(once.key(shard))
            arguments[2:] = [once.fingerprint, answer, once.seconds]
        for event in batch:
            arguments += (event.id, events.encode(event))
        return names, arguments

    def _names(self, shard: int) -> list[str]:
        others = (keys.lane(shard, other) for other in keys.LANES if other != self._lane)
        return [keys.lane(shard, self._lane), *others, keys.inflight(shard)]


def _full(backlog: int) -> BacklogFull:
    return BacklogFull(f"{backlog} events wait, and no more may.", retry_after=BACKLOG_RETRY_SECONDS)
