"""`manage.py scheduler`: fires what is due, schedules and retries, and keeps schedules in PostgreSQL too."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from notifications import process, wiring
from notifications.drift import Drift
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.retention import Retention
from scheduler.planner import Planner
from scheduler.recorder import Recorder


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT."""

    help = "Fire schedules and retries that are due, until SIGTERM. Any number may run."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Run one scheduler."""
        settings.NOTIFY.require("database_url", "redis_url")
        process.single_connection()
        schedules = wiring.patient_schedules()
        shards = wiring.patient_shards()
        retention = Retention(shards, Announcer(shards, Outbox()))
        sample = settings.NOTIFY.drift_sample
        drift = [Drift(shards, per_minute=sample)] if sample else []
        process.run("scheduler", Planner(schedules), Recorder(schedules), retention, *drift)
