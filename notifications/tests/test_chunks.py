"""The worker with chunks of bulk jobs: one entry, many events, each of which has its own fate."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import pytest
from django.conf import settings
from django.db import OperationalError
from django.db.models import Sum

from notifications import events, store, wiring
from notifications.events import Draft, Event
from notifications.models import Inbox, Notification, Tally
from notifications.stream import delayed, keys
from notifications.stream.client import Shards
from notifications.stream.fanout import LANE, Fanout, Order
from notifications.stream.reader import CHUNKS_AT_ONCE, POLITE_EVENTS, Reader, Spread
from notifications.stream.writer import Writer
from notifications.tests.test_worker import STEPS, Killed, dead_letters, drain, make_reader, make_worker, total, waiting
from notifications.worker import Worker

pytestmark = pytest.mark.django_db

Make = Callable[..., Event]

MANY = 10**6
SIZE = 100


@pytest.fixture
def job() -> Event:
    """What all recipients of a job get."""
    return template()


def template(**data: object) -> Event:
    """The same; `data` as it is named."""
    draft = Draft(recipient="nobody", type="news", title="News", data=data)
    return events.template(draft, events.new_id(""))


def crowd(count: int, shard: int | None = None) -> list[str]:
    """Recipients, all of one shard where it is named."""
    shards = wiring.shards()
    every = (f"user-{number}" for number in range(count * (1 if shard is None else shards.count * 4)))
    return [one for one in every if shard is None or shards.of(one) == shard][:count]


def put(shards: Shards, job: Event, recipients: Iterable[str], size: int = SIZE) -> None:
    """Fan a job out to recipients, in chunks."""
    fanout = Fanout(shards, "tests")
    fanout.open(job.id, Order("running", 1, None))
    for shard, members in shards.group(recipients, str).items():
        chunks = [members[start : start + size] for start in range(0, len(members), size)]
        fanned = fanout.fan(job.id, shard, position=0, event=events.encode(job), chunks=chunks, limit=MANY)
        assert fanned.position == len(members)


def ids(job: Event, recipients: Iterable[str]) -> set[str]:
    """The ids that a job's events have."""
    return {event.id for event in events.copies(job, recipients)}


def rows() -> set[str]:
    return {str(row_id) for row_id in Notification.objects.values_list("id", flat=True)}


def tallied(job: Event) -> int:
    """Rows of a job, as its tallies have them."""
    return int(Tally.objects.filter(source_id=job.id).aggregate(rows=Sum("stored"))["rows"] or 0)


def assert_arrived(shards: Shards, job: Event, recipients: Sequence[str], kept: int | None = None) -> None:
    """Each has one row, counted once, and nothing is left but `kept` letters."""
    assert rows() == ids(job, recipients)
    assert tallied(job) == len(recipients) == total(shards, "stored")
    assert set(Inbox.objects.values_list("seq", "unread")) <= {(1, 1)}
    assert not any(waiting(shards).values())
    assert sum(shards.client.hlen(keys.inflight(shard)) for shard in shards.each()) == (kept or 0)
    assert len(dead_letters(shards)) == (kept or 0)


def work(duty: Worker, shards: Shards) -> None:
    """Work, and move what is due, until nothing waits."""
    deadline = time.monotonic() + 30
    while any(waiting(shards).values()) or any(shards.client.zcard(keys.delayed(shard)) for shard in shards.each()):
        assert time.monotonic() < deadline, "it never came to rest"
        drain(duty, shards)
        delayed.move_due(shards)


@pytest.fixture
def faults_are_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events may ask for trouble, and are tried three times."""
    configured = msgspec.structs.replace(settings.NOTIFY, fault_injection=True, retry_delays="0.02,0.02")
    monkeypatch.setattr(settings, "NOTIFY", configured)


def test_everybody_in_a_chunk_has_a_row_that_knows_its_job(shards: Shards, job: Event) -> None:
    recipients = crowd(500)
    put(shards, job, recipients)
    drain(make_worker(shards), shards)
    assert_arrived(shards, job, recipients)
    assert total(shards, "accepted") == 500
    kinds = Notification.objects.values_list("source", "source_id", "attempts", "title").distinct()
    assert [(source, str(source_id), *rest) for source, source_id, *rest in kinds] == [
        (Notification.Source.BULK, job.id, 1, "News")
    ]


def test_chunks_of_two_jobs_and_single_events_are_stored_side_by_side(
    shards: Shards, job: Event, make_event: Make, make_writer: Callable[..., Writer]
) -> None:
    other, single = template(), make_event("user-1")
    put(shards, job, crowd(30), size=7)
    put(shards, other, crowd(20), size=7)
    make_writer(lane="bulk").add([single])
    drain(make_worker(shards), shards)
    assert rows() == ids(job, crowd(30)) | ids(other, crowd(20)) | {single.id}
    assert (tallied(job), tallied(other), Tally.objects.count()) == (30, 20, Tally.objects.count())
    assert Inbox.objects.get(recipient="user-1").seq == 3


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_worker_that_dies_over_a_chunk_at_any_step_has_one_effect_in_the_end(
    owner: Any, name: str, when: str, shards: Shards, job: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipients = crowd(60)
    put(shards, job, recipients, size=25)
    original = getattr(owner, name)

    def die(*args: Any, **kwargs: Any) -> None:
        if when == "after":
            original(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(owner, name, die)
    with pytest.raises(Killed):
        drain(make_worker(shards, "killed"), shards)
    monkeypatch.undo()
    drain(make_worker(shards, "successor", idle_ms=0), shards)
    assert rows() == ids(job, recipients)
    assert tallied(job) == 60
    assert set(Inbox.objects.values_list("seq", "unread")) == {(1, 1)}
    assert total(shards, "stored") == 60
    assert not dead_letters(shards)


def test_a_chunk_whose_worker_died_is_taken_apart_and_who_killed_it_is_found(
    shards: Shards, job: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipients = crowd(10, shard=0)
    (killer,) = events.copies(job, [recipients[4]])
    put(shards, job, recipients)
    victims, original = 0, store.store

    def kill(batch: Sequence[Event]) -> store.Stored:
        nonlocal victims
        if any(event.id == killer.id for event in batch):
            victims += 1
            raise Killed
        return original(batch)

    monkeypatch.setattr(store, "store", kill)
    for number in range(12):
        try:
            drain(make_worker(shards, f"worker-{number}", idle_ms=0), shards)
        except Killed:
            continue
        break
    # Once among all others in the chunk, once among them as single events, and three times alone.
    assert victims == 5
    assert rows() == ids(job, [one for one in recipients if one != killer.recipient])
    (letter,) = dead_letters(shards)
    assert (letter[b"id"].decode(), letter[b"reason"]) == (killer.id, b"crash")
    assert tallied(job) == 9


def test_who_is_refused_in_a_chunk_is_a_letter_and_everybody_else_is_stored(shards: Shards, job: Event) -> None:
    """A recipient that passed the door of an older release, say."""
    good, bad = crowd(50), "x" * 129
    put(shards, job, [*good[:25], bad, *good[25:]])
    drain(make_worker(shards), shards)
    assert_arrived(shards, job, good, kept=1)
    (letter,) = dead_letters(shards)
    kept = events.decode(letter[b"event"])
    assert (kept.recipient, kept.source_id, letter[b"reason"], kept.attempts) == (bad, job.id, b"invalid", 1)


@pytest.mark.usefixtures("faults_are_on")
def test_what_fails_in_a_chunk_is_tried_again_as_single_events(shards: Shards) -> None:
    job, recipients = template(fault={"fail": 1}), crowd(30)
    put(shards, job, recipients)
    work(make_worker(shards), shards)
    assert_arrived(shards, job, recipients)
    assert set(Notification.objects.values_list("attempts", flat=True)) == {2}
    assert total(shards, "retried") == 30


@pytest.mark.usefixtures("faults_are_on")
def test_what_always_fails_in_a_chunk_is_a_letter_each_after_every_attempt(shards: Shards) -> None:
    job, recipients = template(fault={"fail": -1}), crowd(30)
    put(shards, job, recipients)
    work(make_worker(shards), shards)
    letters = [events.decode(letter[b"event"]) for letter in dead_letters(shards)]
    assert {letter.id for letter in letters} == ids(job, recipients)
    assert {(letter.attempts, letter.source_id) for letter in letters} == {(3, job.id)}
    assert len(letters) == 30 == total(shards, "dead")
    assert not rows()
    assert not Tally.objects.exists()


def test_a_chunk_whose_event_cannot_be_read_keeps_its_recipients_in_the_letter(shards: Shards, job: Event) -> None:
    client: Any = shards.client
    good, lost = crowd(5, shard=0), ["anna", "bert"]
    client.xadd(keys.lane(0, LANE), {"event": b'{"v":99,"id":"\xff"}', "to": "\n".join(lost)})
    put(shards, job, good)
    drain(make_worker(shards), shards)
    assert rows() == ids(job, good)
    (letter,) = dead_letters(shards)
    assert msgspec.json.decode(letter[b"event"]) == {"event": '{"v":99,"id":"�"}', "to": lost}
    assert letter[b"reason"] == b"invalid"


def test_chunks_of_one_job_that_cannot_be_read_are_letters_of_their_own(shards: Shards, job: Event) -> None:
    """The job's id is in each of them, and of a letter there is one for an id."""
    client: Any = shards.client
    newer = events.encode(job).replace(b'"v":1', b'"v":99')
    for pair in (["anna", "bert"], ["cora", "dora"]):
        client.xadd(keys.lane(0, LANE), {"event": newer, "to": "\n".join(pair)})
    drain(make_worker(shards), shards)
    letters = dead_letters(shards)
    assert [letter[b"id"] for letter in letters] == [b"", b""]
    assert [msgspec.json.decode(letter[b"event"])["to"] for letter in letters] == [["anna", "bert"], ["cora", "dora"]]


def test_a_chunk_that_cannot_be_read_and_was_claimed_is_a_letter_too(shards: Shards) -> None:
    client: Any = shards.client
    dead = make_reader(shards, "dead")
    dead.create_groups()
    client.xadd(keys.lane(0, LANE), {"event": "nonsense", "to": "anna"})
    dead.read(block_ms=100)
    drain(make_worker(shards, "heir", idle_ms=0), shards)
    (letter,) = dead_letters(shards)
    assert msgspec.json.decode(letter[b"event"]) == {"event": "nonsense", "to": ["anna"]}


def test_an_outage_in_the_middle_of_chunks_counts_nothing_twice(
    shards: Shards, job: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipients = crowd(60)
    put(shards, job, recipients, size=10)
    duty = make_worker(shards)
    original = Reader.settle

    def fail(self: Reader, outcomes: Iterable[Any]) -> None:
        original(self, list(outcomes)[:1])
        raise OperationalError("gone")

    monkeypatch.setattr(Reader, "settle", fail)
    for _ in range(3):
        with pytest.raises(OperationalError):
            duty.step()
    monkeypatch.undo()
    drain(duty, shards)
    assert_arrived(shards, job, recipients)


def test_two_workers_that_settle_the_same_chunk_count_it_once(shards: Shards, job: Event) -> None:
    """One that stood still for a while, and the one that claimed from it."""
    recipients = crowd(6, shard=0)
    put(shards, job, recipients)
    slow, quick = make_reader(shards, "slow"), make_reader(shards, "quick", idle_ms=0)
    slow.create_groups()
    (entry,) = slow.read(block_ms=100)
    quick.claim()
    copies = events.copies(job, recipients)
    left = [(event.id, events.encode(event)) for event in copies[4:]]
    for reader in (quick, slow):
        store.store(copies[:4])
        reader.settle([Spread(entry, 4, left)])
    assert total(shards, "stored") == 4 == tallied(job)
    assert shards.client.xlen(keys.lane(0, LANE)) == 2
    drain(make_worker(shards), shards)
    assert_arrived(shards, job, recipients)


@pytest.mark.one_shard_is_enough
@pytest.mark.not_on_a_cluster("of many shards a batch has few chunks each")
def test_chunks_are_handed_out_in_parts_of_a_batch_between_which_live_has_its_turn(
    shards: Shards, job: Event, make_event: Make, make_writer: Callable[..., Writer]
) -> None:
    put(shards, job, crowd(2300, shard=0))
    reader = make_reader(shards)
    reader.create_groups()
    assert sum(entry.events for entry in reader.read(block_ms=100)) == 1000
    make_writer().add([make_event()])
    (live,) = reader.read(block_ms=100)
    assert not live.is_chunk
    # Whoever is sent something just now may be sent more: the parts are small.
    assert [entry.events for entry in reader.read(block_ms=100)] == [POLITE_EVENTS]
    reader._live_at = float("-inf")
    assert sum(entry.events for entry in reader.read(block_ms=100)) == 1000
    assert sum(entry.events for entry in reader.read(block_ms=100)) == 200


def test_a_chunk_that_is_larger_than_a_part_is_handed_out_all_the_same(shards: Shards, job: Event) -> None:
    put(shards, job, crowd(1500, shard=0), size=1500)
    reader = make_reader(shards)
    reader.create_groups()
    reader._live_at = time.monotonic()
    assert [entry.events for entry in reader.read(block_ms=100)] == [1500]


@pytest.mark.one_shard_is_enough
@pytest.mark.not_on_a_cluster("of many shards a batch has few chunks each")
def test_a_worker_takes_few_chunks_at_a_time_once_it_saw_some(shards: Shards, job: Event) -> None:
    """So that others have the rest."""
    reader, other = make_reader(shards), make_reader(shards, "other")
    reader.create_groups()
    put(shards, job, crowd(1, shard=0))
    reader.read(block_ms=100)
    put(shards, template(), crowd(40, shard=0), size=1)
    reader.read(block_ms=100)
    assert len(reader._held) == 1 + CHUNKS_AT_ONCE
    assert len(other.read(block_ms=100)) == 40 - CHUNKS_AT_ONCE


def test_chunks_that_a_worker_gave_back_are_handled_as_if_they_were_new(
    shards: Shards, job: Event, make_event: Make, make_writer: Callable[..., Writer]
) -> None:
    recipients = crowd(2000, shard=0)
    put(shards, job, recipients)
    stopped = make_reader(shards, "stopped")
    stopped.create_groups()
    stopped.read(block_ms=100)
    stopped.give_back()
    make_writer().add([make_event("single")])
    duty = make_worker(shards, "heir")
    duty.step()
    assert list(Notification.objects.values_list("recipient", flat=True)) == ["single"], "live goes first"
    drain(duty, shards)
    assert rows() >= ids(job, recipients)
    assert tallied(job) == 2000
