"""Steps at which a process kills itself on purpose, so that a test can stop the world exactly there.

`NOTIFY_FAILPOINT=worker.stored` ends the process, as `kill -9` would, when it reaches the step of that name. Unset, as
in production, reaching a step costs a comparison.
"""

import os
import signal

from django.conf import settings


def reach(name: str) -> None:
    """Say that the step `name` is reached: a step is named after what has just been done, `<who>.<done>`."""
    if settings.NOTIFY.failpoint == name:
        os.kill(os.getpid(), signal.SIGKILL)
