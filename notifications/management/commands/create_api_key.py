"""`manage.py create_api_key`: a key for a producer."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from redis.exceptions import RedisError

from notifications.access import keys
from notifications.access.principal import SCOPES


class Command(BaseCommand):
    """Prints the key once; only its digest is kept."""

    help = "Make an API key and print it, once."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Who it is for, and what it may."""
        parser.add_argument("name", help="who will use it")
        parser.add_argument(
            "--scope",
            action="append",
            choices=SCOPES,
            help="may be given more than once; default: all of them",
        )
        parser.add_argument("--rate", default="1000/s", help="events it may send: 1000/s, 20/m; default: %(default)s")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Make it known to PostgreSQL and Redis, then print it."""
        settings.NOTIFY.require("database_url", "redis_url")
        if not 1 <= len(options["name"]) <= 100:
            raise CommandError("NAME must be 1 to 100 characters")
        if not keys.RATE.fullmatch(options["rate"]):
            raise CommandError(f"--rate {keys.RATE_RULE}")
        try:
            _, secret = keys.create(options["name"], options["scope"] or SCOPES, options["rate"])
        except (DatabaseError, RedisError) as error:
            raise CommandError(f"a server does not answer, no key was made: {error}") from None
        self.stdout.write(secret)
