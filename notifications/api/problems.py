"""Every error as RFC 9457 `application/problem+json`."""

import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, ProgrammingError
from django.http import Http404, HttpRequest, HttpResponse
from redis.exceptions import RedisError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from notifications.api import refused
from notifications.api.throttle import Throttled
from notifications.exceptions import FieldError, IdempotencyConflict, Invalid, RateExceeded, Refused
from notifications.stream.replicas import NotReplicated

log = structlog.get_logger("notify.api")

# Under load an outage is met a thousand times a second.
unavailable: Final = {server: Throttled(log, "api.unavailable") for server in ("Redis", "PostgreSQL")}

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 2
# PostgreSQL answers, and refuses what we asked: no outage, and no waiting mends it.
OUR_FAULT: Final = (DataError, IntegrityError, ProgrammingError)
WENT_WRONG: Final = "Something went wrong here; it has been logged."


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's hook: whatever a view raised, as a problem."""
    set_rollback()
    refused.count(error)
    for kind, explain in EXPLANATIONS:
        if isinstance(error, kind) and not isinstance(error, OUR_FAULT):
            return problem_response(*explain(error, context["request"].path))
    log.error("api.failed", path=context["request"].path, exc_info=error)
    return problem_response(500, WENT_WRONG)


def problem_response(
    status: int,
    detail: str,
    errors: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem as a view's response."""
    return Response(problem(status, detail, errors or []), status=status, headers=headers, content_type=MEDIA_TYPE)


def problem(status: int, detail: str, errors: list[FieldError]) -> bytes:
    """A problem's JSON. `errors` names each broken rule by a JSON pointer into what was sent."""
    title = HTTPStatus(status).phrase
    return msgspec.json.encode(
        {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            **({"errors": errors} if errors else {}),
        }
    )


def plain_response(status: int, detail: str) -> HttpResponse:
    """A problem outside of DRF."""
    return HttpResponse(problem(status, detail, []), status=status, content_type=MEDIA_TYPE)


def not_found(request: HttpRequest, *_: object) -> HttpResponse:
    """An address under /api/ that is none."""
    return plain_response(404, f"There is nothing at {request.path}.")


def server_error(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """An error that no view handled; Django has logged it."""
    return plain_response(500, WENT_WRONG)


Explained = tuple[int, str, list[FieldError], dict[str, str]]


def _invalid(error: Invalid, _: str) -> Explained:
    return 400, "The request breaks rules; 'errors' names each.", error.errors, {}


def _conflict(_error: IdempotencyConflict, _: str) -> Explained:
    return 422, "This Idempotency-Key was used for a request with another body.", [], {}


def _over_rate(error: RateExceeded, _: str) -> Explained:
    return 429, f"{error} Nothing was accepted.", [], {"Retry-After": str(error.retry_after), **error.limits}


def _refused(error: Refused, _: str) -> Explained:
    return 503, f"{error} Nothing was accepted.", [], {"Retry-After": str(error.retry_after)}


def _outage(error: Exception, path: str) -> Explained:
    server = "Redis" if isinstance(error, RedisError) else "PostgreSQL"
    unavailable[server].warn(server=server, path=path, error=repr(error))
    # What a server did and could not say any more, nobody here can tell.
    detail = (
        f"{server} does not answer just now. Almost always nothing was accepted or changed; "
        "a request with an Idempotency-Key is safe to send again."
    )
    return 503, detail, [], {"Retry-After": str(RETRY_SECONDS)}


def _not_replicated(error: NotReplicated, path: str) -> Explained:
    unavailable["Redis"].warn(server="Redis", path=path, error=repr(error))
    detail = (
        "It is accepted, but not on as many replicas of Redis as it has to be, and may be lost. Send it again: with "
        "the same Idempotency-Key it takes effect once."
    )
    return 503, detail, [], {"Retry-After": str(RETRY_SECONDS)}


def _not_found(_error: Http404, _: str) -> Explained:
    return 404, "There is no such thing, or it is not yours to see.", [], {}


def _forbidden(_error: PermissionDenied, _: str) -> Explained:
    return 403, "This is not allowed.", [], {}


def _of_drf(error: exceptions.APIException, _: str) -> Explained:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(math.ceil(wait))
    if isinstance(error, exceptions.UnsupportedMediaType):
        return error.status_code, "The body must be JSON: Content-Type: application/json.", [], headers
    return error.status_code, str(error.detail), [], headers


EXPLANATIONS: Final[tuple[tuple[type[Exception], Callable[[Any, str], Explained]], ...]] = (
    (Invalid, _invalid),
    (IdempotencyConflict, _conflict),
    (RateExceeded, _over_rate),
    (Refused, _refused),
    (NotReplicated, _not_replicated),
    (RedisError, _outage),
    (DatabaseError, _outage),
    (InterfaceError, _outage),
    (Http404, _not_found),
    (PermissionDenied, _forbidden),
    (exceptions.APIException, _of_drf),
)
