"""A job's list as the fan-out reads it: in chunks, over the ends of its parts, and kept no longer than it is needed."""

import pytest

from bulk import lists
from bulk.lists import CHUNK_SIZE, CHUNKS_AT_ONCE, Recipients
from bulk.models import PART_SIZE
from bulk.tests.helpers import list_of, make_job
from notifications import wiring

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("rate", "size"), [(None, CHUNK_SIZE), (10**6, CHUNK_SIZE), (500.0, 50), (20.0, 2), (0.1, 1)])
def test_a_chunk_is_as_large_as_a_tenth_of_a_second(rate: float | None, size: int) -> None:
    assert lists.chunk_size(rate, 1) == size


def test_with_many_shards_a_chunk_is_of_two_at_least() -> None:
    assert lists.chunk_size(500 / 64, 64) == 2
    assert lists.chunk_size(5000 / 64, 64) == 7


def test_a_list_is_read_over_the_ends_of_its_parts() -> None:
    job = make_job([f"user-{number}" for number in range(PART_SIZE * 2 * wiring.shards().count)])
    shard = 0
    members = list_of(job, shard)
    assert len(members) > PART_SIZE
    recipients, position, read = Recipients(job.pk, shard), 0, []
    while chunks := recipients.chunks(position, len(members) - 3, 190):
        assert len(chunks) <= CHUNKS_AT_ONCE
        read += [one for chunk in chunks for one in chunk]
        position = len(read)
    assert read == members[:-3]
