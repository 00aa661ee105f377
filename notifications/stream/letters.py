"""The recorder's side: dead letters out of their stream, held until they are recorded."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import NamedTuple

from notifications.stream import keys, scripts
from notifications.stream.client import Shards
from notifications.stream.group import Entry, GroupReader
from notifications.stream.keys import RECORDERS


class Letter(NamedTuple):
    """An event that was given up, as settle.lua wrote it. `event_id` is empty where the payload tells none."""

    shard: int
    entry_id: bytes
    event_id: str
    payload: bytes
    reason: str
    error: str
    attempts: int
    failed_ms: int


class LetterReader(GroupReader):
    """One consumer of the group `recorders`, over every shard's dead letters.

    A batch is held at a time: what is held is what was read or claimed last.
    """

    def __init__(self, shards: Shards, consumer: str, *, batch_size: int, claim_idle_ms: int) -> None:
        self._shard_of = {keys.dead_letters(shard).encode(): shard for shard in shards.each()}
        super().__init__(
            shards.client, list(self._shard_of), group=RECORDERS, consumer=consumer, claim_idle_ms=claim_idle_ms
        )
        self._count_each = max(1, batch_size // shards.count)

    def read(self, *, block_ms: int | None) -> list[Letter]:
        """The next letters, or what comes within `block_ms`."""
        return self._letters(self._deliver(self._streams, count=self._count_each, block_ms=block_ms))

    def claim_letters(self) -> list[Letter]:
        """What silent recorders held; recording a letter again has no effect."""
        return self._letters(self.claim())

    def letters_within_reach(self) -> list[Letter]:
        """Those that are held and can be settled just now; see GroupReader.within_reach."""
        return self._letters(self.within_reach(self._held))

    def settle(self, letters: Collection[Letter]) -> None:
        """End held letters: they are recorded. One script a shard, all at once; safe to repeat."""
        per_shard: dict[int, list[str | bytes | int]] = defaultdict(lambda: [RECORDERS])
        for letter in letters:
            per_shard[letter.shard] += (letter.entry_id, letter.event_id)
        calls = [([keys.dead_letters(shard), keys.inflight(shard)], per_shard[shard]) for shard in per_shard]
        scripts.run_each(self._client, "record", calls)
        settled = {(letter.shard, letter.entry_id) for letter in letters}
        self._release(entry for entry in self._held if (self._shard_of[entry.stream], entry.entry_id) in settled)

    def _letters(self, entries: Iterable[Entry]) -> list[Letter]:
        return [self._letter(entry) for entry in entries]

    def _letter(self, entry: Entry) -> Letter:
        fields = entry.fields
        return Letter(
            shard=self._shard_of[entry.stream],
            entry_id=entry.entry_id,
            event_id=fields.get(b"id", b"").decode(),
            payload=entry.payload,
            reason=_text(fields, b"reason"),
            error=_text(fields, b"error"),
            attempts=int(fields.get(b"attempts", b"1")),
            failed_ms=int(fields.get(b"failed_ms", entry.entry_id.partition(b"-")[0])),
        )


def _text(fields: dict[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="replace")
