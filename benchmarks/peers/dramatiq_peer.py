"""Dramatiq: a list of ids beside a hash of messages, fetched and acknowledged by scripts, worked on by threads.

Tried: 4, 8, 16 and 32 threads; 1, 10 and 100 ms between looks; twice the threads, 256 and 1000 messages fetched ahead.
The thread that fetches sleeps when it may fetch no more, so with the few that are the default others wait for it. None
of its middleware: nothing is retried, nor stopped for taking too long.
"""

import os
import signal
from collections.abc import Iterable
from typing import Final

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers.effects import Sessions

THREADS: Final = 16
IDLE_MS: Final = 10
PREFETCH: Final = 256

broker = RedisBroker(url=os.environ["REDIS_URL"], middleware=[])
sessions: list[Sessions] = []


def notify(payload: str) -> None:
    """The task."""
    sessions[0].deliver(payload)


actor = dramatiq.actor(notify, broker=broker)


def enqueue(payloads: Iterable[str]) -> None:
    """A message for each."""
    for payload in payloads:
        actor.send(payload)


def work() -> None:
    """Run Dramatiq's worker, as its command does in each of its processes, until SIGTERM."""
    sessions.append(Sessions(THREADS))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    worker = dramatiq.Worker(broker, worker_threads=THREADS, worker_timeout=IDLE_MS)
    worker.queue_prefetch = PREFETCH  # what the environment's `dramatiq_queue_prefetch` sets
    worker.start()
    signal.sigwait({signal.SIGTERM})
    worker.stop()
