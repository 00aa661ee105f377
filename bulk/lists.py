"""The list of a job's recipients, read a part at a time as the fan-out gets to it."""

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from bulk.models import PART_SIZE, Part

# Recipients in a chunk: enough that what a chunk costs hardly counts, few enough for a worker to get through in the
# time that a single notification may wait.
CHUNK_SIZE: Final = 100
CHUNKS_AT_ONCE: Final = 10
# With a limit on its rate, a job goes in steps of about so many seconds.
STEP_SECONDS: Final = 0.1
# Where there are many shards, one recipient at a time would be late each time by what a turn of all of them takes.
LEAST_OF_MANY: Final = 2
MANY_SHARDS: Final = 10


class Recipients:
    """The recipients of one job in one shard, by their position. Keeps the part that was read last."""

    def __init__(self, job_id: UUID, shard: int) -> None:
        self._job_id = job_id
        self._shard = shard
        self._number = -1
        self._part: list[str] = []

    def chunks(self, position: int, end: int, size: int) -> list[list[str]]:
        """Some chunks of recipients from a position on, none past `end`. Empty where the list is gone."""
        return list(self._chunks(position, end, size))

    def forget(self) -> None:
        """Keep no part in memory."""
        self._number, self._part = -1, []

    def _chunks(self, position: int, end: int, size: int) -> Iterator[list[str]]:
        for _ in range(CHUNKS_AT_ONCE):
            number, offset = divmod(position, PART_SIZE)
            chunk = self._read(number)[offset : offset + min(size, end - position)]
            if not chunk:
                return
            yield chunk
            position += len(chunk)

    def _read(self, number: int) -> list[str]:
        if number != self._number:
            part = Part.objects.filter(job_id=self._job_id, shard=self._shard, number=number).first()
            self._part = part.recipients.split("\n") if part else []
            self._number = number if part else -1
        return self._part


def chunk_size(rate: float | None, shards: int) -> int:
    """How many recipients a chunk has, where a shard's part of the job may go at so many events a second."""
    least = LEAST_OF_MANY if shards > MANY_SHARDS else 1
    return CHUNK_SIZE if rate is None else max(least, min(CHUNK_SIZE, int(rate * STEP_SECONDS)))
