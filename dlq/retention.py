"""Closed letters leave in the end: those that were replayed or discarded, when nothing happened to them for long."""

from datetime import datetime, timedelta
from typing import Final

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from dlq.models import DeadLetter, Passage, Replay
from notifications import retention

log = structlog.get_logger("notify.recorder")

AT_ONCE: Final = 1000

Status = DeadLetter.Status


def prune() -> bool:
    """Remove some closed letters that are old, with their histories; whether there may be more.

    A letter of a bulk job that is not over stays, as it counts among what the job has failed.
    """
    bound = timezone.now() - timedelta(days=kept_days())
    closed = DeadLetter.objects.filter(status__in=[Status.REPLAYED, Status.DISCARDED], last_failed_at__lt=bound)
    lately = Passage.objects.filter(letter=OuterRef("pk"), at__gte=bound)
    old = closed.exclude(source_id__in=list(retention.under_way())).filter(~Exists(lately))
    with transaction.atomic():
        oldest = old.select_for_update(skip_locked=True).order_by("last_failed_at", "pk")
        ids = list(oldest.values_list("pk", flat=True)[:AT_ONCE])
        DeadLetter.objects.filter(pk__in=ids).delete()
    _forget_orders(bound)
    if ids:
        log.info("letter.forgotten", letters=len(ids))
    return len(ids) == AT_ONCE


def kept_days() -> int:
    """For how many days a closed letter is kept: never shorter than a bulk job that counts it."""
    return max(settings.NOTIFY.dead_letter_retention_days, settings.NOTIFY.bulk_retention_days)


def _forget_orders(bound: datetime) -> None:
    """Orders of which no letter is left."""
    letters = DeadLetter.objects.filter(replay=OuterRef("pk"))
    passages = Passage.objects.filter(replay=OuterRef("pk"))
    old = Replay.objects.filter(~Exists(letters), ~Exists(passages), ordered_at__lt=bound, once=None)
    ids = list(old.values_list("pk", flat=True)[:AT_ONCE])
    Replay.objects.filter(pk__in=ids).delete()
