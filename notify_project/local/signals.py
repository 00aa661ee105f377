"""The wish to stop: noted when it comes, looked at between two steps, so that none is torn in the middle."""

import signal
import time
from types import FrameType

from notify_project.local.exceptions import StopRequested

TICK_SECONDS = 0.1
# One Ctrl-C or kill can arrive twice: from the terminal's process group, and passed on by make.
SAME_WISH_SECONDS = 0.5


class StopSignals:
    """SIGINT, SIGTERM and SIGHUP, since `listen` was called."""

    def __init__(self) -> None:
        self.hurry = False  # a second Ctrl-C: kill at once
        self._since: float | None = None

    def listen(self) -> None:
        """Take the signals over."""
        signal.signal(signal.SIGINT, self._note)
        signal.signal(signal.SIGTERM, self._note)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under nohup: then it stays so
            signal.signal(signal.SIGHUP, self._note)

    def pause(self, seconds: float) -> None:
        """Wait; raises StopRequested soon after a signal came, or at once when one had come before."""
        deadline = time.monotonic() + seconds
        while self._since is None and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(TICK_SECONDS, left))
        if self._since is not None:
            raise StopRequested

    def _note(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif number == signal.SIGINT and now - self._since > SAME_WISH_SECONDS:
            self.hurry = True
