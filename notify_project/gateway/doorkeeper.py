"""Who may send a list without end: asked before it is taken, by the rules of the view that it is for."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import msgspec
import structlog
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse

from bulk.api.views import Jobs
from notifications.live.threads import in_thread
from notify_project.gateway import refusals
from notify_project.gateway.refusals import Refusal

log = structlog.get_logger("notify.web")


async def refusal(scope: Mapping[str, Any]) -> Refusal | None:
    """Why a client may not, or None; `scope` is the request's, as ASGI has it."""
    try:
        return await in_thread(_asked, scope)
    except Exception as error:  # noqa: BLE001 - whatever the headers are, the connection is answered
        log.warning("gateway.not_asked", error=repr(error))
        return Refusal(400, refusals.BROKEN)


def _asked(scope: Mapping[str, Any]) -> Refusal | None:
    request = ASGIRequest(scope, BytesIO())
    SessionMiddleware(_nothing).process_request(request)
    AuthenticationMiddleware(_nothing).process_request(request)
    view = Jobs()
    view.setup(request)
    asked = view.request = view.initialize_request(request)
    view.headers = view.default_response_headers
    try:
        view.initial(asked)
    except Exception as error:  # noqa: BLE001 - the view says what each means
        answer = view.handle_exception(error)
        told = msgspec.json.decode(answer.data)
        others = [(name, value) for name, value in answer.items() if name != "Content-Type"]
        return Refusal(answer.status_code, told["detail"], *others)
    return None


def _nothing(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - where a middleware would go on
    return HttpResponse()
