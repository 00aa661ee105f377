"""Requests that take effect once: the record of an idempotency key, kept in Redis."""

from typing import Any

import msgspec

from notifications.exceptions import IdempotencyConflict
from notifications.stream import keys, scripts
from notifications.stream.client import Shards
from notifications.stream.replicas import NO_REPLICAS, Replicas


class Once(msgspec.Struct, frozen=True):
    """A request that takes effect once: whose it is, its key's digest, its fingerprint (32 hex digits), its life."""

    caller: str
    digest: str
    fingerprint: str
    seconds: int

    def key(self, shard: int) -> str:
        """The key of its record in a shard."""
        return keys.once(shard, self.caller, self.digest)


class Replayed(msgspec.Struct, frozen=True):
    """The request took effect before; this was its answer."""

    answer: bytes


class Pending(msgspec.Struct, frozen=True):
    """The request was begun before and may be half done; this will be its answer, and in it are its ids."""

    answer: bytes


class Records:
    """The records of requests whose effect lies in another shard than they do: reserved first, completed after.

    A record is found by caller and key, whatever its request is about, so that the same key with another recipient
    is seen to be a conflict.
    """

    def __init__(self, shards: Shards, replicas: Replicas = NO_REPLICAS) -> None:
        """`replicas`: those that must have a reservation before anything is done under it."""
        self._shards = shards
        self._replicas = replicas

    def home(self, once: Once) -> int:
        """The shard of a record."""
        return self._shards.of(f"{once.caller}:{once.digest}")

    def reserve(self, once: Once, answer: bytes) -> Replayed | Pending | None:
        """Note what is about to be done, with the answer, and the ids in it; None where this call was the first.

        Raises IdempotencyConflict and NotReplicated.
        """
        outcome, *rest = self._replicas.run(
            self._shards.client, "reserve", [once.key(self.home(once))], [once.fingerprint, answer, once.seconds]
        )
        return Pending(rest[0]) if outcome == b"pending" else answered(outcome, rest)

    def earlier(self, once: Once) -> Replayed | Pending | None:
        """What a key was used for, without a word of what it is to be used for now. Raises IdempotencyConflict."""
        record: Any = self._shards.client.get(once.key(self.home(once)))
        if record is None:
            return None
        fingerprint, state, answer = record[:32], record[32:33], record[33:]
        if fingerprint != once.fingerprint.encode():
            raise IdempotencyConflict
        return Pending(answer) if state == b"P" else Replayed(answer)

    def complete(self, once: Once, answer: bytes) -> None:
        """Note that it is done."""
        reserved = once.fingerprint.encode() + answer
        scripts.run(self._shards.client, "complete", [once.key(self.home(once))], [reserved])

    def release(self, once: Once, answer: bytes) -> None:
        """Take a reservation back: nothing was done, and nothing will be."""
        reserved = f"{once.fingerprint}P".encode() + answer
        scripts.run(self._shards.client, "release", [once.key(self.home(once))], [reserved])


def answered(outcome: bytes, rest: list[bytes]) -> Replayed | None:
    """What a script found under an idempotency key. Raises IdempotencyConflict."""
    if outcome == b"conflict":
        raise IdempotencyConflict
    return Replayed(rest[0]) if outcome == b"replayed" else None
