"""Bulk jobs for tests: made straight in the tables, begun and fanned out step by step; and what became of them."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID, uuid4

from django.apps import apps
from django.utils import timezone

from bulk import fanout as fan_out
from bulk.models import PART_SIZE, BulkJob, Part
from notifications import events, wiring
from notifications.events import Draft
from notifications.models import Tally
from notifications.stream import keys
from notifications.stream.client import Shards, connect
from notifications.stream.fanout import LANE, Fanned, Fanout

Status = BulkJob.Status

# Nobody listens there.
NOWHERE = "unix:///nowhere/valkey.sock"
MANY = 10**6


def crowd(count: int) -> list[str]:
    """Recipients, of every shard where they are more than a few."""
    return [f"user-{number}" for number in range(count)]


def make_job(recipients: Iterable[str] = ("alice", "bob", "carol"), **fields: Any) -> BulkJob:
    """A job with its list, as one that came in leaves it; any field may be named, and `body` and `data`."""
    job_id = events.new_id("")
    draft = Draft(
        recipient="nobody",
        type=fields.get("type", "news"),
        title=fields.get("title", "News"),
        body=fields.pop("body", ""),
        data=fields.pop("data", {}),
    )
    lists = split(recipients)
    now = timezone.now()
    values = {
        "status": Status.QUEUED,
        "type": draft.type,
        "title": draft.title,
        "payload": events.encode(events.template(draft, job_id)),
        "created_by": "tests",
        "total": sum(map(len, lists)),
        "shares": [len(one) for one in lists],
        "positions": [0 for _ in lists],
        **dict.fromkeys(("created_at", "received_at", "start_at"), now),
        **fields,
    }
    job = BulkJob.objects.create(id=UUID(job_id), **values)
    Part.objects.bulk_create(_parts(job, lists))
    return job


def make_running(recipients: Iterable[str] = ("alice", "bob", "carol"), **fields: Any) -> BulkJob:
    """The same, begun in Redis."""
    return begin(make_job(recipients, **fields))


def begin(job: BulkJob) -> BulkJob:
    """Begin a job as a bulk worker does."""
    assert fan_out.begin(wiring.fanout(), job.pk) is not None
    return again(job)


def split(recipients: Iterable[str]) -> list[list[str]]:
    """By shard, each recipient once, in the order of a job's list."""
    homes = wiring.shards().group(sorted(set(recipients), key=str.encode), str)
    return [homes[shard] for shard in wiring.shards().each()]


def fan(job: BulkJob, count: int, *, shards: Sequence[int] | None = None, holder: str = "tests") -> list[Fanned]:
    """Put the next `count` recipients of each shard (or of those named) into its lane, as one chunk."""
    worker, found = Fanout(wiring.shards(), holder), []
    for shard in wiring.shards().each() if shards is None else shards:
        position = position_of(job, shard)
        chunk = list_of(job, shard)[position : position + count]
        event, chunks = bytes(job.payload), [chunk] if chunk else []
        found.append(worker.fan(str(job.pk), shard, position=position, event=event, chunks=chunks, limit=MANY))
    return found


def list_of(job: BulkJob, shard: int) -> list[str]:
    """A shard's recipients of a job."""
    parts = Part.objects.filter(job=job, shard=shard).order_by("number")
    return [recipient for part in parts for recipient in part.recipients.split("\n")]


def position_of(job: BulkJob, shard: int) -> int:
    """How many recipients of a shard are fanned out, as Redis has it; 0 where the job is not begun."""
    standing = wiring.fanout().standings([str(job.pk)])[str(job.pk)][shard]
    return standing.position if standing else 0


def state_of(job: BulkJob) -> set[tuple[str, int]]:
    """The state and revision that Redis has of a job: one, where all shards agree; none, where it is not begun."""
    standings = wiring.fanout().standings([str(job.pk)])[str(job.pk)]
    return {(standing.state, standing.revision) for standing in standings if standing}


def in_lanes(job: BulkJob) -> list[list[str]]:
    """By shard, the recipients of a job that are in the bulk lane."""
    client: Any = wiring.shards().client
    found: list[list[str]] = []
    for shard in wiring.shards().each():
        chunks = [fields for _, fields in client.xrange(keys.lane(shard, LANE))]
        own = [fields for fields in chunks if events.decode(fields[b"event"]).id == str(job.pk)]
        found.append([recipient for fields in own for recipient in fields[b"to"].decode().split("\n")])
    return found


def again(job: BulkJob) -> BulkJob:
    """The job as PostgreSQL has it now."""
    return BulkJob.objects.get(pk=job.pk)


def store_rows(job: BulkJob, *stored: int) -> None:
    """Tally rows of a job, as the transactions that add them do."""
    Tally.objects.bulk_create(Tally(source_id=job.pk, stored=count) for count in stored)


def bury(job: BulkJob, count: int, status: str = "DEAD") -> None:
    """Dead letters of a job, of nobody in its list."""
    bury_as(job, [uuid4() for _ in range(count)], status)


def bury_as(job: BulkJob, ids: Iterable[UUID], status: str = "DEAD", **fields: Any) -> None:
    """Dead letters of a job under these ids. Their app is not to be imported here: nothing in this one knows it."""
    letters: Any = apps.get_model("dlq", "DeadLetter")
    now = timezone.now()
    letters.objects.bulk_create(
        letters(
            id=letter_id,
            source_id=job.pk,
            status=letters.Status[status],
            payload=b"",
            attempts=1,
            first_failed_at=now,
            last_failed_at=now,
            **fields,
        )
        for letter_id in ids
    )


def unreachable() -> Fanout:
    """Bulk jobs in a Redis that refuses every connection."""
    return Fanout(Shards(connect(NOWHERE, timeout_seconds=1), wiring.shards().count))


def _parts(job: BulkJob, lists: Sequence[Sequence[str]]) -> Iterable[Part]:
    for shard, recipients in enumerate(lists):
        for number, start in enumerate(range(0, len(recipients), PART_SIZE)):
            piece = "\n".join(recipients[start : start + PART_SIZE])
            yield Part(job=job, shard=shard, number=number, recipients=piece)
