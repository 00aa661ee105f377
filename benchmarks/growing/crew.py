"""Several workers as one process to measure: `python -m benchmarks.growing.crew N`; runs until SIGTERM."""

import os
import signal
import sys
from typing import Final

from notify_project.local.children import PROJECT, manage
from notify_project.local.processes import spawn

LOOK_SECONDS: Final = 0.5


def main() -> int:
    """Start them and wait; whoever ends early ends all. Each gets SIGTERM when this does."""
    workers = [spawn(manage("worker"), environment=os.environ, folder=PROJECT) for _ in range(int(sys.argv[1]))]
    # Not before: they would inherit it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    while not signal.sigtimedwait({signal.SIGTERM}, LOOK_SECONDS):
        if any(worker.poll() is not None for worker in workers):
            break
    ended_early = any(worker.poll() is not None for worker in workers)
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.wait()
    return int(ended_early)


if __name__ == "__main__":
    sys.exit(main())
