"""Counts requests and how long they took, by the name of their route: a path has ids, and so has no end of values."""

import time
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Final, TypeAlias, cast

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from notifications import metrics

Answering: TypeAlias = Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Who speaks to this process, and whether on behalf of somebody: what is done about proxies comes after this.
PEER: Final = "notify.peer"
ON_BEHALF: Final = "notify.on_behalf"
# When a request began, where that was before it came here.
BEGAN: Final = "notify.began"
SAID_BY_PROXIES: Final = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")


@sync_and_async_middleware
def measure(get_response: Answering) -> Answering:
    """Middleware around all others, so that it counts what they answer, too."""
    if iscoroutinefunction(get_response):

        async def later(request: HttpRequest) -> HttpResponseBase:
            began = _begin(request)
            response: HttpResponseBase = await get_response(request)
            _count(request, response, time.perf_counter() - began)
            return response

        return later

    def at_once(request: HttpRequest) -> HttpResponseBase:
        began = _begin(request)
        response = cast("HttpResponseBase", get_response(request))
        _count(request, response, time.perf_counter() - began)
        return response

    return at_once


def _begin(request: HttpRequest) -> float:
    request.META[PEER] = request.META.get("REMOTE_ADDR", "")
    request.META[ON_BEHALF] = any(name in request.META for name in SAID_BY_PROXIES)
    return float(request.META.get(BEGAN) or time.perf_counter())


def _count(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    method = request.method if request.method in METHODS else "other"
    count(_route(request), method, response.status_code, seconds)


def count(route: str, method: str, status: int, seconds: float) -> None:
    """Count an answer, by the name of its route."""
    metrics.http_requests.labels(route, method, status).inc()
    metrics.http_seconds.labels(route).observe(seconds)


def _route(request: HttpRequest) -> str:
    """The name of the route, or its pattern where it has none; `none` where there is no such address."""
    match = request.resolver_match
    if match is None:
        return "static" if request.path.startswith(settings.STATIC_URL) else "none"
    return match.view_name if match.url_name else match.route or "none"
