"""`manage.py doctor`: mends what can be mended."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from notifications import process, wiring
from scheduler.comparison import Comparison


class Command(BaseCommand):
    """What a scheduler does at its start, at once and by hand."""

    help = "Mend what a lost server left behind."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to mend."""
        parser.add_argument(
            "--rebuild-schedules",
            action="store_true",
            required=True,
            help="put back into Redis the schedules that it lost, from PostgreSQL",
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Compare every schedule and say how many were put back."""
        settings.NOTIFY.require("database_url", "redis_url")
        process.single_connection()
        try:
            comparison = Comparison(wiring.patient_schedules())
            while comparison.step():
                pass
        except process.OUTAGES as error:
            server = "PostgreSQL" if isinstance(error, DatabaseError) else "Redis"
            raise CommandError(f"{server} does not answer; run this again: {error}") from None
        self.stdout.write(f"{comparison.compared} schedules compared, {comparison.restored} put back")
