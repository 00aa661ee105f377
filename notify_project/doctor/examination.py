"""All checks, in order; what cannot be asked is a finding of its own, and the rest goes on."""

from collections.abc import Iterator
from typing import Final

import psycopg
from django.db import DatabaseError
from redis.exceptions import RedisError

from notifications import wiring
from notifications.stream.client import servers_of
from notify_project.doctor import configuration, disk, pipeline, postgresql, redis_server, replica
from notify_project.doctor.finding import Finding, apply

NO_DATABASE: Final = "start it, or correct DATABASE_URL; what was accepted waits meanwhile"
NO_REDIS: Final = "start it, or correct REDIS_URL; nothing is accepted meanwhile"


def examine() -> Iterator[Finding]:
    """Every finding, each as soon as it is there."""
    yield from apply(configuration.CHECKS, configuration.gather())
    yield from apply(disk.CHECKS, disk.gather())
    webs = commands = 0
    try:
        servers = servers_of(wiring.shards().client)
        for place, server in servers:
            yield from apply(redis_server.CHECKS, redis_server.gather(server, place))
        if spread := redis_server.spread([place for place, _ in servers]):
            yield spread
        in_redis = pipeline.gather(wiring.shards())
        webs = in_redis.alive.get("web", 0)
        commands = sum(in_redis.alive.values()) - webs
        yield from apply(pipeline.CHECKS, in_redis)
    except RedisError as error:
        yield Finding("fail", "Redis", f"does not answer: {error}", NO_REDIS)
    try:
        facts = postgresql.gather(webs, commands)
        yield from apply(postgresql.CHECKS, facts)
        yield from apply(replica.CHECKS, replica.gather())
        # Without all migrations their table may not be there.
        if not facts.unapplied:
            yield from apply(pipeline.CHECKS_OF_LETTERS, pipeline.gather_letters())
    except (DatabaseError, psycopg.Error) as error:
        yield Finding("fail", "PostgreSQL", f"does not answer: {error}".strip(), NO_DATABASE)
