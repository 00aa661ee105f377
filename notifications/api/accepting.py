"""`POST /api/notify` and `/api/notify/batch`: the door for producers. Redis only."""

import uuid
from abc import abstractmethod
from functools import lru_cache
from typing import Any, Final

import msgspec
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import get_script_prefix, reverse
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.views import APIView

from notifications import intake
from notifications.access.authentication import caller_of, remembered
from notifications.access.permissions import scope
from notifications.access.principal import Principal
from notifications.access.rates import Charge
from notifications.api.base import (
    MAX_BATCH_BYTES,
    MAX_SINGLE_BYTES,
    MEDIA_TYPE,
    accepted_headers,
    body_of,
    once_by,
)
from notifications.exceptions import CallerChanged, Refused

Asked = HttpRequest | Request


class _WithId(msgspec.Struct):
    id: str


_id_decoder: Final = msgspec.json.Decoder(_WithId)


class _Door(APIView):
    """A view with a short way for what comes most, and DRF's own for all else.

    On the short way the caller is as this process saw it before, and Redis confirms that in the moment it accepts. What
    does not end in a 202 goes on DRF's way, where the caller is looked at first.
    """

    permission_classes = [scope("send")]
    most_bytes = MAX_SINGLE_BYTES

    # How far the short way came.
    _body: bytes | None = None
    _error: Exception | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # noqa: ANN401 - DRF's
        """The answer to a request of any method, from anybody."""
        caller = remembered(request, "send") if request.method == "POST" else None
        if caller and (response := self._at_once(request, caller)) is not None:
            return response
        return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - DRF's
        """See who calls; but where Redis did already, or cannot be asked, that is the answer."""
        if isinstance(self._error, Refused | RedisError):
            raise self._error
        super().initial(request, *args, **kwargs)

    def post(self, request: Request) -> HttpResponse:
        """202 with what became of it."""
        if self._error and not isinstance(self._error, CallerChanged):
            raise self._error
        body = body_of(request, self.most_bytes) if self._body is None else self._body
        return self.accept(request, body, caller_of(request))

    def _at_once(self, request: Any, caller: Principal) -> HttpResponse | None:  # noqa: ANN401 - takes a user of ours
        """The short way; None where it did not get to its end."""
        request.user = caller
        try:
            self._body = body_of(request, self.most_bytes)
            response = self.accept(request, self._body, caller)
        except Exception as error:  # noqa: BLE001 - raised again when it is known who is told so
            self._error = error
            return None
        for name, value in self.default_response_headers.items():
            response[name] = value
        return response

    @abstractmethod
    def accept(self, request: Asked, body: bytes, caller: Principal) -> HttpResponse:
        """202. Raises CallerChanged, with nothing done, where the caller has to be looked at."""


class NotifyOne(_Door):
    """One event in, its id out."""

    def accept(self, request: Asked, body: bytes, caller: Principal) -> HttpResponse:
        """202 with the id, under which the notification can be looked up from now on."""
        charge = Charge(caller)
        answer = intake.accept_one(body, once_by(caller, request, body), charge)
        return _accepted(answer, charge, _address(_id_decoder.decode(answer.body).id))


class NotifyBatch(_Door):
    """Up to 1000 events in one request, each accepted or rejected for itself."""

    most_bytes = MAX_BATCH_BYTES

    def accept(self, request: Asked, body: bytes, caller: Principal) -> HttpResponse:
        """202 with one result an event, in order."""
        charge = Charge(caller)
        return _accepted(intake.accept_batch(body, once_by(caller, request, body), charge), charge)


def _accepted(answer: intake.Answer, charge: Charge, location: str | None = None) -> HttpResponse:
    headers = accepted_headers(answer, location, charge.limits())
    return HttpResponse(answer.body, status=202, content_type=MEDIA_TYPE, headers=headers)


def _address(event_id: str) -> str:
    """Where a notification can be looked up."""
    return _addresses(get_script_prefix()) + event_id


@lru_cache(maxsize=8)
def _addresses(prefix: str) -> str:  # noqa: ARG001 - below which the application stands; `reverse` asks for it itself
    """What is in front of the id, found once."""
    nobody = str(uuid.UUID(int=0))
    return reverse("notification", args=[nobody]).removesuffix(nobody)
