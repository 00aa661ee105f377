"""What an earlier release left in Redis is read by this one, and what a later one leaves is not lost here.

The bytes are written down as they were, not made by the code under test: whoever changes what they mean breaks these.
"""

from typing import Any

import pytest

from dlq.models import DeadLetter
from dlq.recorder import Recorder
from notifications import events, wiring
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.models import Attempt, Notification
from notifications.stream import delayed, keys
from notifications.stream.client import Shards
from notifications.stream.letters import LetterReader
from notifications.stream.reader import Reader
from notifications.worker import Worker
from scheduler.models import Schedule
from scheduler.planner import Planner
from scheduler.recorder import Recorder as ScheduleRecorder

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

ID = "01a20433-cd9e-7a24-b36e-c92899ccc2ed"
FIRST = b'{"v":1,"id":"%s","recipient":"alice","type":"t","title":"From the first release"}' % ID.encode()
RETRIED = (
    b'{"v":1,"id":"%s","recipient":"alice","type":"t","title":"T","body":"B","data":{"a":1},"attempts":2,'
    b'"last_error":"no","first_failed_ms":1800000000000,"failures":['
    b'{"at_ms":1800000000000,"attempt":1,"error":"no","delay_ms":1000},{"at_ms":1800000001000,"attempt":2,"error":"no"}]}'
) % ID.encode()
WITH_MORE = FIRST.replace(b'"v":1,', b'"v":1,"of_a_later_release":{"x":[1]},')
OF_A_LATER_VERSION = FIRST.replace(b'"v":1', b'"v":2')
TEMPLATE = (
    b'{"v":1,"id":"01a20433-cd9e-7a24-b36e-c92899cc0000","recipient":"","type":"news","title":"News","source":"bulk",'
    b'"source_id":"01a20433-cd9e-7a24-b36e-c92899cc0000"}'
)
SCHEDULE = (
    b'once 1\n{"at_ms":1800000000000,"by":"API key \\"x\\""}\n'
    b'{"v":1,"id":"%s","recipient":"alice","type":"t","title":"T","source":"schedule","source_id":"%s"}'
) % (ID.encode(), ID.encode())


@pytest.fixture
def redis(shards: Shards) -> Any:
    return shards.client


def work(shards: Shards) -> None:
    """A worker, until nothing waits in a lane."""
    reader = Reader(shards, "worker-1", batch_size=1000, claim_idle_ms=10_000)
    duty = Worker(shards, reader, Announcer(shards, Outbox()))
    client: Any = shards.client
    while any(client.xlen(keys.lane(shard, lane)) for shard in shards.each() for lane in keys.LANES):
        duty.step()


def record(shards: Shards) -> None:
    """A DLQ worker, until all is recorded."""
    duty = Recorder(LetterReader(shards, "recorder-1", batch_size=200, claim_idle_ms=10_000))
    client: Any = shards.client
    while any(client.xlen(keys.dead_letters(shard)) for shard in shards.each()):
        duty.step()


def home(shards: Shards) -> int:
    return shards.of("alice")


@pytest.mark.parametrize("payload", [FIRST, RETRIED, WITH_MORE])
def test_an_event_that_waits_in_a_lane_is_stored(shards: Shards, redis: Any, payload: bytes) -> None:
    entry = redis.xadd(keys.lane(home(shards), "live"), {"event": payload})
    redis.hset(keys.inflight(home(shards)), ID, b"queued live " + entry)
    work(shards)
    row = Notification.objects.get()
    assert (str(row.pk), row.recipient, row.seq) == (ID, "alice", 1)
    assert Attempt.objects.count() == payload.count(b"at_ms")
    assert not redis.hlen(keys.inflight(home(shards)))


def test_a_retry_that_waits_for_its_time_is_stored(shards: Shards, redis: Any) -> None:
    redis.zadd(keys.delayed(home(shards)), {ID: 1})
    redis.hset(keys.payloads(home(shards)), ID, b"live " + RETRIED)
    redis.hset(keys.inflight(home(shards)), ID, "retrying delayed 1")
    assert delayed.move_due(shards).events == 1
    work(shards)
    assert Notification.objects.get().attempts == 3


def test_a_chunk_of_a_bulk_job_reaches_its_recipients(shards: Shards, redis: Any) -> None:
    redis.xadd(keys.lane(home(shards), "bulk"), {"event": TEMPLATE, "to": "alice\nalice-2"})
    work(shards)
    found = dict(Notification.objects.values_list("recipient", "pk"))
    assert found.keys() == {"alice", "alice-2"}
    # So it is known again by a fan-out that begins anew with this release.
    assert str(found["alice"]) == "01a20433-cd9e-7d4b-9f25-8ad826f9c2ed"


def test_a_schedule_fires_and_is_recorded(shards: Shards, redis: Any) -> None:
    shard = shards.of_id(ID)
    redis.zadd(keys.scheduled(shard), {ID: 1})
    redis.hset(keys.schedules(shard), ID, SCHEDULE)
    redis.xadd(keys.changes(shard), {"id": ID, "due": "1800000000000", "schedule": SCHEDULE})
    schedules = wiring.patient_schedules()
    Planner(schedules).step()
    recorder = ScheduleRecorder(schedules)
    while redis.xlen(keys.changes(shard)):
        recorder.step()
    work(shards)
    assert Schedule.objects.get().get_status_display() == "fired"
    assert Notification.objects.get().source == Notification.Source.SCHEDULE


def test_a_dead_letter_is_recorded(shards: Shards, redis: Any) -> None:
    fields = {"event": RETRIED, "id": ID, "reason": "retries_exhausted", "error": "no", "attempts": 2, "failed_ms": 1}
    redis.xadd(keys.dead_letters(home(shards)), fields)
    record(shards)
    letter = DeadLetter.objects.get()
    assert (str(letter.pk), letter.readable, letter.attempts) == (ID, True, 2)


def test_what_only_a_later_release_can_read_becomes_a_letter_and_waits_for_it(shards: Shards, redis: Any) -> None:
    redis.xadd(keys.lane(home(shards), "live"), {"event": OF_A_LATER_VERSION})
    work(shards)
    record(shards)
    letter = DeadLetter.objects.get()
    assert (letter.readable, letter.recipient, bytes(letter.payload)) == (False, "alice", OF_A_LATER_VERSION)


def test_this_release_writes_what_the_first_one_could_read(make_event: Any) -> None:
    event = make_event("alice", id=ID, type="t", title="From the first release")
    assert events.encode(event) == FIRST
