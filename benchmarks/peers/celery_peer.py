"""Celery: a list, and a hash and a sorted set of what is taken and not acknowledged; acknowledged when it is done.

Tried: pools `solo` and `threads`, 8 and 16 threads, 4 to 32 messages fetched ahead a thread.
"""

import os
from collections.abc import Iterable
from typing import Final

from celery import Celery

from benchmarks.peers.effects import Sessions

THREADS: Final = 16
SETTINGS: Final = {
    "task_acks_late": True,
    "task_ignore_result": True,
    "worker_prefetch_multiplier": 4,
    "worker_disable_rate_limits": True,
    "worker_enable_remote_control": False,
    "worker_send_task_events": False,
    "broker_connection_retry_on_startup": True,
}
OPTIONS: Final = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR")

app = Celery("bench", broker=os.environ["REDIS_URL"].replace("unix://", "redis+socket://"))
app.conf.update(SETTINGS)
sessions: list[Sessions] = []


def notify(payload: str) -> None:
    """The task."""
    sessions[0].deliver(payload)


task = app.task(notify, name="notify")


def enqueue(payloads: Iterable[str]) -> None:
    """A message for each."""
    with app.producer_pool.acquire() as producer:
        for payload in payloads:
            task.apply_async((payload,), producer=producer)


def work() -> None:
    """Run Celery's worker until SIGTERM."""
    sessions.append(Sessions(THREADS))
    app.worker_main(["worker", "--pool=threads", f"--concurrency={THREADS}", *OPTIONS])
