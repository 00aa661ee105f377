"""`manage.py up`: the whole of Notify on this machine, with servers of its own, until Ctrl-C."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from notifications.access.keys import new_secret
from notify_project.local.deployment import Deployment, Options
from notify_project.local.exceptions import StartError
from notify_project.local.web import Address


class Command(BaseCommand):
    """Start and keep running; see notify_project/local/deployment.py for the story."""

    help = "Start Notify: private PostgreSQL and Valkey unless DATABASE_URL / REDIS_URL are set, web, workers."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="the web's port (8000)")
        parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
        parser.add_argument("--workers", type=int, default=1, help="how many workers (1)")
        parser.add_argument("--data-dir", type=Path, default=settings.BASE_DIR / "var", help="where data is kept (var)")

    def handle(self, *_: str, **options: Any) -> None:  # noqa: ANN401 - Django's options
        deployment = Deployment(
            Options(
                address=Address(options["host"], options["port"]),
                workers=options["workers"],
                data=options["data_dir"].resolve(),
            ),
            os.environ,
            new_api_key=new_secret,
            say=self._say,
        )
        try:
            deployment.run()
        except (StartError, OSError) as error:
            raise SystemExit(f"notify: {error}") from None

    def _say(self, text: str) -> None:
        """Print at once: into a pipe or a file, Python would keep it until the end, hours later."""
        self.stdout.write(text)
        self.stdout.flush()
