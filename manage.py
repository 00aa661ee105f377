#!/usr/bin/env python
"""Notify's command line: `manage.py up` starts everything, `manage.py help` lists the rest."""

import gc
import os
import sys

from notifications.collector import COLLECT_AFTER

gc.set_threshold(*COLLECT_AFTER)

from django.core.management import execute_from_command_line  # noqa: E402 - most of what is there to be looked at


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify_project.settings")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
