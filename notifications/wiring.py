"""The configured pieces that every part of the core shares. The one place where settings meet the stream."""

from functools import cache

from django.conf import settings

from notifications.stream.client import Shards, connect


@cache
def shards() -> Shards:
    """Redis for whoever must answer soon: requests, sockets, one-shot commands."""
    return Shards(
        connect(settings.NOTIFY.redis_url, timeout_seconds=settings.NOTIFY.redis_timeout),
        settings.NOTIFY.shards,
    )


@cache
def patient_shards() -> Shards:
    """Redis for long-running commands, which block on it for new work and can wait for a slow answer."""
    return Shards(
        connect(settings.NOTIFY.redis_url, timeout_seconds=10.0),
        settings.NOTIFY.shards,
    )
