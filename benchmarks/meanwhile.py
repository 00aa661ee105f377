"""Requests that are sent while something else is measured, and how long their answers take."""

import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Final, NamedTuple

import httpx

# So that a slow answer keeps no other request waiting.
CLIENTS: Final = 20
PATIENCE_SECONDS: Final = 30.0


class Answer(NamedTuple):
    """One POST: when it was to be sent (Unix seconds), and how long after that it was answered, in ms."""

    sent: float
    took_ms: float


@contextmanager
def posting(url: str, key: str, rate: int) -> Iterator[list[Answer]]:
    """Send `rate` notifications a second, each in its turn, whether those before it were answered or not."""
    answers: list[Answer] = []
    over = threading.Event()
    first = time.time()

    def post(number: int) -> None:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False) as client:
            for turn in count(first + number / rate, CLIENTS / rate):
                if over.wait(max(0.0, turn - time.time())):
                    return
                event = {"recipient": f"client-{number}", "type": "test", "title": "A title"}
                client.post("/api/notify", json=event, timeout=PATIENCE_SECONDS).raise_for_status()
                answers.append(Answer(turn, (time.time() - turn) * 1000))

    with ThreadPoolExecutor(CLIENTS) as clients:
        posts = [clients.submit(post, number) for number in range(CLIENTS)]
        try:
            yield answers
        finally:
            over.set()
    for done in posts:
        done.result()


def print_answers(answers: Sequence[Answer], phases: Mapping[str, tuple[float, float]]) -> None:
    """How long POST /api/notify took in each phase."""
    print("POST /api/notify, from when it was to be sent:")
    for phase, (start, end) in phases.items():
        took = sorted(answer.took_ms for answer in answers if start <= answer.sent < end)
        if took:
            p99 = took[min(len(took) - 1, len(took) * 99 // 100)]
            numbers = f"p50 {statistics.median(took):.1f} ms, p99 {p99:.1f} ms, worst {took[-1]:.1f} ms"
            print(f"  {phase} ({end - start:.1f} s, {len(took)} requests): {numbers}")
