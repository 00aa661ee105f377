"""A job's list as the fan-out reads it: in chunks, over the ends of its parts, and kept no longer than it is needed."""

import pytest

from bulk import lists
from bulk.lists import CHUNK_SIZE, CHUNKS_AT_ONCE, Recipients
from bulk.models import PART_SIZE
from bulk.tests.helpers import list_of, make_job
from notifications import wiring
from notifications.stream.client import Shards
from notifications.stream.fanout import Fanout, Order

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("rate", "size"), [(None, CHUNK_SIZE), (10**6, CHUNK_SIZE), (500.0, 50), (20.0, 2), (0.1, 1)])
def test_a_chunk_is_as_large_as_a_tenth_of_a_second(rate: float | None, size: int) -> None:
    assert lists.chunk_size(rate, 1) == size


def test_with_many_shards_a_chunk_is_of_two_at_least() -> None:
    assert lists.chunk_size(500 / 64, 64) == 2
    assert lists.chunk_size(5000 / 64, 64) == 7


@pytest.mark.parametrize("count", [1, 64])
@pytest.mark.parametrize("rate", [None, 0.01, 0.8, 1.0, 1.9, 7.0, 500.0])
def test_a_chunk_that_is_cut_for_a_rate_is_let_through_at_that_rate(
    shards: Shards, rate: float | None, count: int
) -> None:
    """Else the job would stand still for ever."""
    fanout = Fanout(Shards(shards.client, count), "bulk-worker-1")
    fanout.open("job", Order("running", 1, None if rate is None else [rate] * count))
    chunk = [f"user-{number}" for number in range(lists.chunk_size(rate, count))]
    fanned = fanout.fan("job", 0, position=0, event=b"{}", chunks=[chunk], limit=2)
    assert (fanned.what, fanned.position) == ("fanned", len(chunk))


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
