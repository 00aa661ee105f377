"""huey: a list that threads take from. Nothing is acknowledged: what a thread took is gone when the process dies.

Tried: 4, 8, 16, 24 and 32 threads.
"""

import os
from collections.abc import Iterable
from typing import Final

from huey import RedisHuey

from benchmarks.peers.effects import Sessions

THREADS: Final = 32

huey = RedisHuey("bench", url=os.environ["REDIS_URL"], results=False)
sessions: list[Sessions] = []


def notify(payload: str) -> None:
    """The task."""
    sessions[0].deliver(payload)


task = huey.task()(notify)


def enqueue(payloads: Iterable[str]) -> None:
    """A task for each."""
    for payload in payloads:
        task(payload)


def work() -> None:
    """Run huey's consumer until SIGTERM."""
    sessions.append(Sessions(THREADS))
    huey.create_consumer(workers=THREADS, worker_type="thread", periodic=False, check_worker_health=False).run()
