"""What is known of one recipient: all of it as records, and its erasure.

Apps that stand on the core keep something of recipients, too, and the core knows none of them: the settings name their
modules (NOTIFY_PERSONAL_DATA). Each has `erase(recipient)`, which returns how many rows of what went and is safe to
repeat, and `export(recipient)`, which gives records, JSON-ready, each with its `kind`.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from itertools import chain
from typing import Any, Final, Protocol, cast
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.utils import timezone

from notifications import erasures, removal, representation, store, wiring
from notifications.live.announce import Announcer
from notifications.models import Attempt, Notification
from notifications.removal import AT_ONCE, Row
from notifications.stream import keys

log = structlog.get_logger("notify.privacy")

PAGE: Final = 500
Record = dict[str, Any]


class Keeper(Protocol):
    """A module of an app that keeps something of recipients."""

    def erase(self, recipient: str) -> Mapping[str, int]:
        """Remove it; how many rows, by what they are."""

    def export(self, recipient: str) -> Iterator[Record]:
        """It, as records."""


def digest(recipient: str) -> str:
    """How logs name a recipient who is exported or erased."""
    return hashlib.sha256(recipient.encode()).hexdigest()[:12]


def erase(recipient: str, announcer: Announcer, by: str) -> dict[str, int]:
    """Remove all that is known of a recipient; returns how many rows of what went. `by` is for the log.

    What was accepted before and is still on its way becomes nothing any more (see erasures.py). Safe to repeat: killed
    in the middle, another call completes it. Raises what both servers raise.
    """
    removed = Counter[str]()
    # Schedules first, so that none fires after the mark, which is what decides about events.
    removed.update(_erase_elsewhere(recipient))
    newest = erasures.mark(recipient)
    while rows := _oldest(recipient, newest):
        removed["notifications"] += removal.remove(announcer, rows, note_bulk=True)
    # What was recorded meanwhile by somebody who did not know the mark yet.
    erasures.wait_for_recorders()
    removed.update(_erase_elsewhere(recipient))
    _forget_mirror(recipient, announcer)
    log.info("privacy.erased", recipient_digest=digest(recipient), by=by, **removed)
    return {"notifications": 0, **removed}


def export(recipient: str, by: str) -> Iterator[bytes]:
    """All that is known of a recipient, as lines of JSON, some hundred at a time.

    The first line is the inbox; the last says how many there were before it: without it, the export is not complete.
    """
    log.info("privacy.exported", recipient_digest=digest(recipient), by=by)
    count, lines = 0, list[bytes]()
    elsewhere = chain.from_iterable(keeper.export(recipient) for keeper in _keepers())
    for record in chain([_inbox(recipient)], _notifications(recipient), elsewhere):
        lines.append(_line(record))
        count += 1
        if len(lines) == PAGE:
            yield b"".join(lines)
            lines.clear()
    yield b"".join([*lines, _line({"kind": "end", "records": count})])


def _erase_elsewhere(recipient: str) -> Counter[str]:
    removed = Counter[str]()
    for keeper in _keepers():
        removed.update(keeper.erase(recipient))
    return removed


def _oldest(recipient: str, newest: int) -> list[Row]:
    rows = Notification.objects.filter(recipient=recipient, seq__lte=newest).order_by("seq")
    return [Row(pk, recipient, read_at is None) for pk, read_at in rows.values_list("pk", "read_at")[:AT_ONCE]]


def _forget_mirror(recipient: str, announcer: Announcer) -> None:
    announcer.counted(store.states([recipient]))
    shards = wiring.shards()
    shards.client.delete(keys.inbox(shards.of(recipient), recipient))


def _inbox(recipient: str) -> Record:
    state = store.states([recipient])[recipient]
    return {
        "kind": "inbox",
        "recipient": recipient,
        "unread": state.unread,
        "seq": state.seq,
        "exported_at": representation.timestamp(timezone.now()),
    }


def _notifications(recipient: str) -> Iterator[Record]:
    after = 0
    while rows := list(Notification.objects.filter(recipient=recipient, seq__gt=after).order_by("seq")[:PAGE]):
        failures = _failures([row.pk for row in rows])
        for row in rows:
            yield {"kind": "notification", **representation.life_of_row(row), "failures": failures[row.pk]}
        after = rows[-1].seq


def _failures(ids: Sequence[UUID]) -> dict[UUID, list[Record]]:
    found: dict[UUID, list[Record]] = defaultdict(list)
    for attempt in Attempt.objects.filter(notification_id__in=ids):
        found[attempt.notification_id].append(
            {
                "at": representation.timestamp(attempt.at),
                "life": attempt.life,
                "attempt": attempt.number,
                "error": attempt.error,
            }
        )
    return found


def _line(record: Record) -> bytes:
    return msgspec.json.encode(record) + b"\n"


@cache
def _keepers() -> list[Keeper]:
    return [cast("Keeper", import_module(path)) for path in settings.NOTIFY_PERSONAL_DATA]
