"""`POST /api/notify` and `/api/notify/batch`: the door for producers. Redis only.

What comes most, a request of an API key that this process knows, has a short way in: the caller is as it was seen
before, and Redis confirms that in the moment it accepts. What does not end in a 202 there goes on DRF's way, where the
caller is looked at first.
"""

import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

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
from notifications.access.principal import Principal, Scope
from notifications.access.rates import Charge
from notifications.api.base import (
    MAX_BATCH_BYTES,
    MAX_SINGLE_BYTES,
    MEDIA_TYPE,
    Asked,
    accepted_headers,
    body_of,
    once_by,
)
from notifications.exceptions import CallerChanged, Refused

SCOPE: Final[Scope] = "send"
# Where a request has it that was on the short way before it came to Django: a Tried.
TRIED: Final = "notify.tried"


class Receipt(NamedTuple):
    """What somebody is told whose request was accepted: the body of a 202, and its headers."""

    body: bytes
    headers: Mapping[str, str]


class Tried(NamedTuple):
    """How far a request came on the short way: its body, where that was read, and what kept it from the end."""

    body: bytes | None
    error: Exception


class Door(NamedTuple):
    """What stands at an address: its route's name, the largest body, and what accepts.

    `accept` raises CallerChanged, with nothing done, where the caller has to be looked at.
    """

    name: str
    most_bytes: int
    accept: Callable[[Asked, bytes, Principal], Receipt]


class _WithId(msgspec.Struct):
    id: str


_id_decoder: Final = msgspec.json.Decoder(_WithId)


def at_once(door: Door, asked: Asked, caller: Principal) -> Receipt | Tried:
    """The short way, for a caller whom `remembered` told."""
    body = None
    try:
        body = body_of(asked, door.most_bytes)
        return door.accept(asked, body, caller)
    except Exception as error:  # noqa: BLE001 - raised again when it is known who is told so
        return Tried(body, error)


def _accept_one(asked: Asked, body: bytes, caller: Principal) -> Receipt:
    """The id, under which the notification can be looked up from now on."""
    charge = Charge(caller)
    answer = intake.accept_one(body, once_by(caller, asked, body), charge)
    return _receipt(answer, charge, _address(_id_decoder.decode(answer.body).id))


def _accept_batch(asked: Asked, body: bytes, caller: Principal) -> Receipt:
    """One result an event, in order."""
    charge = Charge(caller)
    return _receipt(intake.accept_batch(body, once_by(caller, asked, body), charge), charge)


ONE: Final = Door("notify", MAX_SINGLE_BYTES, _accept_one)
BATCH: Final = Door("notify-batch", MAX_BATCH_BYTES, _accept_batch)


class _View(APIView):
    """A door as DRF opens it."""

    permission_classes = [scope(SCOPE)]
    door: Door

    _tried: Tried | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # noqa: ANN401 - DRF's
        """The answer to a request of any method, from anybody."""
        self._tried = request.META.get(TRIED)
        caller = remembered(request.META, SCOPE) if request.method == "POST" and not self._tried else None
        if caller:
            request.user = caller  # type: ignore[assignment]  # one of ours
            outcome = at_once(self.door, request, caller)
            if isinstance(outcome, Receipt):
                return _accepted(outcome, self.default_response_headers)
            self._tried = outcome
        return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - DRF's
        """See who calls; but where Redis did already, or cannot be asked, that is the answer."""
        if self._tried and isinstance(self._tried.error, Refused | RedisError):
            raise self._tried.error
        super().initial(request, *args, **kwargs)

    def post(self, request: Request) -> HttpResponse:
        """202 with what became of it."""
        if self._tried and not isinstance(self._tried.error, CallerChanged):
            raise self._tried.error
        body = self._tried.body if self._tried else None
        if body is None:
            body = body_of(request, self.door.most_bytes)
        return _accepted(self.door.accept(request, body, caller_of(request)))


class NotifyOne(_View):
    """One event in, its id out."""

    door = ONE


class NotifyBatch(_View):
    """Up to 1000 events in one request, each accepted or rejected for itself."""

    door = BATCH


def _receipt(answer: intake.Answer, charge: Charge, location: str | None = None) -> Receipt:
    return Receipt(answer.body, accepted_headers(answer, location, charge.limits()))


def _accepted(receipt: Receipt, more: Mapping[str, str] | None = None) -> HttpResponse:
    headers = {**receipt.headers, **(more or {})}
    return HttpResponse(receipt.body, status=202, content_type=MEDIA_TYPE, headers=headers)


def _address(event_id: str) -> str:
    """Where a notification can be looked up."""
    return _addresses(get_script_prefix()) + event_id


@lru_cache(maxsize=8)
def _addresses(prefix: str) -> str:  # noqa: ARG001 - below which the application stands; `reverse` asks for it itself
    """What is in front of the id, found once."""
    nobody = str(uuid.UUID(int=0))
    return reverse("notification", args=[nobody]).removesuffix(nobody)
