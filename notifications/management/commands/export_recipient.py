"""`manage.py export_recipient`: all that is known of one recipient, to standard output."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from notifications import events, privacy, process

BY = "manage.py export_recipient"


class Command(BaseCommand):
    """The same as `GET /api/recipients/{recipient}/export`."""

    help = "Write all that is known of one recipient to standard output, a line of JSON for each record."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose."""
        parser.add_argument("recipient", help="the recipient's id")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Write the lines; the last one says that it is complete."""
        settings.NOTIFY.require("database_url", "redis_url")
        recipient = options["recipient"]
        if not events.fits(recipient, events.Recipient):
            raise CommandError(f"the id {events.RECIPIENT_RULE}")
        process.single_connection()
        try:
            for block in privacy.export(recipient, BY):
                self.stdout.write(block.decode(), ending="")
        except process.OUTAGES as error:
            raise CommandError(f"not complete; run it again: {error}") from None
