"""What browsers may do with our answers: pages load what is ours alone; nothing is kept, or another site's to load."""

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
# What no page of ours asks for, so nobody who gets into one can.
PERMISSIONS: Final = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "serial",
        "usb",
    )
)


@sync_and_async_middleware
def keep_to_ourselves(get_response: Answering) -> Answering:
    """Middleware that adds what a view has not said itself. It takes no thread, as Django's own class would."""
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
    if is_page:
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
    # Scripts and styles are everybody's, and may be kept; whitenoise says so.
    if not request.path.startswith(settings.STATIC_URL):
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("Cache-Control", "no-store")
    return response
