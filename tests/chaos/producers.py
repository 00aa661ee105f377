"""Those who send: each request at its time, and with a key until there is an answer."""

import heapq
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import httpx

from tests.chaos.clock import Caller, Clock, Part
from tests.chaos.ledger import LATER, Ledger, Line, What
from tests.chaos.plan import Request

PAUSE_SECONDS: Final = 0.5
# How long after the end of the run an answer is still asked for.
LAST_SECONDS: Final = 60.0
COME_BACK: Final = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS})
DETAIL_CHARACTERS: Final = 300


@dataclass(order=True)
class Attempt:
    """A request that is due: how often it was tried, how often sent, and whether it has its answer."""

    due: float
    turn: int
    request: Request = field(compare=False)
    tried: int = field(default=0, compare=False)
    sent: int = field(default=0, compare=False)
    answered: bool = field(default=False, compare=False)


class Producer(Part):
    """One program with a key. What it counts is in the ledger before."""

    def __init__(self, clock: Clock, caller: Caller, ledger: Ledger, requests: Sequence[Request]) -> None:
        super().__init__()
        self.counts = Counter[str]()
        self._clock = clock
        self._caller = caller
        self._ledger = ledger
        # Sorted by time, so it is a heap.
        self._waiting = [Attempt(request.at, turn, request) for turn, request in enumerate(requests)]

    def play(self) -> None:
        """Send until nothing is left; after the end of the run only what was sent and has no answer yet."""
        while self._waiting:
            attempt = heapq.heappop(self._waiting)
            if self._clock.wait_until(attempt.due):
                self._send(attempt)
            elif not attempt.sent:
                self.counts["not sent any more"] += 1
            elif not attempt.answered:
                self._send_at_last(attempt)

    def _send_at_last(self, attempt: Attempt) -> None:
        if self._clock.since_end() > LAST_SECONDS:
            self._note(attempt.request, What.UNKNOWN, "never answered")
            return
        time.sleep(PAUSE_SECONDS)
        self._send(attempt)

    def _send(self, attempt: Attempt) -> None:
        request = attempt.request
        path, body = request.body()
        headers = {"Idempotency-Key": request.key} if request.key else {}
        attempt.tried += 1
        try:
            # Each time at another gateway.
            answer = self._caller.call(request.gateway + attempt.tried, "POST", path, body, **headers)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            self.counts["gateway not reached"] += 1
            self._later(attempt)
        except httpx.TransportError as error:
            self._count(attempt)
            self._no_answer(attempt, What.UNKNOWN, repr(error))
        else:
            self._count(attempt)
            self._answered(attempt, answer)

    def _count(self, attempt: Attempt) -> None:
        self.counts["requests"] += 1
        self.counts["batches"] += attempt.request.batch
        self.counts["schedules"] += attempt.request.delay is not None
        self.counts["resubmissions"] += attempt.sent > 0
        attempt.sent += 1

    def _answered(self, attempt: Attempt, answer: httpx.Response) -> None:
        if answer.status_code == (HTTPStatus.ACCEPTED if attempt.request.delay is None else HTTPStatus.CREATED):
            self._accepted(attempt, answer)
        elif answer.status_code in COME_BACK:
            self.counts[f"answers {answer.status_code}"] += 1
            self._no_answer(attempt, What.REFUSED, str(answer.status_code))
        else:
            self._note(attempt.request, What.WRONG, f"{answer.status_code} {answer.text}"[:DETAIL_CHARACTERS])

    def _accepted(self, attempt: Attempt, answer: httpx.Response) -> None:
        document = answer.json()
        results = document["results"] if attempt.request.batch else [document]
        self._note(attempt.request, What.ACCEPTED, "" if attempt.request.delay is None else LATER, results)
        self.counts["replayed answers"] += "Idempotency-Replayed" in answer.headers
        self.counts["events accepted"] += 0 if attempt.answered else len(results)
        again = None if attempt.answered else attempt.request.again
        attempt.answered = True
        if again is not None:
            self._later(attempt, again)

    def _no_answer(self, attempt: Attempt, what: What, detail: str) -> None:
        """With a key it is sent again, and that answer counts. Without one nobody can tell, and nobody asks again."""
        if attempt.request.key:
            self._later(attempt)
        else:
            self._note(attempt.request, what, detail)

    def _later(self, attempt: Attempt, seconds: float = PAUSE_SECONDS) -> None:
        attempt.due = self._clock.now() + seconds
        heapq.heappush(self._waiting, attempt)

    def _note(self, request: Request, what: What, detail: str, results: Sequence[dict[str, Any]] = ()) -> None:
        # What is for later is waited for from then on.
        now = time.time() + (request.delay or 0)
        ids = [result.get("id", "") for result in results] or [""] * len(request.events)
        self._ledger.write(
            Line(
                what=what if event_id or not results else What.WRONG,
                when=now,
                number=event.number,
                id=event_id,
                recipient=event.recipient,
                kind=event.kind,
                key=request.key or "",
                detail=detail,
            )
            for event, event_id in zip(request.events, ids, strict=True)
        )
        self.counts[f"events {what}"] += 0 if what is What.ACCEPTED else len(request.events)
