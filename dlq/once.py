"""Orders that came with an idempotency key: the same request again gets the first one's answer and does nothing.

The key stands on the order that it gave, under a unique constraint, so of two requests at once one is the first.
A request that was refused ordered nothing and leaves no key.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from dlq.models import Replay
from notifications.exceptions import IdempotencyConflict
from notifications.stream.once import Once


def mark(order: Replay, once: Once) -> None:
    """Give an order that is not saved yet its request's key, and take it from one whose time is over."""
    _expired().filter(once=_name(once)).update(once=None, answer=None)
    order.once, order.fingerprint = _name(once), once.fingerprint


def earlier(once: Once) -> Replay | None:
    """The order that the same request gave before. Raises IdempotencyConflict where it was another request."""
    order = Replay.objects.filter(once=_name(once), ordered_at__gt=_bound()).first()
    if order and order.fingerprint != once.fingerprint:
        raise IdempotencyConflict
    return order


def keep(order: Replay, answer: bytes) -> bytes:
    """Keep the answer to the request that gave an order; returns the one to give, which is the first that was kept."""
    if Replay.objects.filter(pk=order.pk, answer=None).update(answer=answer):
        return answer
    first: bytes | memoryview | None = Replay.objects.values_list("answer", flat=True).get(pk=order.pk)
    return answer if first is None else bytes(first)


def forget() -> int:
    """Clear the keys, and the answers, whose time is over; returns how many. Their orders stay."""
    return _expired().filter(once__isnull=False).update(once=None, answer=None)


def _name(once: Once) -> str:
    return f"{once.caller}:{once.digest}"


def _expired() -> QuerySet[Replay]:
    return Replay.objects.filter(ordered_at__lte=_bound())


def _bound() -> datetime:
    """Keys given until then are over."""
    return timezone.now() - timedelta(hours=settings.NOTIFY.idempotency_hours)
