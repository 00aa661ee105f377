"""Dead letters for programs: look, replay, discard."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from django.db import IntegrityError
from django.http import Http404
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dlq import once, replay
from dlq.api import listing, rules, shapes
from dlq.api.rules import Fingerprint, Flag, Ids, Life, Limit, Reason, Since
from dlq.exceptions import Conflict
from dlq.models import DeadLetter, Replay
from dlq.replay import Criteria
from notifications.access.authentication import caller_of
from notifications.access.permissions import scope
from notifications.api.base import accepted, body_of, once_of, parse_body
from notifications.events import EventType, Recipient
from notifications.exceptions import FieldError, Invalid
from notifications.intake import Answer
from notifications.stream.once import Once

T = TypeVar("T")

CORRECTED: Final = "/notification"
NO_CRITERION: Final = (
    'must name what to replay: {"all": true}, or any of ids, reason, type, recipient, fingerprint, since, '
    "until; not both"
)


class OneBody(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing; or an event to replay instead, in the fields that a letter shows as its `notification`.

    With `life`, only if that is still the life that the letter died of last.
    """

    notification: msgspec.Raw = msgspec.Raw()
    life: Life | None = None


class ManyBody(msgspec.Struct, forbid_unknown_fields=True):
    """`{"all": true}` or any of the filters; what fits all that is given is replayed."""

    all: Flag = False
    ids: Ids | None = None
    reason: Reason | None = None
    type: EventType | None = None
    recipient: Recipient | None = None
    fingerprint: Fingerprint | None = None
    since: Since | None = None
    until: Since | None = None
    dry_run: Flag = False
    limit: Limit | None = None

    def criteria(self) -> Criteria:
        """Which letters are meant. Raises Invalid unless that is said, and said once."""
        given = {name: getattr(self, name) for name in replay.LOOKUPS if getattr(self, name, None) is not None}
        if self.all is bool(given):
            raise Invalid([FieldError("", NO_CRITERION)])
        bounds = {"since": _in_utc("/since", self.since), "until": _in_utc("/until", self.until)}
        return msgspec.structs.replace(Criteria(**given), **bounds)


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
        _settled(lambda: replay.discard_one(letter_id, caller_of(request).shown_as))
        return Response(status=204)


class ReplayOne(APIView):
    """One letter into the stream again."""

    permission_classes = [scope("manage")]

    def post(self, request: Request, letter_id: UUID) -> Response:
        """202 with the letter; 409 when it is not dead (any more), died again, or has to be corrected."""
        document, by = body_of(request), caller_of(request).shown_as
        body = parse_body(document, OneBody)
        corrected = bytes(body.notification)

        def give(key: Once | None) -> Replay:
            if corrected:
                return replay.order_corrected(letter_id, corrected, by, at=CORRECTED, life=body.life, request=key)
            return replay.order_one(letter_id, by, life=body.life, request=key)

        return _ordered(once_of(request, document), give, lambda _: _detail(letter_id))


class ReplayMany(APIView):
    """Every letter that fits a filter into the stream again."""

    permission_classes = [scope("manage")]

    def post(self, request: Request) -> Response:
        """202 with the order's id and how many letters it took; dry, 200 with how many it would take."""
        document, by = body_of(request), caller_of(request).shown_as
        body = parse_body(document, ManyBody)
        criteria = body.criteria()
        key = once_of(request, document)
        if body.dry_run:
            return Response({"matched": replay.replayable(criteria)[: body.limit].count()})
        return _ordered(
            key,
            lambda once: replay.order(criteria, by, body.limit, request=once),
            lambda order: {"id": str(order.pk), "matched": order.letters},
        )


def _in_utc(pointer: str, bound: datetime | None) -> datetime | None:
    try:
        return bound and bound.astimezone(UTC)
    except OverflowError:
        raise Invalid([FieldError(pointer, rules.rule(Since))]) from None


def _ordered(key: Once | None, give: Callable[[Once | None], Replay], tell: Callable[[Replay], object]) -> Response:
    """The answer to an order that was given, and begun; with an idempotency key, of the first that came with it."""
    order, repeated = (_settled(lambda: give(None)), False) if key is None else _once(key, give)
    if order.answer is not None:
        return accepted(Answer(bytes(order.answer), repeated))
    # Also where the first request ended before its answer, or is about to give it.
    replay.begin(order)
    answer = msgspec.json.encode(tell(order))
    return accepted(Answer(once.keep(order, answer) if key else answer, repeated))


def _once(key: Once, give: Callable[[Once | None], Replay]) -> tuple[Replay, bool]:
    """The order of a request with an idempotency key, and whether an earlier request gave it."""
    if order := once.earlier(key):
        return order, True
    try:
        return _settled(lambda: give(key)), False
    except IntegrityError:
        # The same request, at the same time, was quicker.
        if order := once.earlier(key):
            return order, True
        raise


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
