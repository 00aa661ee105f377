"""The command: `python -m tests.chaos [--minutes 10] [--seed 7] [--shards 1] [--cluster] [--report FILE] [--keep]`."""

import os
import signal

import django

from tests.servers import SECRET_KEY, forget_developers_settings

# The stack beside us is made with the project's own code, some of which asks for settings when it is imported.
forget_developers_settings()
os.environ |= {"SECRET_KEY": SECRET_KEY, "DJANGO_SETTINGS_MODULE": "notify_project.settings"}
django.setup()

from tests.chaos.command import main  # noqa: E402 - it imports models

# A supervisor's SIGTERM ends a run as Ctrl-C does: with everything it started.
signal.signal(signal.SIGTERM, signal.default_int_handler)
raise SystemExit(main())
