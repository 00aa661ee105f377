"""Why requests are refused, as a metric tells it."""

from typing import Final

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, InterfaceError
from redis.exceptions import RedisError
from rest_framework import exceptions

from notifications import metrics
from notifications.exceptions import BacklogFull, Invalid, RateExceeded, RecipientRateExceeded, Unavailable

TOO_LARGE: Final = 413

# The first that fits.
REASONS: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    ((RecipientRateExceeded,), "recipient_rate"),
    ((RateExceeded,), "rate"),
    ((BacklogFull,), "backlog"),
    ((Unavailable, RedisError, DatabaseError, InterfaceError), "outage"),
    ((Invalid,), "invalid"),
    ((exceptions.NotAuthenticated, exceptions.AuthenticationFailed), "unauthenticated"),
    ((exceptions.PermissionDenied, PermissionDenied), "forbidden"),
)


def count(error: Exception) -> None:
    """Count a refusal, where the error is one."""
    found = next((reason for kinds, reason in REASONS if isinstance(error, kinds)), "")
    if isinstance(error, exceptions.APIException) and error.status_code == TOO_LARGE:
        found = "too_large"
    if found:
        metrics.refused.labels(found).inc()
