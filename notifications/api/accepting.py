"""`POST /api/notify` and `/api/notify/batch`: the door for producers. Redis only."""

from typing import Final

import msgspec
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifications import intake
from notifications.access.authentication import caller_of
from notifications.access.permissions import scope
from notifications.access.rates import Charge
from notifications.api.base import MAX_BATCH_BYTES, accepted, body_of, once_of


class _WithId(msgspec.Struct):
    id: str


_id_decoder: Final = msgspec.json.Decoder(_WithId)


class NotifyOne(APIView):
    """One event in, its id out."""

    permission_classes = [scope("send")]

    def post(self, request: Request) -> Response:
        """202 with the id, under which the notification can be looked up from now on."""
        body = body_of(request)
        charge = Charge(caller_of(request))
        answer = intake.accept_one(body, once_of(request, body), charge)
        event_id = _id_decoder.decode(answer.body).id
        return accepted(answer, reverse("notification", args=[event_id]), charge.limits())


class NotifyBatch(APIView):
    """Up to 1000 events in one request, each accepted or rejected for itself."""

    permission_classes = [scope("send")]

    def post(self, request: Request) -> Response:
        """202 with one result an event, in order."""
        body = body_of(request, MAX_BATCH_BYTES)
        charge = Charge(caller_of(request))
        return accepted(intake.accept_batch(body, once_of(request, body), charge), limits=charge.limits())
