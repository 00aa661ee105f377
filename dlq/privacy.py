"""What dead letters tell of a recipient (see notifications/privacy.py)."""

from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from django.contrib.admin.models import LogEntry
from django.db import transaction

from dlq.api import shapes
from dlq.models import DeadLetter, Replay
from notifications import erasures, retention
from notifications.erasures import Gone

AT_ONCE: Final = 500
ERASED: Final = "erased"


class _Chunk(msgspec.Struct):
    """What is kept of a chunk of a bulk job that could not be read (notifications/chunks.py)."""

    event: str
    to: list[str]


def erase(recipient: str) -> dict[str, int]:
    """Remove the letters of a recipient, with their histories, and the recipient from what names others, too."""
    removed = 0
    while letters := _remove_some(recipient):
        removed += letters
    _leave_orders(recipient)
    _leave_chunks(recipient)
    return {"dead_letters": removed}


def export(recipient: str) -> Iterator[dict[str, Any]]:
    """The letters of a recipient with their histories, whatever became of them."""
    after: UUID | None = None
    while True:
        letters = DeadLetter.objects.filter(recipient=recipient).order_by("pk").prefetch_related("history")
        page = list((letters.filter(pk__gt=after) if after else letters)[:AT_ONCE])
        for letter in page:
            yield {"kind": "dead_letter", **shapes.detail(letter)}
        if len(page) < AT_ONCE:
            return
        after = page[-1].pk


def _remove_some(recipient: str) -> int:
    with transaction.atomic():
        letters = DeadLetter.objects.select_for_update().filter(recipient=recipient).order_by("pk")
        found = list(letters.values_list("pk", "replayed_as", "source_id")[:AT_ONCE])
        ids = [pk for pk, _, _ in found]
        _count_as_dealt_with(found)
        logged = LogEntry.objects.filter(content_type__app_label="dlq", object_id__in=[str(pk) for pk in ids])
        logged.update(object_repr=ERASED, change_message="")
        DeadLetter.objects.filter(pk__in=ids).delete()
    return len(found)


def _count_as_dealt_with(letters: Sequence[tuple[UUID, UUID | None, UUID | None]]) -> None:
    """A bulk job that is not over counted them as failed, and would wait for what it misses."""
    jobs = retention.under_way()
    erasures.drop([Gone(str(other or pk), str(job_id)) for pk, other, job_id in letters if job_id in jobs])


def _leave_orders(recipient: str) -> None:
    """An order to replay whatever one recipient had does not name that one any more."""
    for replay in Replay.objects.filter(criteria__recipient=recipient):
        replay.criteria["recipient"] = ERASED
        replay.save(update_fields=["criteria"])


def _leave_chunks(recipient: str) -> None:
    """Of a chunk that nobody could read, the other recipients stay."""
    with transaction.atomic():
        for letter in DeadLetter.objects.select_for_update().filter(recipient="").order_by("pk"):
            try:
                chunk = msgspec.json.decode(bytes(letter.payload), type=_Chunk)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
            if recipient in chunk.to:
                chunk.to.remove(recipient)
                letter.payload = msgspec.json.encode(chunk)
                letter.save(update_fields=["payload"])
