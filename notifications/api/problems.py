"""Every error as RFC 9457 `application/problem+json`."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from redis.exceptions import RedisError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from notifications.exceptions import FieldError, IdempotencyConflict, Invalid, Refused

log = structlog.get_logger("notify.api")

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 2


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """RFC 9457, section 3. `errors` names each broken rule by a JSON pointer into what was sent."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's hook: whatever a view raised, as a problem."""
    set_rollback()
    status, detail, errors, headers = _explain(error, context)
    return problem_response(status, detail, errors, headers)


def problem_response(
    status: int,
    detail: str,
    errors: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem as a view's response."""
    return Response(
        problem(status, detail, errors or []), status=status, headers=headers, content_type=MEDIA_TYPE
    )


def problem(status: int, detail: str, errors: list[FieldError]) -> bytes:
    """A problem's JSON; `type` and `status` are always in it."""
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
    return plain_response(500, "Something went wrong here; it has been logged.")


Explained = tuple[int, str, list[FieldError], dict[str, str]]


def _explain(error: Exception, context: Mapping[str, Any]) -> Explained:
    match error:
        case Invalid():
            return 400, "The request breaks rules; 'errors' names each.", error.errors, {}
        case IdempotencyConflict():
            return 422, "This Idempotency-Key was used for a request with another body.", [], {}
        case Refused():
            return 503, f"{error} Nothing was accepted.", [], {"Retry-After": str(error.retry_after)}
        case RedisError() | DatabaseError():
            return _outage(error, context)
        case RequestDataTooBig():
            return 413, "The body is larger than this address takes.", [], {}
        case Http404():
            return 404, "There is no such thing, or it is not yours to see.", [], {}
        case PermissionDenied():
            return 403, "This is not allowed.", [], {}
        case exceptions.APIException():
            return _of_drf(error)
        case _:
            log.exception("api.failed", path=context["request"].path)
            return 500, "Something went wrong here; it has been logged.", [], {}


def _outage(error: Exception, context: Mapping[str, Any]) -> Explained:
    server = "Redis" if isinstance(error, RedisError) else "PostgreSQL"
    log.warning("api.unavailable", server=server, path=context["request"].path, error=repr(error))
    detail = f"{server} does not answer just now. Nothing was accepted or changed."
    return 503, detail, [], {"Retry-After": str(RETRY_SECONDS)}


def _of_drf(error: exceptions.APIException) -> Explained:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(math.ceil(wait))
    if isinstance(error, exceptions.UnsupportedMediaType):
        return error.status_code, "The body must be JSON: Content-Type: application/json.", [], headers
    return error.status_code, str(error.detail), [], headers
