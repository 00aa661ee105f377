"""The DLQ worker: dead letters out of their stream, into the table; and ordered replays out of the table again.

An entry is settled only after the commit that records it: a crash anywhere means that it comes again, and recording
it again has no effect. Any number of recorders may run.
"""

from typing import Final

import structlog
from redis.exceptions import OutOfMemoryError, ResponseError

from dlq import once, records, replay, retention
from dlq.deaths import death_of
from notifications import failpoints, reporting
from notifications.exceptions import Refused
from notifications.process import Chore
from notifications.stream.cluster import AWAY
from notifications.stream.group import group_is_lost
from notifications.stream.letters import Letter, LetterReader
from notifications.stream.replicas import NotReplicated

log = structlog.get_logger("notify.recorder")

BATCH_SIZE: Final = 200
# Also how long a replay that was ordered waits to be seen.
BLOCK_MS: Final = 1000
CLAIM_SECONDS: Final = 2.0
FORGET_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 30.0
HOUR_SECONDS: Final = 3600.0


class Recorder:
    """One DLQ worker's duty (see notifications/process.py)."""

    def __init__(self, reader: LetterReader) -> None:
        self._reader = reader
        self._held: list[Letter] = []
        self._chores = [
            Chore(CLAIM_SECONDS, self._claim),
            Chore(FORGET_SECONDS, reader.remove_dead_consumers),
            Chore(CLOSE_SECONDS, records.close_stored),
            Chore(HOUR_SECONDS, records.close_stored_long_after),
            Chore(HOUR_SECONDS, once.forget),
            Chore(HOUR_SECONDS, retention.prune),
        ]
        self._ready = False
        self._refused = False

    def step(self) -> None:
        """Record the batch that is still held; or carry out a chunk of what is ordered, and then record the next."""
        try:
            self._get_ready()
            if not self._held:
                self._between_batches()
            if self._held:
                self._record(self._held)
                self._held = []
        except ResponseError as error:
            if not group_is_lost(error):
                raise
            # A flushed Redis: what is held is recorded all the same, its entries went with the stream.
            log.warning("recorder.group_lost")
            self._ready = False
        except AWAY:
            # The shards of a node that is away wait for it; the others go on.
            self._held = self._reader.letters_within_reach()
            raise

    def beat(self) -> None:
        """Keep others from claiming what is held."""
        self._reader.renew()

    def stop(self) -> None:
        """What an outage kept from being recorded is claimed by another at once."""
        self._reader.give_back()

    def _get_ready(self) -> None:
        if not self._ready:
            self._reader.create_groups()
            readable = records.read_again()
            if readable:
                log.info("recorder.read_again", letters=readable)
            self._ready = True

    def _between_batches(self) -> None:
        for chore in self._chores:
            chore.do_if_due()
        replayed = self._carry_out()
        if not self._held:
            self._held = self._reader.read(block_ms=None if replayed else BLOCK_MS)
        if self._held:
            failpoints.reach("recorder.read")

    def _claim(self) -> bool:
        self._held = self._reader.claim_letters()
        if self._held:
            log.info("recorder.claimed", letters=len(self._held))
        return bool(self._held)

    def _carry_out(self) -> int:
        """A chunk of what is ordered; that Redis is full, or lacks a replica, is no reason to record no letters."""
        try:
            replayed = replay.carry_out()
        except (Refused, OutOfMemoryError, NotReplicated) as refusal:
            if not self._refused:
                log.warning("recorder.replay_waits", error=str(refusal))
            self._refused = True
            return 0
        self._refused = False
        reporting.handled(replayed)
        return replayed

    def _record(self, letters: list[Letter]) -> None:
        new = records.record([death_of(letter) for letter in letters])
        failpoints.reach("recorder.recorded")
        self._reader.settle(letters)
        failpoints.reach("recorder.settled")
        reporting.handled(len(letters))
        log.info("recorder.recorded", letters=len(letters), new=new)
