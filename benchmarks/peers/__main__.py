"""One side of one queue.

    python -m benchmarks.peers celery enqueue     payloads on stdin, a line each, become tasks
    python -m benchmarks.peers celery work        tasks become notifications, until SIGTERM

DATABASE_URL and REDIS_URL come from the environment.
"""

import importlib
import sys


def main() -> None:
    """Call `enqueue` or `work` of the queue that is named."""
    name, side = sys.argv[1:]
    peer = importlib.import_module(f"benchmarks.peers.{name}_peer")
    if side == "enqueue":
        peer.enqueue([line.rstrip("\n") for line in sys.stdin])
    else:
        peer.work()


if __name__ == "__main__":
    main()
