"""`manage.py scheduler`: moves what is due, retries for one, into its lane."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from notifications import process, wiring
from scheduler.planner import Planner


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT."""

    help = "Move events that are due into their lanes, until SIGTERM. Any number may run."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Run one scheduler."""
        settings.NOTIFY.require("redis_url")
        process.run("scheduler", Planner(wiring.patient_shards()))
