"""`manage.py bulk_worker`: takes bulk jobs from their lists into the lane, and counts how far they are."""

import os
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand

from bulk.fanout import FanOut
from bulk.progress import Progress
from notifications import process, wiring
from notifications.stream.fanout import Fanout

# Who is sent something just now goes first wherever processors are short, too.
NICENESS: Final = 10


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT."""

    help = "Fan bulk jobs out, and count how far they are, until SIGTERM. Any number may run."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Run one bulk worker."""
        settings.NOTIFY.require("database_url", "redis_url")
        os.nice(NICENESS)
        process.single_connection()
        fanout = Fanout(wiring.patient_shards(), process.consumer_name())
        process.run("bulk_worker", FanOut(fanout), Progress(fanout))
