"""`manage.py worker`: stores what was accepted, and tells who is online."""

import re
from argparse import ArgumentParser
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from notifications import process, wiring
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.stream.reader import Reader
from notifications.worker import Worker

RANGE: Final = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT."""

    help = "Store accepted events as notifications and announce them, until SIGTERM."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which shards are its own."""
        parser.add_argument(
            "--shards",
            metavar="LIST",
            help="work on these only, say 0-15 or 3,5-7; others have to work on the rest; default: all of them",
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Wire one worker up and run it."""
        settings.NOTIFY.require("database_url", "redis_url")
        only = pinned(options["shards"], settings.NOTIFY.shards) if options["shards"] else None
        process.single_connection()
        shards = wiring.patient_shards()
        reader = Reader(
            shards,
            process.consumer_name(),
            batch_size=settings.NOTIFY.batch_size,
            claim_idle_ms=int(settings.NOTIFY.claim_idle_seconds * 1000),
            only=only,
        )
        process.run("worker", Worker(shards, reader, Announcer(shards, Outbox())))


def pinned(text: str, shards: int) -> set[int]:
    """The shards of a list such as `0-15,20`, of so many that there are. Raises CommandError."""
    found: set[int] = set()
    for part in text.split(","):
        match = RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not 0 <= first <= last < shards:
            raise CommandError(
                f"--shards takes numbers and ranges from 0 to {shards - 1}, separated by commas: {text!r}"
            )
        found.update(range(first, last + 1))
    return found
