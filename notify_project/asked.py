"""What each HTTP request leaves behind: its id, in every line that is logged for it; a span; and a line of its own.

The id is the caller's `X-Request-ID`, or one made here, and the answer has it. Span and line are off by default
(NOTIFY_TRACING, NOTIFY_ACCESS_LOG). Neither tells a query, a header or a body, nor an address but by its route.
"""

import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from inspect import iscoroutinefunction
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

import structlog
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from notifications import tracing
from notifications.access.principal import Principal

log = structlog.get_logger("notify.web")

Answering: TypeAlias = Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]

HEADER: Final = "X-Request-ID"
# As the field's makers of such ids write them; whatever else somebody sends is not repeated in a log.
REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/=+@-]{1,128}")
# Asked every few seconds by who looks after the process: nobody follows that.
UNTRACED: Final = ("/healthz", "/readyz", "/metrics", "/static/")


@sync_and_async_middleware
def note(get_response: Answering) -> Answering:
    """Middleware that notes a request; the first, so that it covers all others."""
    if iscoroutinefunction(get_response):

        async def later(request: HttpRequest) -> HttpResponseBase:
            with Noted(request) as noted:
                response: HttpResponseBase = await get_response(request)
                noted.answered(response)
            return response

        return later

    def at_once(request: HttpRequest) -> HttpResponseBase:
        with Noted(request) as noted:
            response = cast("HttpResponseBase", get_response(request))
            noted.answered(response)
        return response

    return at_once


class Noted:
    """A request, from its headers to the beginning of its answer."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._began = time.monotonic()
        self._fields = {"request_id": request_id(request.META)}
        self._span = _span(request) if tracing.is_on() else None
        if self._span:
            self._fields |= tracing.fields(self._span)
            self._current = trace.use_span(self._span, end_on_exit=True, record_exception=False)

    def __enter__(self) -> Self:
        self._bound = structlog.contextvars.bind_contextvars(**self._fields)
        if self._span:
            self._current.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._span:
            self._current.__exit__(kind, error, traceback)
        structlog.contextvars.reset_contextvars(**self._bound)

    def answered(self, response: HttpResponseBase) -> None:
        """It has an answer."""
        response.headers[HEADER] = self._fields["request_id"]
        if self._span:
            self._tell(self._span, response.status_code)
        if settings.NOTIFY.access_log:
            log.info(
                "request.answered",
                method=self._request.method,
                route=_route(self._request),
                status=response.status_code,
                ms=round((time.monotonic() - self._began) * 1000, 1),
                caller=_caller(self._request),
            )

    def _tell(self, span: Span, status: int) -> None:
        route = _route(self._request)
        span.set_attribute("http.response.status_code", status)
        if route:
            span.update_name(f"{self._request.method} {route}")
            span.set_attribute("http.route", route)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR))


def request_id(headers: Mapping[str, Any]) -> str:
    """The id that the caller gave a request, where that can be one; else a fresh one. Headers are named as by CGI."""
    given: str = headers.get("HTTP_X_REQUEST_ID", "")
    if REQUEST_ID.fullmatch(given):
        return given
    # Nothing rests on it being hard to guess; to ask the system for it would let all other threads go first.
    return f"{random.getrandbits(128):032x}"


def _span(request: HttpRequest) -> Span | None:
    if request.path.startswith(UNTRACED):
        return None
    carrier = {name: request.META.get(f"HTTP_{name.upper()}", "") for name in (tracing.HEADER, "tracestate")}
    method = request.method or ""
    return tracing.tracer.start_span(
        method,
        context=tracing.parent(carrier),
        kind=SpanKind.SERVER,
        attributes={"http.request.method": method, "url.scheme": request.scheme or ""},
    )


def _route(request: HttpRequest) -> str | None:
    """The address as it is written in the table of addresses; it has no ids. None where there is nothing."""
    match = request.resolver_match
    return f"/{match.route}" if match else None


def _caller(request: HttpRequest) -> str | None:
    """Who asked, as far as that was looked at: to log it is no reason to ask a server."""
    user: object = getattr(request, "user", None)
    if isinstance(user, Principal):
        return user.name
    known: object = getattr(request, "_cached_user", None)
    key = getattr(known, "pk", None)
    return f"staff:{key}" if key else None
