"""The pipeline: is every kind of process there, does Redis fit the number of shards, what died lately?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.utils import timezone

from dlq.models import DeadLetter
from notifications.stream import keys, layout, register
from notifications.stream.client import Shards
from notify_project.doctor.finding import Check, Finding, judged

MOST_SHARDS: Final = 1024
SAMPLE: Final = 200
LATELY: Final = timedelta(hours=1)
# What each kind is for, as a person misses it.
KINDS: Final = {
    "web": "answers nobody",
    "worker": "stores nothing",
    "bulk_worker": "sends no bulk job out",
    "scheduler": "fires no schedule and no retry",
    "dlq_worker": "records no dead letter",
}


class InRedis(NamedTuple):
    """The pipeline as Redis has it: processes alive by kind; and whether what it holds fits the number of shards.

    `fixed`: the number that Redis was filled with first; None where it is empty. `beyond`: shards that hold something,
    and are none of ours; `elsewhere`: ids, of a sample, that are in another shard than they would be.
    """

    shards: int
    fixed: int | None
    alive: Mapping[str, int]
    beyond: Sequence[int]
    elsewhere: int


class Letters(NamedTuple):
    """Dead letters that wait for a decision, and when the last event died."""

    still: int
    last: datetime | None


def gather(shards: Shards) -> InRedis:
    """Look at Redis. Raises RedisError."""
    processes = register.processes(shards.client)
    return InRedis(
        shards=shards.count,
        fixed=layout.fixed(shards),
        alive=Counter(process.kind for process in processes if process.state == "alive"),
        beyond=_beyond(shards),
        elsewhere=_elsewhere(shards),
    )


def gather_letters() -> Letters:
    """Look at the dead letters. Raises DatabaseError."""
    dead = DeadLetter.objects.filter(status=DeadLetter.Status.DEAD)
    newest = DeadLetter.objects.order_by("-last_failed_at").values_list("last_failed_at", flat=True).first()
    return Letters(dead.count(), newest)


def processes(facts: InRedis) -> Finding:
    """At least one of each kind."""
    missing = [kind for kind in KINDS if not facts.alive.get(kind)]
    running = ", ".join(f"{facts.alive[kind]} {kind}" for kind in KINDS if facts.alive.get(kind)) or "none"
    detail = f"{running} alive" + "".join(f"; without a {kind}, Notify {KINDS[kind]}" for kind in missing)
    mend = "start: " + ", ".join("the web" if kind == "web" else f"manage.py {kind}" for kind in missing)
    return judged("processes", good=not missing, detail=detail, mend=mend)


def shards(facts: InRedis) -> Finding:
    """What is in a shard that nobody reads waits for ever."""
    detail = f"NOTIFY_SHARDS={facts.shards}"
    fits = facts.fixed in {None, facts.shards}
    if not fits:
        detail += f", but Redis is filled with {facts.fixed}"
    if facts.beyond:
        detail += f", but Redis holds something in {', '.join(map(str, facts.beyond[:5]))}"
    if facts.elsewhere:
        detail += f", but {facts.elsewhere} of the events and schedules that were looked at are in other shards"
    mend = "go back to the number of shards that Redis was filled with, drain it, then `manage.py change_shards`"
    return judged("shards", good=fits and not facts.beyond and not facts.elsewhere, detail=detail, mend=mend)


def letters(facts: Letters) -> Finding:
    """What died lately, and waits for somebody."""
    if not facts.still:
        return Finding("ok", "dead letters", "none waits")
    recent = facts.last is not None and timezone.now() - facts.last < LATELY
    detail = f"{facts.still} wait" + (f", the last event died at {facts.last:%Y-%m-%d %H:%M:%S}" if facts.last else "")
    mend = "look at what killed them: the dashboard, GET /api/dlq"
    return judged("dead letters", good=not recent, detail=detail, mend=mend, worse="warn")


def _beyond(shards: Shards) -> list[int]:
    others = range(shards.count, MOST_SHARDS)
    pipe = shards.client.pipeline(transaction=False)
    for shard in others:
        pipe.hlen(keys.inflight(shard))
        pipe.zcard(keys.scheduled(shard))
        for lane in keys.LANES:
            pipe.xlen(keys.lane(shard, lane))
    answers = iter(pipe.execute())
    held = zip(*[answers] * (2 + len(keys.LANES)), strict=True)
    return [shard for shard, counts in zip(others, held, strict=True) if any(counts)]


def _elsewhere(shards: Shards) -> int:
    client: Any = shards.client
    misplaced = 0
    for shard in shards.each():
        _, events = client.hscan(keys.inflight(shard), count=SAMPLE)
        _, waiting = client.zscan(keys.scheduled(shard), count=SAMPLE)
        ids = [name.decode() for name in [*events, *(name for name, _ in waiting)]]
        misplaced += sum(shards.of_id(event_id) != shard for event_id in ids[:SAMPLE])
    return misplaced


CHECKS: Final[Sequence[Check[InRedis]]] = (processes, shards)
CHECKS_OF_LETTERS: Final[Sequence[Check[Letters]]] = (letters,)
