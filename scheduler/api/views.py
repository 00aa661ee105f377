"""Schedules for programs: make, look, change, cancel, run now."""

from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from django.http import Http404
from django.urls import reverse
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifications.access.authentication import caller_of
from notifications.access.permissions import scope
from notifications.access.rates import Charge
from notifications.api.base import accepted, body_of, once_of
from notifications.api.query import Bounds, asked
from scheduler import door, shapes
from scheduler.api import listing
from scheduler.exceptions import Conflict, Unknown
from scheduler.schedule import Schedule

T = TypeVar("T")

MAX_PREVIEW: Final = 100
COUNTS: Final = frozenset(str(count) for count in range(1, MAX_PREVIEW + 1))
PREVIEW: Final[Bounds] = {"preview": (f"must be a whole number from 1 to {MAX_PREVIEW}", COUNTS.__contains__)}


class _WithId(msgspec.Struct):
    id: str


class ConflictResponse(APIException):
    """This cannot be done to the schedule as it is now."""

    status_code = 409


class Schedules(APIView):
    """Schedules, newest first; and a new one."""

    def get_permissions(self) -> list[BasePermission]:
        """Looking is one thing, sending another."""
        return [scope("send" if self.request.method == "POST" else "read")()]

    def get(self, request: Request) -> Response:
        """A page, and the cursor of the next one (null on the last). What was made just now may be missing."""
        rows, following = listing.page(request.query_params.dict())
        # What is of another status by now would be a lie in a list of one.
        asked_for = request.query_params.get("status") or None
        found = [known for known in door.now_of(rows) if asked_for in {None, known.status}]
        return Response({"results": [shapes.shown(known) for known in found], "next": following})

    def post(self, request: Request) -> Response:
        """201 with the schedule; with `preview`, 200 with what it would be, and nothing is made."""
        count = _preview(request)
        body, by = body_of(request), caller_of(request).shown_as
        # What is previewed is not made, and yet its key may be none.
        once = once_of(request, body)
        if count:
            known = door.preview(body, by)
            return Response({**_shown(known, count), "id": None})
        charge = Charge(caller_of(request))
        answer = door.make(body, by, once, charge)
        location = reverse("schedule", args=[msgspec.json.decode(answer.body, type=_WithId).id])
        response = accepted(answer, location, charge.limits())
        response.status_code = 201
        return response


class OneSchedule(APIView):
    """One schedule."""

    def get_permissions(self) -> list[BasePermission]:
        """Looking takes less than changing."""
        return [scope("manage" if self.request.method in {"PATCH", "DELETE"} else "read")()]

    def get(self, request: Request, schedule_id: UUID) -> Response:
        """The schedule as it is now; with `preview`, and its next times."""
        return Response(_shown(_settled(lambda: door.look(schedule_id)), _preview(request)))

    def patch(self, request: Request, schedule_id: UUID) -> Response:
        """Change what is given: the schedule as it is then. 409 where it was too late."""
        body = body_of(request)
        return Response(shapes.shown(_settled(lambda: door.change(schedule_id, body))))

    def delete(self, request: Request, schedule_id: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """Cancel it: 204, also when it was cancelled before. 409 where it was too late."""
        _settled(lambda: door.cancel(schedule_id))
        return Response(status=204)


class RunNow(APIView):
    """A schedule, now."""

    permission_classes = [scope("manage")]

    def post(self, request: Request, schedule_id: UUID) -> Response:
        """202 with the notification's id; 409 where it was too late."""
        once = once_of(request, body_of(request))
        answer = _settled(lambda: door.run_now(schedule_id, once))
        event_id = msgspec.json.decode(answer.body, type=_WithId).id
        return accepted(answer, reverse("notification", args=[event_id]))


def _preview(request: Request) -> int:
    """How many times are asked for; 0 for none. Raises Invalid."""
    return int(asked(request.query_params.dict(), PREVIEW).get("preview", 0))


def _shown(known: Schedule, count: int) -> dict[str, Any]:
    more = {"next_runs": door.next_runs(known, count)} if count else {}
    return {**shapes.shown(known), **more}


def _settled(act: Callable[[], T]) -> T:
    """What `act` answers; its refusals as this API's."""
    try:
        return act()
    except Unknown:
        raise Http404 from None
    except Conflict as conflict:
        raise ConflictResponse(str(conflict)) from None
