"""`manage.py dlq_worker`: records what was given up, and carries out the replays that are ordered."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from dlq.recorder import BATCH_SIZE, Recorder
from notifications import process, wiring
from notifications.stream.letters import LetterReader


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT."""

    help = "Record dead letters and carry out ordered replays, until SIGTERM. Any number may run."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Wire one recorder up and run it."""
        settings.NOTIFY.require("database_url", "redis_url")
        process.single_connection()
        reader = LetterReader(
            wiring.patient_shards(),
            process.consumer_name(),
            batch_size=BATCH_SIZE,
            claim_idle_ms=int(settings.NOTIFY.claim_idle_seconds * 1000),
        )
        process.run("dlq_worker", Recorder(reader))
