"""Dead letters for programs: look, replay, discard."""

from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from django.http import Http404
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dlq import replay
from dlq.api import listing, shapes
from dlq.api.rules import Fingerprint, Flag, Ids, Limit, Reason, Since
from dlq.exceptions import Conflict
from dlq.models import DeadLetter
from dlq.replay import Criteria
from notifications.access.authentication import caller_of
from notifications.access.permissions import scope
from notifications.api.base import read_body
from notifications.events import EventType, Recipient
from notifications.exceptions import FieldError, Invalid

T = TypeVar("T")

CORRECTED: Final = "/notification"
NO_CRITERION: Final = (
    'must name what to replay: {"all": true}, or any of ids, reason, type, recipient, fingerprint, since; not both'
)


class OneBody(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing, or `{"notification": event}` to replay that instead."""

    notification: msgspec.Raw = msgspec.Raw()


class ManyBody(msgspec.Struct, forbid_unknown_fields=True):
    """`{"all": true}` or any of the filters; what fits all that is given is replayed."""

    all: Flag = False
    ids: Ids | None = None
    reason: Reason | None = None
    type: EventType | None = None
    recipient: Recipient | None = None
    fingerprint: Fingerprint | None = None
    since: Since | None = None
    dry_run: Flag = False
    limit: Limit | None = None

    def criteria(self) -> Criteria:
        """Which letters are meant. Raises Invalid unless that is said, and said once."""
        given = {name: getattr(self, name) for name in replay.LOOKUPS if getattr(self, name, None) is not None}
        if self.all is bool(given):
            raise Invalid([FieldError("", NO_CRITERION)])
        return Criteria(**given)


class ConflictResponse(APIException):
    """This cannot be done to the letter as it is now."""

    status_code = 409


class Letters(APIView):
    """The letters, newest last failure first. Pages are keyed, so they stay as they are while letters arrive."""

    permission_classes = [scope("read")]

    def get(self, request: Request) -> Response:
        """A page, and the cursor of the next one (null on the last)."""
        letters, following = listing.page(request.query_params.dict())
        return Response({"results": [shapes.summary(letter) for letter in letters], "next": following})


class OneLetter(APIView):
    """One letter."""

    def get_permissions(self) -> list[BasePermission]:
        """Looking takes less than discarding."""
        return [scope("manage" if self.request.method == "DELETE" else "read")()]

    def get(self, request: Request, letter_id: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """The letter and its history."""
        return Response(_detail(letter_id))

    def delete(self, request: Request, letter_id: UUID) -> Response:
        """Discard it: 204, also when it was discarded before. Its record stays."""
        _settled(lambda: replay.discard_one(letter_id, caller_of(request).name))
        return Response(status=204)


class ReplayOne(APIView):
    """One letter into the stream again."""

    permission_classes = [scope("manage")]

    def post(self, request: Request, letter_id: UUID) -> Response:
        """202 with the letter; 409 when it is not dead (any more), or cannot be read and is not corrected."""
        body, by = read_body(request, OneBody), caller_of(request).name
        corrected = bytes(body.notification)
        order = _settled(
            lambda: (
                replay.order_corrected(letter_id, corrected, by, at=CORRECTED)
                if corrected
                else replay.order_one(letter_id, by)
            )
        )
        replay.begin(order)
        return Response(_detail(letter_id), status=202)


class ReplayMany(APIView):
    """Every letter that fits a filter into the stream again."""

    permission_classes = [scope("manage")]

    def post(self, request: Request) -> Response:
        """202 with the order's id and how many letters it took; dry, 200 with how many it would take."""
        body = read_body(request, ManyBody)
        criteria = body.criteria()
        if body.dry_run:
            return Response({"matched": replay.replayable(criteria)[: body.limit].count()})
        order = replay.order(criteria, caller_of(request).name, body.limit)
        replay.begin(order)
        return Response({"id": str(order.pk), "matched": order.letters}, status=202)


def _detail(letter_id: UUID) -> dict[str, Any]:
    letter = DeadLetter.objects.prefetch_related("history").filter(pk=letter_id).first()
    if letter is None:
        raise Http404
    return shapes.detail(letter)


def _settled(act: Callable[[], T]) -> T:
    """What `act` answers; its refusals as this API's."""
    try:
        return act()
    except DeadLetter.DoesNotExist:
        raise Http404 from None
    except Conflict as conflict:
        raise ConflictResponse(str(conflict)) from None
