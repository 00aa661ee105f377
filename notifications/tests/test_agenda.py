"""Of many shards, a scheduler asks only those where something is due."""

import math
import time

import pytest

from notifications.stream import keys
from notifications.stream.agenda import Agenda, ask
from notifications.stream.client import Shards

pytestmark = [
    pytest.mark.one_shard_is_enough,
    pytest.mark.not_on_a_cluster("one server is asked of all shards at once; a cluster's are in tests/test_cluster.py"),
]


def due_in(shards: Shards, shard: int, milliseconds: int) -> None:
    """Let something wait in a shard."""
    shards.client.zadd(keys.scheduled(shard), {"an id": int(time.time() * 1000) + milliseconds})


def begin(many: Shards, agenda: Agenda) -> list[int]:
    ask(many, agenda)
    return agenda.begin()


def test_a_question_tells_where_something_is_due_and_when_it_will_be(shards: Shards) -> None:
    many = Shards(shards.client, 64)
    agenda = Agenda(many, keys.scheduled, timed=True)
    assert begin(many, agenda) == []
    assert agenda.next_in_seconds() == math.inf
    due_in(many, 5, -1000)
    due_in(many, 7, 60_000)
    due_in(many, 9, 90_000)
    assert begin(many, agenda) == [5]
    assert 50 < agenda.next_in_seconds() <= 60
    # Nobody did anything there: the next question finds it again.
    assert begin(many, agenda) == [5]


def test_what_is_noted_is_waited_for_even_while_others_are_looked_at(shards: Shards) -> None:
    many = Shards(shards.client, 64)
    agenda = Agenda(many, keys.scheduled, timed=True)
    assert begin(many, agenda) == []
    agenda.note(3, 30_000)
    agenda.note(4, 10_000)
    assert 5 < agenda.next_in_seconds() <= 10
    agenda.again([3])
    assert agenda.next_in_seconds() == 0


@pytest.mark.parametrize("count", [1, 3])
def test_one_question_is_enough_for_several_agendas(shards: Shards, count: int) -> None:
    many = Shards(shards.client, count)
    schedules, retries = (Agenda(many, name, timed=True) for name in (keys.scheduled, keys.delayed))
    due_in(many, count - 1, 60_000)
    shards.client.zadd(keys.delayed(0), {"an id": 1})
    before = shards.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    ask(many, schedules, retries)
    assert shards.client.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1
    assert (schedules.begin(), retries.begin()) == ([], [0])
    assert 50 < schedules.next_in_seconds() <= 60
    assert retries.next_in_seconds() == math.inf
