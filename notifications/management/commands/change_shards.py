"""`manage.py change_shards`: another number of shards, once nothing waits in Redis."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from redis.exceptions import RedisError

from notifications import wiring
from notifications.exceptions import StillWaits
from notifications.stream import layout, register


class Command(BaseCommand):
    """Refuses as long as anything would be lost."""

    help = "Empty a drained Redis of all that is ours, and begin anew with NOTIFY_SHARDS shards."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """See that nothing waits and nobody runs; then empty it."""
        settings.NOTIFY.require("redis_url")
        shards = wiring.patient_shards()
        try:
            running = [each.name for each in register.processes(shards.client) if each.state in {"alive", "silent"}]
            removed = layout.change(shards, running)
        except StillWaits as waits:
            raise CommandError(f"nothing was changed, as Redis is in use: {waits} (docs/upgrade.md)") from None
        except RedisError as error:
            raise CommandError(f"Redis does not answer; run it again: {error}") from None
        self.stdout.write(f"{removed} keys removed; Redis has {settings.NOTIFY.shards} shards from now on")
