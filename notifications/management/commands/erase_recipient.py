"""`manage.py erase_recipient`: removes all that is known of one recipient."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from notifications import events, inbox, privacy, process

BY = "manage.py erase_recipient"


class Command(BaseCommand):
    """The same as `DELETE /api/recipients/{recipient}`."""

    help = "Remove all that is known of one recipient, for good. Safe to run again."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Who, and whether to ask."""
        parser.add_argument("recipient", help="the recipient's id")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Ask, remove, say how much that was."""
        settings.NOTIFY.require("database_url", "redis_url")
        recipient = options["recipient"]
        if not events.fits(recipient, events.Recipient):
            raise CommandError(f"the id {events.RECIPIENT_RULE}")
        if not options["yes"] and input(f"Erase all that is known of {recipient!r}? Type the id again: ") != recipient:
            raise CommandError("nothing was erased")
        process.single_connection()
        try:
            erased = privacy.erase(recipient, inbox.announcer(), BY)
        except process.OUTAGES as error:
            raise CommandError(f"not completed; run it again: {error}") from None
        self.stdout.write(", ".join(f"{count} {what.replace('_', ' ')}" for what, count in erased.items()) + " erased")
