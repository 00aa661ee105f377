"""`manage.py worker`: stores what was accepted, and tells who is online."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from notifications import process, wiring
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.stream.reader import Reader
from notifications.worker import Worker


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT."""

    help = "Store accepted events as notifications and announce them, until SIGTERM."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Wire one worker up and run it."""
        settings.NOTIFY.require("database_url", "redis_url")
        process.single_connection()
        shards = wiring.patient_shards()
        reader = Reader(
            shards,
            process.consumer_name(),
            batch_size=settings.NOTIFY.batch_size,
            claim_idle_ms=int(settings.NOTIFY.claim_idle_seconds * 1000),
        )
        process.run("worker", Worker(shards, reader, Announcer(shards, Outbox())))
