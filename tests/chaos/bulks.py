"""Those who send bulk jobs and change their minds: pause, resume, cancel, another rate."""

import time
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import httpx

from tests.chaos.clock import ANSWER_SECONDS, Caller, Clock, Part
from tests.chaos.ledger import Ledger, Line, What
from tests.chaos.plan import Bulk, Change
from tests.chaos.producers import COME_BACK, DETAIL_CHARACTERS, LAST_SECONDS, PAUSE_SECONDS


class BulkSender(Part):
    """One program that sends bulk jobs, each with a key until there is an answer, and carries out what is planned."""

    def __init__(self, clock: Clock, caller: Caller, ledger: Ledger, plan: Sequence[Bulk]) -> None:
        super().__init__()
        self.counts = Counter[str]()
        self._clock = clock
        self._caller = caller
        self._ledger = ledger
        self._plan = plan

    def play(self) -> None:
        """Send, each at its time; in the end, nothing stands still."""
        made = []
        for bulk in self._clock.through(self._plan):
            job_id = self._send(bulk)
            made.append((bulk, job_id))
            for change in bulk.changes if job_id else ():
                if self._clock.wait_until(self._clock.now() + change.after):
                    self._change(bulk, job_id, change)
            if job_id:
                self._let_go(bulk, job_id)
        # An order that got no answer may take effect after those that came later, when a frozen server goes on.
        self._clock.wait_for_calm(ANSWER_SECONDS)
        for bulk, job_id in made:
            if job_id:
                self._let_go(bulk, job_id)

    def _send(self, bulk: Bulk) -> str:
        """The job's id; empty where it never came."""
        body = {"recipients": bulk.recipients, "notification": bulk.notification(), "rate": bulk.rate}
        tried = 0
        while self._may_go_on():
            tried += 1
            answer = self._ask(bulk.gateway + tried, "POST", "/api/bulk", body, **{"Idempotency-Key": bulk.key})
            if answer is not None and answer.status_code == HTTPStatus.ACCEPTED:
                job_id: str = answer.json()["id"]
                self._note(bulk, What.BULK, job_id)
                self.counts["accepted"] += 1
                return job_id
            if answer is not None and answer.status_code not in COME_BACK:
                self._wrong(bulk, answer)
                return ""
            time.sleep(PAUSE_SECONDS)
        return ""

    def _change(self, bulk: Bulk, job_id: str, change: Change) -> None:
        if change.what == "cancel":
            # Before the order, as it may take effect without an answer; after it, how far the job had got.
            self._note(bulk, What.BULK_MAY_BE_CANCELLED, job_id)
        if change.what == "rate":
            answer = self._ask(bulk.gateway, "PATCH", f"/api/bulk/{job_id}", {"rate": change.rate})
        else:
            answer = self._ask(bulk.gateway, "POST", f"/api/bulk/{job_id}/{change.what}")
        if answer is None or answer.status_code in COME_BACK:
            self.counts["no answer"] += 1
        elif answer.status_code == HTTPStatus.CONFLICT:
            self.counts["came too late"] += 1
        elif answer.status_code == HTTPStatus.OK:
            self.counts[change.what] += 1
            if change.what == "cancel":
                self._note(bulk, What.BULK_CANCELLED, job_id, str(answer.json()["fanned_out"]))
        else:
            self._wrong(bulk, answer)

    def _let_go(self, bulk: Bulk, job_id: str) -> None:
        """Resume a job as long as it stands still, whoever's order it was that got lost."""
        tried = 0
        while self._may_go_on():
            tried += 1
            answer = self._ask(bulk.gateway + tried, "GET", f"/api/bulk/{job_id}")
            if answer is not None and answer.status_code == HTTPStatus.OK and answer.json()["status"] != "paused":
                return
            self._ask(bulk.gateway + tried, "POST", f"/api/bulk/{job_id}/resume")
            time.sleep(PAUSE_SECONDS)

    def _may_go_on(self) -> bool:
        return self._clock.wait_until(0) or self._clock.since_end() < LAST_SECONDS

    def _ask(self, gateway: int, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response | None:
        try:
            return self._caller.call(gateway, method, path, body, **headers)
        except httpx.TransportError:
            return None

    def _wrong(self, bulk: Bulk, answer: httpx.Response) -> None:
        request = f"{answer.request.method} {answer.request.url.path}"
        detail = f"{request}: {answer.status_code} {answer.text}"[:DETAIL_CHARACTERS]
        self._ledger.write([Line(what=What.WRONG, when=time.time(), key=bulk.key, detail=detail)])

    def _note(self, bulk: Bulk, what: What, job_id: str, detail: str = "") -> None:
        self._ledger.write(
            [
                Line(
                    what=what,
                    when=time.time(),
                    number=bulk.number,
                    id=job_id,
                    recipient=" ".join(bulk.recipients),
                    kind=bulk.kind,
                    key=bulk.key,
                    detail=detail,
                )
            ]
        )
