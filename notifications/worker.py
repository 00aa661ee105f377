"""The worker: read → check → store → announce → settle.

A batch is held until it is settled, and settled last: a crash anywhere means that it comes again, and storing it again
has no effect. An outage in any step leaves the batch held, and the next call begins it anew.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

import structlog
from django.db import DatabaseError, DataError, IntegrityError
from redis.exceptions import ResponseError

from notifications import events, store, unread
from notifications.access import keys
from notifications.events import Event
from notifications.exceptions import Invalid
from notifications.live.announce import Announcer
from notifications.store import Stored
from notifications.stream.client import Shards
from notifications.stream.reader import Dead, Entry, Reader

log = structlog.get_logger("notify.worker")

BLOCK_MS: Final = 2000
CLAIM_SECONDS: Final = 2.0
REPAIR_SECONDS: Final = 5.0
MIRROR_KEYS_SECONDS: Final = 30.0

INVALID: Final = "invalid"
# What no other attempt mends: PostgreSQL refuses this very row. Class 54 is "program limit exceeded".
ROW_FAULTS: Final = (DataError, IntegrityError)
LIMIT_EXCEEDED: Final = "54"


class Checked(NamedTuple):
    """A batch after the check: what can be stored, and what is dead already."""

    good: list[tuple[Entry, Event]]
    dead: list[Dead]


class Worker:
    """One worker process' duty (see process.py)."""

    def __init__(self, shards: Shards, reader: Reader, announcer: Announcer) -> None:
        self._reader = reader
        self._announcer = announcer
        self._held: list[Entry] = []
        self._chores = [
            Chore(CLAIM_SECONDS, self._claim),
            Chore(REPAIR_SECONDS, partial(repair_mirrors, shards, announcer)),
            Chore(MIRROR_KEYS_SECONDS, keys.mirror_all),
        ]
        self._reader_ready = False

    def step(self) -> None:
        """Handle one batch: the one still held, or the next."""
        try:
            self._ready()
            if not self._held:
                for chore in self._chores:
                    chore.do_if_due()
            if not self._held:
                self._held = self._reader.read(block_ms=BLOCK_MS)
            if self._held:
                self._handle(self._held)
                self._held = []
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            # A flushed Redis: the groups are made anew, and what was held went with the streams.
            log.warning("worker.group_lost")
            self._reader_ready = False

    def beat(self) -> None:
        """Keep others from claiming what is held."""
        self._reader.renew()

    def stop(self) -> None:
        """What an outage kept from being settled is claimed by another at once."""
        self._reader.give_back()

    def _ready(self) -> None:
        if not self._reader_ready:
            self._reader.create_groups()
            self._reader_ready = True

    def _claim(self) -> bool:
        self._held = self._reader.claim()
        if self._held:
            log.info("worker.claimed", entries=len(self._held))
        return bool(self._held)

    def _handle(self, entries: list[Entry]) -> None:
        checked = check(entries)
        stored, refused = store_batch(checked.good)
        self._announcer.stored(stored)
        dead = checked.dead + refused
        # By identity: the hash of an entry would go through its payload.
        given_up = {id(letter.entry) for letter in dead}
        done = [(entry, event.id) for entry, event in checked.good if id(entry) not in given_up]
        self._reader.settle(done, dead)
        for letter in dead:
            log.warning("event.dead", id=letter.event_id, reason=letter.reason, error=letter.error)


class Chore:
    """Something that a worker does now and then, between two batches."""

    def __init__(self, every_seconds: float, work: Callable[[], bool | None]) -> None:
        self._every = every_seconds
        self._work = work
        self._due = 0.0

    def do_if_due(self) -> None:
        """Do it when its time has come. One that says there is more (True) stays due; one that fails is put off."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._every
            if self._work():
                self._due = now


def check(entries: Iterable[Entry]) -> Checked:
    """Decode each entry; one that is no event is dead, and its neighbours are not harmed."""
    good, dead = [], []
    for entry in entries:
        try:
            good.append((entry, events.decode(entry.payload)))
        except Invalid as invalid:
            dead.append(Dead(entry, "", INVALID, str(invalid), 1))
    return Checked(good, dead)


def store_batch(batch: list[tuple[Entry, Event]]) -> tuple[Stored, list[Dead]]:
    """Store a batch. Where PostgreSQL refuses it for a row, it is halved until that row is alone, and dead."""
    if not batch:
        return Stored([], {}), []
    try:
        return store.store([event for _, event in batch]), []
    except DatabaseError as error:
        if not _is_row_fault(error):
            raise
        if len(batch) == 1:
            entry, event = batch[0]
            return Stored([], {}), [Dead(entry, event.id, INVALID, str(error).strip(), event.attempts + 1)]
    middle = len(batch) // 2
    first, first_dead = store_batch(batch[:middle])
    second, second_dead = store_batch(batch[middle:])
    return Stored(first.rows + second.rows, {**first.inboxes, **second.inboxes}), first_dead + second_dead


def repair_mirrors(shards: Shards, announcer: Announcer) -> None:
    """Bring mirrors up to date whose mark-read died between its commit and its mirror (see unread.intent)."""
    for shard, note, recipient in unread.abandoned(shards):
        announcer.reflect(store.states([recipient]))
        unread.forget(shards, shard, note)
        log.info("unread.repaired", recipient=recipient)


def _is_row_fault(error: DatabaseError) -> bool:
    """Whether a row is at fault, not a server: everything else is an outage, which counts against no event."""
    sqlstate = getattr(error.__cause__, "sqlstate", None) or ""
    return isinstance(error, ROW_FAULTS) or sqlstate.startswith(LIMIT_EXCEEDED)
