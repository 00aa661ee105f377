"""Those who read, and the operator who replays dead letters, while everything around them breaks."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import httpx
import msgspec

from tests.chaos.clock import Caller, Clock, Part
from tests.chaos.followers import Follower
from tests.chaos.ledger import Ledger, Line, What
from tests.chaos.plan import Kind, MarkRead, Numbered, Order, type_of

SOME: Final = 5
LETTERS: Final = 50
# Poison is left in peace: each replay would take three more workers with it.
REPLAYED_KINDS: Final = (Kind.FAILS_ALWAYS, Kind.INVALID)
OUTAGES: Final = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS})


class Reading(Part):
    """All recipients' readers: they look at counts, open inboxes and mark what they see, by API and by socket."""

    def __init__(
        self, clock: Clock, caller: Caller, plan: Sequence[MarkRead], followers: Mapping[str, Follower]
    ) -> None:
        super().__init__()
        self.counts = Counter[str]()
        self.wrong: list[str] = []
        self._clock = clock
        self._caller = caller
        self._plan = plan
        self._followers = followers

    def play(self) -> None:
        """Read, each at its time; an answer that is lost is tried no more."""
        for visit in self._clock.through(self._plan):
            try:
                self._visit(visit)
            except httpx.TransportError:
                self.counts["no answer"] += 1

    def _visit(self, visit: MarkRead) -> None:
        if visit.by_socket:
            self._by_socket(visit)
            return
        self._ask(visit, "GET", f"/api/recipients/{visit.recipient}/unread")
        ids: list[str] = []
        if not visit.all:
            page = self._ask(visit, "GET", f"/api/notifications?recipient={visit.recipient}&unread=true&limit={SOME}")
            ids = [row["id"] for row in page.get("results", [])]
        if ids or visit.all:
            body = {"all": True} if visit.all else {"ids": ids}
            self._ask(visit, "POST", f"/api/recipients/{visit.recipient}/read", body)

    def _by_socket(self, visit: MarkRead) -> None:
        follower = self._followers[visit.recipient]
        ids = [follower.seen[seq] for seq in range(max(1, follower.last - SOME), follower.last + 1)]
        if ids or visit.all:
            self.counts["by socket"] += 1
            follower.mark_read(None if visit.all else ids)

    def _ask(self, visit: MarkRead, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self._caller.call(visit.gateway, method, path, body)
        self.counts["by API"] += 1
        if answer.status_code == HTTPStatus.OK:
            found: dict[str, Any] = answer.json()
            return found
        if answer.status_code not in OUTAGES:
            self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return {}


class Operator(Part):
    """Replays dead letters, as they are or corrected."""

    def __init__(self, clock: Clock, caller: Caller, ledger: Ledger, plan: Sequence[Order]) -> None:
        super().__init__()
        self.counts = Counter[str]()
        self.wrong: list[str] = []
        self._clock = clock
        self._caller = caller
        self._ledger = ledger
        self._plan = plan

    def play(self) -> None:
        """Replay, each order at its time; an order whose answer is lost is not given again."""
        for order in self._clock.through(self._plan):
            try:
                self._carry_out(order)
            except httpx.TransportError:
                self.counts["no answer"] += 1

    def _carry_out(self, order: Order) -> None:
        kind = REPLAYED_KINDS[order.corrected]
        found = self._caller.call(order.gateway, "GET", f"/api/dlq?type={type_of(kind)}&status=dead&limit={LETTERS}")
        if self._is_fine(found, HTTPStatus.OK) and (letters := found.json()["results"]):
            self._replay(order, kind, letters[int(order.place * len(letters))])

    def _replay(self, order: Order, kind: Kind, letter: dict[str, Any]) -> None:
        number = letter["payload"]["data"]["number"]
        line = Line(what=What.ORDERED, when=time.time(), number=number, id=letter["id"], kind=kind)
        body = None
        if order.corrected:
            line = msgspec.structs.replace(line, what=What.MAY_BE_CORRECTED)
            body = {"notification": Numbered(number, letter["recipient"]).document()}
        # Before the order, as it may take effect without an answer; after it, that it did.
        self._ledger.write([line])
        answer = self._caller.call(order.gateway, "POST", f"/api/dlq/{letter['id']}/replay", body)
        if answer.status_code == HTTPStatus.CONFLICT:
            self.counts["came too late"] += 1
        elif self._is_fine(answer, HTTPStatus.ACCEPTED):
            self.counts["corrected" if order.corrected else "as they are"] += 1
            if order.corrected:
                self._ledger.write([msgspec.structs.replace(line, what=What.CORRECTED)])

    def _is_fine(self, answer: httpx.Response, expected: HTTPStatus) -> bool:
        if answer.status_code not in OUTAGES | {expected}:
            self.wrong.append(
                f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:200]}"
            )
        return answer.status_code == expected
