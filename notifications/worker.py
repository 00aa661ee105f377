"""The worker: read → check → store → announce → settle.

A batch is held until it is settled, and settled last: a crash anywhere means that it comes again, and storing it again
has no effect. An outage in any step leaves the batch held, and the next call begins it anew. In a backlog a batch is
announced and settled, and another one read, while the next one is stored (behind.py).
"""

import time
from collections import deque
from collections.abc import Iterable
from functools import partial
from itertools import chain, repeat
from typing import Final, NamedTuple

import structlog
from django.db import DatabaseError, DataError, IntegrityError
from redis.exceptions import ResponseError

from notifications import (
    behind,
    chunks,
    counting,
    events,
    failpoints,
    faults,
    following,
    metrics,
    retries,
    standstill,
    store,
    tracing,
    unread,
)
from notifications.access import keys
from notifications.behind import Behind
from notifications.counting import Pairs
from notifications.events import Event
from notifications.exceptions import Invalid, Retry
from notifications.live.announce import Announcer
from notifications.process import OUTAGES, Chore
from notifications.store import Stored
from notifications.stream.client import Shards
from notifications.stream.cluster import AWAY
from notifications.stream.group import Entry, group_is_lost
from notifications.stream.reader import Again, Dead, Done, Outcome, Reader

log = structlog.get_logger("notify.worker")

BLOCK_MS: Final = 2000
CLAIM_SECONDS: Final = 2.0
REPAIR_SECONDS: Final = 5.0
FORGET_SECONDS: Final = 10.0
STANDSTILL_SECONDS: Final = 5.0
MIRROR_KEYS_SECONDS: Final = 30.0
# How long suspects are handled, one by one, before the next batch has its turn.
SUSPECTS_SECONDS: Final = 0.5

INVALID: Final = "invalid"
RETRIES_EXHAUSTED: Final = "retries_exhausted"
CRASH: Final = "crash"
DEATHS_OF_A_KILLER: Final = 3

# What no other attempt mends: PostgreSQL refuses this very row. Class 54 is "program limit exceeded".
ROW_FAULTS: Final = (DataError, IntegrityError)
LIMIT_EXCEEDED: Final = "54"


class Failure(NamedTuple):
    """An entry that could not be handled: its event, where it holds one, and why. `Retry` may pass, the rest stays."""

    entry: Entry
    event: Event | None
    error: Invalid | Retry | DatabaseError


class Kept(NamedTuple):
    """A batch after its commit: its events, the rows, what failed, and which of the events PostgreSQL refused."""

    good: Pairs
    stored: Stored
    failed: list[Failure]
    refused: list[Failure]


class Handled(NamedTuple):
    """What becomes of entries; and for the reports, how many events that were, and which of them are stored."""

    outcomes: list[Outcome]
    events: int = 0
    stored: Pairs = []


class Worker:
    """One worker process' duty (see process.py).

    Entries that came to nobody before are handled a batch at a time. One that was delivered before is a suspect: it may
    be what killed its worker. Suspects are handled one at a time, so that the one which kills is found, and nobody else
    is blamed for it.
    """

    def __init__(self, shards: Shards, reader: Reader, announcer: Announcer) -> None:
        self._reader = reader
        self._announcer = announcer
        self._batch: list[Entry] = []
        self._ahead: list[Entry] = []
        self._behind = Behind()
        self._suspects: deque[Entry] = deque()
        self._chores = [
            Chore(CLAIM_SECONDS, self._claim),
            Chore(REPAIR_SECONDS, partial(repair_mirrors, shards, announcer)),
            Chore(FORGET_SECONDS, reader.remove_dead_consumers),
            Chore(STANDSTILL_SECONDS, standstill.end_sessions),
            Chore(MIRROR_KEYS_SECONDS, keys.mirror_all),
        ]
        self._reader_ready = False

    def step(self) -> None:
        """Handle the batch that is still held; or some suspects, and then the next batch."""
        try:
            self._ready()
            if not self._batch:
                self._between_batches()
            if behind.is_backlog(self._batch):
                self._store_ahead()
            elif self._batch:
                self._catch_up()
                self._settle(self._handle(self._batch))
            self._batch = []
        except ResponseError as error:
            if not group_is_lost(error):
                raise
            # A flushed Redis: the groups are made anew, and what was held went with the streams.
            log.warning("worker.group_lost")
            self._reader_ready = False
        except AWAY:
            # The shards of a node that is away wait for it; the others go on.
            self._batch = self._reader.within_reach(self._batch)
            self._suspects = deque(self._reader.within_reach(self._suspects))
            raise

    def beat(self) -> None:
        """Keep others from claiming what is held."""
        self._reader.renew()

    def stop(self) -> None:
        """What an outage kept from being settled is claimed by another at once."""
        try:
            self._catch_up()
        finally:
            self._reader.give_back()

    def _ready(self) -> None:
        if not self._reader_ready:
            self._reader.create_groups()
            self._reader_ready = True

    def _between_batches(self) -> None:
        if not self._suspects:
            for chore in self._chores:
                chore.do_if_due()
        # Where some were claimed, there may be more to claim: no waiting for new ones then.
        block_ms = None if self._suspects else BLOCK_MS
        self._handle_suspects()
        if not self._batch and not self._ahead:
            self._catch_up()
        if not self._batch:
            self._batch, self._ahead = self._ahead or self._read(block_ms=block_ms), []

    def _read(self, *, block_ms: int | None) -> list[Entry]:
        with metrics.timed("read"):
            entries = self._reader.read(block_ms=block_ms)
        failpoints.reach("worker.read")
        return entries

    def _claim(self) -> bool:
        # What is just being read looks like what this process was given and never got.
        self._catch_up()
        claimed = self._reader.claim()
        # Whoever somebody died over comes last: those beside it are not to wait until it has killed again.
        self._suspects += sorted((entry for entry in claimed if entry.deaths is not None), key=_deaths)
        new = [entry for entry in claimed if entry.deaths is None]
        self._batch += [entry for entry in new if not entry.is_chunk]
        self._reader.put_off(entry for entry in new if entry.is_chunk)
        if claimed:
            log.info("worker.claimed", entries=len(claimed), suspects=len(self._suspects))
        return bool(claimed)

    def _handle_suspects(self) -> None:
        if self._suspects:
            # Beside one that is handled alone, nothing else is.
            self._catch_up()
        until = time.monotonic() + SUSPECTS_SECONDS
        while self._suspects and time.monotonic() < until:
            suspect = self._suspects[0]
            self._settle(self._take_apart(suspect) or self._convict(suspect) or self._handle_alone(suspect))
            self._suspects.popleft()

    def _take_apart(self, suspect: Entry) -> Handled | None:
        """A chunk over which a worker died is not tried again as a whole: one of its events, if any, is what kills."""
        taken = chunks.apart(suspect) if suspect.is_chunk else None
        return Handled([taken]) if taken else None

    def _convict(self, suspect: Entry) -> Handled | None:
        """Who was alone with its worker when that died, three times, is handled no more."""
        deaths = _deaths(suspect)
        if deaths < DEATHS_OF_A_KILLER:
            return None
        error = f"its worker died {deaths} times while it handled this and nothing else"
        return Handled([_give_up(suspect, CRASH, error, attempts=deaths)])

    def _handle_alone(self, suspect: Entry) -> Handled:
        self._reader.handle_alone(suspect)
        try:
            return self._handle([suspect])
        except OUTAGES:
            self._reader.not_alone(suspect)
            raise

    def _store_ahead(self) -> None:
        """Store the batch, and leave the rest of its way to be done beside the storing of the next one."""
        if not self._behind.is_busy:
            self._behind.begin([], self._read_on)
        kept = keep(self._batch, following.NOT_TRACED)
        self._catch_up()
        self._behind.begin(self._batch, partial(self._end, kept))

    def _end(self, kept: Kept) -> list[Entry]:
        self._settle(self._announce(kept, following.NOT_TRACED))
        return self._read_on()

    def _read_on(self) -> list[Entry]:
        try:
            return self._read(block_ms=None)
        except OUTAGES:
            # Whoever reads next meets it, too, and says so.
            return []

    def _catch_up(self) -> None:
        """Wait for the batch before this one. Where an outage kept it from being settled, both are begun anew."""
        try:
            self._ahead += self._behind.catch_up()
        except BaseException:
            self._batch = self._behind.take_back() + self._batch
            raise

    def _handle(self, entries: list[Entry]) -> Handled:
        with following.batch() as batch:
            return self._announce(keep(entries, batch), batch)

    def _announce(self, kept: Kept, batch: following.Untraced) -> Handled:
        with metrics.timed("announce"):
            self._announcer.stored(kept.stored, batch.traceparents)
        failpoints.reach("worker.announced")
        outcomes = outcomes_of(kept.good, kept.failed + kept.refused)
        batch.became(outcomes)
        return Handled(outcomes, len(kept.good) + len(kept.failed), without(kept.refused, kept.good))

    def _settle(self, handled: Handled) -> None:
        with metrics.timed("settle"):
            self._reader.settle(handled.outcomes)
        failpoints.reach("worker.settled")
        for outcome in handled.outcomes:
            tell(outcome)
        counting.count(handled.outcomes, handled.events, handled.stored)


def keep(entries: list[Entry], batch: following.Untraced) -> Kept:
    """Check and store."""
    with metrics.timed("check"):
        good, failed = check(entries)
    failpoints.reach("worker.checked")
    batch.holds(chain(good, ((failure.entry, failure.event) for failure in failed)))
    with metrics.timed("store"):
        stored, refused = store_batch(good)
    failpoints.reach("worker.stored")
    return Kept(good, stored, failed, refused)


def check(entries: Iterable[Entry]) -> tuple[Pairs, list[Failure]]:
    """Decode each entry; one that is no event, or asks for trouble, fails, and its neighbours are not harmed."""
    good: Pairs = []
    failures: list[Failure] = []
    suffers = faults.may_be_asked_for()
    for entry in entries:
        try:
            found = chunks.events_in(entry)
        except Invalid as error:
            failures.append(Failure(entry, None, error))
            continue
        if not suffers:
            good += zip(repeat(entry), found)
            continue
        for event in found:
            try:
                faults.suffer(event)
            except (Invalid, Retry) as error:
                failures.append(Failure(entry, event, error))
            else:
                good.append((entry, event))
    return good, failures


def without(refused: Iterable[Failure], good: Pairs) -> Pairs:
    """The pairs that were not refused after all."""
    gone = {id(failure.event) for failure in refused}
    return [pair for pair in good if id(pair[1]) not in gone] if gone else good


def outcomes_of(good: Pairs, failed: list[Failure]) -> list[Outcome]:
    """What becomes of each entry. Of a chunk, what failed goes on as events of their own, each with its own fate."""
    # By identity: the hash of an entry would go through its payload.
    given_up = {id(failure.entry) for failure in failed}
    outcomes: list[Outcome] = [
        Done(entry, event.id) for entry, event in good if not entry.is_chunk and id(entry) not in given_up
    ]
    outcomes += chunks.spread(good, [(failure.entry, failure.event) for failure in failed])
    outcomes += [judge(failure) for failure in failed if failure.event is None or not failure.entry.is_chunk]
    return outcomes


def store_batch(batch: Pairs) -> tuple[Stored, list[Failure]]:
    """Store a batch. Where it fails for a row, not for a server, it is halved until that row is alone."""
    if not batch:
        return Stored([], {}), []
    try:
        return store.store([event for _, event in batch]), []
    except Exception as error:
        if _is_outage(error):
            raise
        if len(batch) == 1:
            return Stored([], {}), [_refused(*batch[0], error)]
    middle = len(batch) // 2
    first, first_failures = store_batch(batch[:middle])
    second, second_failures = store_batch(batch[middle:])
    return Stored(first.rows + second.rows, {**first.inboxes, **second.inboxes}), first_failures + second_failures


def judge(failure: Failure) -> Again | Dead:
    """What becomes of an entry that could not be handled: another attempt, or a dead letter."""
    entry, event, error = failure
    text = retries.error_text(error)
    if event is None or not isinstance(error, Retry):
        return _give_up(entry, INVALID, text)
    delay_ms = retries.delay_ms(event.attempts + 1)
    if delay_ms is None:
        return _give_up(entry, RETRIES_EXHAUSTED, text)
    return Again(entry, event.id, events.encode(retries.after_failure(event, text, delay_ms=delay_ms)), delay_ms)


def tell(outcome: Outcome) -> None:
    """A log line for what was not stored."""
    if isinstance(outcome, Dead):
        trace = tracing.ids(outcome.payload)
        log.warning("event.dead", id=outcome.event_id, reason=outcome.reason, error=outcome.error, **trace)
    elif isinstance(outcome, Again):
        log.info("event.retrying", id=outcome.event_id, in_ms=outcome.delay_ms, **tracing.ids(outcome.payload))


def repair_mirrors(shards: Shards, announcer: Announcer) -> None:
    """Bring mirrors up to date whose mark-read died between its commit and its mirror (see unread.intent)."""
    for shard, note, recipient in unread.abandoned(shards):
        announcer.reflect(store.states([recipient]))
        unread.forget(shards, shard, note)
        log.info("unread.repaired", recipient=recipient)


def _deaths(entry: Entry) -> int:
    return entry.deaths or 0


def _give_up(entry: Entry, reason: str, error: str, attempts: int = 1) -> Dead:
    """A dead letter after so many attempts more. A payload that cannot be read is kept as it is."""
    try:
        event = retries.after_failure(events.decode(entry.payload), error, attempts)
    except Invalid:
        # A chunk has no id of its own: its job's is that of all its chunks, and of a letter there is one for an id.
        event_id = "" if entry.is_chunk else events.outline(entry.payload).id
        return Dead(entry, event_id, chunks.whole(entry), reason, error, attempts, 0)
    return Dead(entry, event.id, events.encode(event), reason, error, event.attempts, event.life)


def _refused(entry: Entry, event: Event, error: Exception) -> Failure:
    """PostgreSQL's no to a row stays a no. Anything else is a fault of ours that we know nothing of: it may pass."""
    if isinstance(error, DatabaseError):
        return Failure(entry, event, error)
    log.error("event.failed", id=event.id, exc_info=error)
    return Failure(entry, event, Retry(retries.error_text(error)))


def _is_outage(error: Exception) -> bool:
    """Whether a server is at fault, not a row: that counts against no event."""
    if isinstance(error, DatabaseError):
        sqlstate = getattr(error.__cause__, "sqlstate", None) or ""
        return not isinstance(error, ROW_FAULTS) and not sqlstate.startswith(LIMIT_EXCEEDED)
    return isinstance(error, OUTAGES)
