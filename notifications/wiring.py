"""The configured pieces that every part of the core shares. The one place where settings meet the stream."""

from functools import cache
from typing import Final

import redis
import structlog
from django.conf import settings
from redis.exceptions import RedisError

from notifications.exceptions import OtherShards
from notifications.stream import layout
from notifications.stream.client import Shards, connect
from notifications.stream.clock import ServerClock
from notifications.stream.fanout import Fanout
from notifications.stream.keys import Lane
from notifications.stream.rates import Rates
from notifications.stream.register import Register
from notifications.stream.schedules import Schedules
from notifications.stream.writer import Writer

log = structlog.get_logger("notify.redis")

# Longer than any BLOCK (two seconds), and short enough to go on within five seconds of a connection's silent loss.
PATIENCE_SECONDS: Final = 4.5
# A report that waits longer is worth less than the next one.
REPORT_PATIENCE_SECONDS: Final = 1.0
# A thousand entries are half of this.
BATCH_BYTES: Final = 1024 * 1024


@cache
def shards() -> Shards:
    """Redis for whoever must answer soon: requests, sockets, one-shot commands."""
    return Shards(
        connect(settings.NOTIFY.redis_url, timeout_seconds=settings.NOTIFY.redis_timeout),
        settings.NOTIFY.shards,
    )


@cache
def channels() -> redis.Redis:
    """The Redis of the channel layer, for who sends to gateways. A frame that waits longer is worth nothing."""
    return connect(
        settings.NOTIFY.channel_redis_url or settings.NOTIFY.redis_url, timeout_seconds=settings.NOTIFY.redis_timeout
    )


@cache
def clock() -> ServerClock:
    """Redis' time, for requests."""
    return ServerClock(shards().client)


@cache
def schedules() -> Schedules:
    """What waits for its time. Nothing is changed later than its caller waits."""
    return Schedules(
        shards(),
        clock(),
        patience_ms=_patience_ms(),
        memory_seconds=_memory_seconds(),
        replicas=settings.NOTIFY.accept_replicas,
    )


@cache
def patient_schedules() -> Schedules:
    """The same for schedulers."""
    return Schedules(
        patient_shards(),
        ServerClock(patient_shards().client),
        patience_ms=int(PATIENCE_SECONDS * 1000 * 0.9),
        memory_seconds=_memory_seconds(),
    )


@cache
def fanout() -> Fanout:
    """The bulk jobs under way, for whoever looks or steers."""
    return Fanout(shards())


@cache
def writer(lane: Lane = "live") -> Writer:
    """The way into a lane. It accepts nothing later than its caller waits: a little before the time-out."""
    return Writer(
        shards(),
        max_backlog=settings.NOTIFY.max_backlog,
        clock=clock(),
        patience_ms=_patience_ms(),
        lane=lane,
        replicas=settings.NOTIFY.accept_replicas,
    )


@cache
def rates() -> Rates:
    """What callers have had of their rates."""
    return Rates(shards(), clock(), patience_ms=_patience_ms())


@cache
def patient_shards() -> Shards:
    """Redis for long-running commands, which block on it for new work and can wait for a slow answer."""
    return Shards(
        connect(settings.NOTIFY.redis_url, timeout_seconds=PATIENCE_SECONDS, read_bytes=BATCH_BYTES),
        settings.NOTIFY.shards,
    )


def require_shards() -> None:
    """Stop the start, with one line, where Redis is filled with another number of shards.

    Where it does not answer, whoever tells of this process (reporting.py) sees to it when it does.
    """
    client = connect(settings.NOTIFY.redis_url, timeout_seconds=REPORT_PATIENCE_SECONDS)
    try:
        layout.fix(Shards(client, settings.NOTIFY.shards))
    except OtherShards as error:
        raise SystemExit(f"notify: {error}") from None
    except RedisError as error:
        log.info("shards.not_looked_at", error=repr(error))
    finally:
        client.close()


def register(name: str) -> Register:
    """The entry of the process of this name among all that run."""
    client = connect(settings.NOTIFY.redis_url, timeout_seconds=REPORT_PATIENCE_SECONDS)
    return Register(Shards(client, settings.NOTIFY.shards), name)


def _patience_ms() -> int:
    """A little less than a request waits for Redis."""
    return int(settings.NOTIFY.redis_timeout * 1000 * 0.9)


def _memory_seconds() -> int:
    """An hour longer than a request can be repeated."""
    return (settings.NOTIFY.idempotency_hours + 1) * 3600
