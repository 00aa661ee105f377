"""Every page of ours, the admin's too, loads its own scripts and styles and nothing else."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Final, TypeAlias, cast

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from notify_project.views import content_security_policy

Answering: TypeAlias = Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]

HEADER: Final = "Content-Security-Policy"


@sync_and_async_middleware
def keep_to_ourselves(get_response: Answering) -> Answering:
    """Middleware that adds the policy to pages without one. It takes no thread, as Django's own class would."""
    if iscoroutinefunction(get_response):

        async def later(request: HttpRequest) -> HttpResponseBase:
            return _with_policy(request, await get_response(request))

        return later

    def at_once(request: HttpRequest) -> HttpResponseBase:
        return _with_policy(request, cast("HttpResponseBase", get_response(request)))

    return at_once


def _with_policy(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    is_page = response.headers.get("Content-Type", "").startswith("text/html")
    # What Django shows of an error to a developer has its styles within it.
    is_for_developers = settings.DEBUG and response.status_code >= HTTPStatus.BAD_REQUEST
    if is_page and HEADER not in response.headers and not is_for_developers:
        response.headers[HEADER] = content_security_policy(request.get_host())
    return response
