"""Dead letters for their page: groups of one cause, and what became of the replays that were ordered."""

import math
import threading
import time
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.http import Http404
from django.utils import timezone
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dlq import groups, replay
from dlq.admin import orders
from dlq.groups import Group
from dlq.models import DeadLetter, Replay
from notifications import lookup
from notifications.access.permissions import IsStaff
from notifications.representation import timestamp
from notify_project.dashboard.deadline import TooSlow, limited
from notify_project.dashboard.lives import TooSlowResponse

GROUPS_SHOWN: Final = 50
REPLAYS_SHOWN: Final = 5
# Older orders are history, and the admin's.
RECENT: Final = timedelta(hours=24)
# A million letters take PostgreSQL 0.2 s: however many pages are open, a process asks a tenth of the time at most.
REST_FACTOR: Final = 10
# Some ten million letters.
TIMEOUT_MS: Final = 5_000
# Who comes so soon after a failure is told the same, and PostgreSQL is left alone.
FAILURE_SECONDS: Final = 2.0

IN_FLIGHT: Final = ("id", "status", "attempts", "last_error", "next_attempt_at")


class OpenGroups:
    """What the page opens with; remembered for a while, the longer the more it took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answer = Future[dict[str, Any]]()
        self._fresh_until = -math.inf

    def now(self) -> dict[str, Any]:
        """The open groups, JSON-ready. Who comes while somebody asks already gets the same answer, or failure.

        Raises DatabaseError, TooSlow for one.
        """
        with self._lock:
            began = time.monotonic()
            is_first = began >= self._fresh_until
            if is_first:
                self._answer, self._fresh_until = Future(), math.inf
            answer = self._answer
        if is_first:
            self._ask(answer, began)
        return answer.result()

    def _ask(self, answer: Future[dict[str, Any]], began: float) -> None:
        try:
            with limited(TIMEOUT_MS):
                found = _shown(groups.open_now(GROUPS_SHOWN))
        except BaseException as error:  # noqa: BLE001 - whatever it is, others wait for it
            self._fresh_until = time.monotonic() + FAILURE_SECONDS
            answer.set_exception(error)
        else:
            ended = time.monotonic()
            self._fresh_until = ended + REST_FACTOR * (ended - began)
            answer.set_result(found)


open_groups: Final = OpenGroups()


class Groups(APIView):
    """What is dead, or ordered and not back in the stream yet, in groups; most that are dead first."""

    permission_classes = [IsStaff]

    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """`{"dead", "replaying", "newest", "more", "groups": […]}`; all of them, shown or not, are in the numbers."""
        try:
            return Response(open_groups.now())
        except TooSlow:
            raise TooSlowResponse(
                f"PostgreSQL did not answer within {TIMEOUT_MS // 1000} s. Look at Processes."
            ) from None


class Replays(APIView):
    """The newest orders to replay, without what became of their letters: that may take a while to count."""

    permission_classes = [IsStaff]

    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """`{"replays": […]}`, newest first; none that took no letter."""
        recent = Replay.objects.filter(letters__gt=0, ordered_at__gt=timezone.now() - RECENT).defer("answer")
        return Response({"replays": [_order(order) for order in recent.order_by("-ordered_at")[:REPLAYS_SHOWN]]})


class OneReplay(APIView):
    """What became of an order's letters."""

    permission_classes = [IsStaff]

    def get(self, request: Request, replay_id: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """The order with `stored`, `dead` and `on_the_way`; of a single letter on its way, where that is, too."""
        order = Replay.objects.defer("answer").filter(pk=replay_id).first()
        if order is None:
            raise Http404
        outcome = replay.outcome(order)
        letter = DeadLetter.objects.filter(replay=order).first() if order.letters == 1 else None
        event = _in_flight(letter) if letter and outcome.on_the_way else None
        return Response({**_order(order), **outcome._asdict(), "letter": letter and str(letter.pk), "event": event})


def _shown(found: groups.Groups) -> dict[str, Any]:
    return {
        "dead": found.dead,
        "replaying": found.replaying,
        "newest": found.newest and timestamp(found.newest),
        "more": found.more,
        "groups": [_group(group) for group in found.shown],
    }


def _group(group: Group) -> dict[str, Any]:
    return {**group._asdict(), "newest": timestamp(group.newest), "oldest": timestamp(group.oldest)}


def _order(order: Replay) -> dict[str, Any]:
    return {
        "id": str(order.pk),
        "by": order.ordered_by,
        "at": timestamp(order.ordered_at),
        "what": ", ".join(orders.in_words(order)),
        "letters": order.letters,
    }


def _in_flight(letter: DeadLetter) -> dict[str, Any] | None:
    """Where the event of a letter is; None while Redis cannot tell, or it is nowhere."""
    try:
        life = lookup.life(letter.replayed_as or letter.pk)
    except RedisError:
        return None
    return life and {name: life.get(name) for name in IN_FLIGHT}
