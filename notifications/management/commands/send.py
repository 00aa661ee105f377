"""`manage.py send`: one notification from the command line."""

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from redis.exceptions import RedisError

from notifications import events, intake
from notifications.exceptions import Invalid, Refused


class Command(BaseCommand):
    """Goes through the same door as the API, with the same rules."""

    help = "Send one notification; prints its id."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What an event has."""
        parser.add_argument("recipient", help="the recipient's id")
        parser.add_argument("title")
        parser.add_argument("--type", default="message", help="default: %(default)s")
        parser.add_argument("--body", default="")
        parser.add_argument("--data", default="{}", metavar="JSON", help="a JSON object")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Check, accept, print the id; or one line that names the field and the rule."""
        settings.NOTIFY.require("redis_url")
        try:
            data = json.loads(options["data"])
        except ValueError as error:
            raise CommandError(f"--data must be a JSON object: {error}") from None
        document = {name: options[name] for name in ("recipient", "type", "title", "body")} | {"data": data}
        try:
            event_id = intake.send(events.parse(json.dumps(document).encode()))
        except (Invalid, Refused) as error:
            raise CommandError(str(error)) from None
        except RedisError as error:
            raise CommandError(f"Redis does not answer, nothing was sent: {error}") from None
        self.stdout.write(event_id)
