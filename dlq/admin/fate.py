"""What became of a letter after its replay: stored, on its way, tried again, dead again."""

from typing import NamedTuple
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from dlq.admin import words
from dlq.models import DeadLetter
from notifications import lookup

log = structlog.get_logger("notify.admin")

Status = DeadLetter.Status


class Fate(NamedTuple):
    """Where a letter is now. `kind` is a word for style sheets, `settled` says that it will not change by itself."""

    kind: str
    title: str
    detail: str = ""
    settled: bool = False


WAITS = Fate("waits", "It waits to go back into the pipeline", "Its order is given; the DLQ worker carries it out.")
ON_ITS_WAY = Fate("waits", "It is on its way", "It is in the stream, or in a worker's hands.")
STORED = Fate("stored", "It is stored", "The replay worked: its recipient has the notification.", settled=True)
DISCARDED = Fate("dead", "It was discarded", settled=True)
GIVEN_UP = Fate("dead", "It was given up again", "Its letter is about to be recorded anew.")
UNKNOWN = Fate("waits", "Nobody can tell just now", "Redis does not answer. The replay goes on when it does.")


def of(letter: DeadLetter) -> Fate:
    """What became of a letter. Asks Redis only for one that went back into the pipeline."""
    if letter.status == Status.DEAD:
        return Fate("dead", "It died again" if letter.life else "It is dead", letter.error, settled=True)
    if letter.status == Status.DISCARDED:
        return DISCARDED
    try:
        return _in_the_pipeline(letter)
    except RedisError as error:
        log.warning("admin.unavailable", error=repr(error))
        return UNKNOWN


def event_id(letter: DeadLetter) -> UUID:
    """The id under which a letter is replayed; but for what was no event at all, its own."""
    return letter.replayed_as or letter.pk


def _in_the_pipeline(letter: DeadLetter) -> Fate:
    life = lookup.life(event_id(letter)) or {}
    status = life.get("status")
    if status == "stored":
        return STORED
    if letter.status == Status.REPLAYING:
        return WAITS
    if status == "retrying":
        failed = f"It failed {words.times(life['attempts'])} and is tried again"
        return Fate("retrying", failed, str(life["last_error"] or ""))
    return GIVEN_UP if status == "dead" else ON_ITS_WAY
