"""`manage.py send`: one notification from the command line, now or later."""

import json
from argparse import ArgumentParser
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from redis.exceptions import RedisError

from notifications import intake, wiring
from notifications.exceptions import Invalid, Refused
from scheduler import door

BY = "manage.py send"


class Command(BaseCommand):
    """Goes through the same doors as the API, with the same rules."""

    help = "Send one notification; prints its id."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What an event has."""
        parser.add_argument("recipient", help="the recipient's id")
        parser.add_argument("title")
        parser.add_argument("--type", default="message", help="default: %(default)s")
        parser.add_argument("--body", default="")
        parser.add_argument("--data", default="{}", metavar="JSON", help="a JSON object")
        parser.add_argument("--delay", type=float, metavar="SECONDS", help="send it so many seconds from now")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Check, accept, print the id; or one line that names the field and the rule."""
        settings.NOTIFY.require("redis_url")
        wiring.require_shards()
        try:
            data = json.loads(options["data"])
        except ValueError as error:
            raise CommandError(f"--data must be a JSON object: {error}") from None
        document = {name: options[name] for name in ("recipient", "type", "title", "body")} | {"data": data}
        try:
            event_id = _send(document, options["delay"])
        except (Invalid, Refused) as error:
            raise CommandError(str(error)) from None
        except RedisError as error:
            raise CommandError(f"Redis does not answer, nothing was sent: {error}") from None
        self.stdout.write(event_id)


def _send(document: dict[str, Any], delay: float | None) -> str:
    if delay is None:
        return intake.send(intake.parse(json.dumps(document).encode()))
    made = door.make(json.dumps(document | {"delay": delay}).encode(), BY)
    event_id: str = msgspec.json.decode(made.body)["id"]
    return event_id
