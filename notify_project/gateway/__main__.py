"""`python -m notify_project.gateway`."""

import gc
import sys

from notifications.collector import COLLECT_AFTER

usual = gc.get_threshold()
gc.set_threshold(*COLLECT_AFTER)

from notify_project.gateway.command import run  # noqa: E402 - most of what is there to be looked at

gc.set_threshold(*usual)

if __name__ == "__main__":
    run(sys.argv[1:])
