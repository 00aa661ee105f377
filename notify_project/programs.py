"""Middleware that is there for browsers, and passes by what a program sends with a key.

A session, who is signed in by it and its messages all come from a cookie. For a request without one, which says in its
`Authorization` header who it is from, they would be made for nothing.
"""

from typing import Any, Final

from corsheaders.middleware import CorsMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

# What programs ask for most. None of them looks at Django's user or session, which are not there then.
ADDRESSES: Final = frozenset({"/api/notify", "/api/notify/batch"})


def is_from_program(request: HttpRequest) -> bool:
    """Whether a request has a key and no cookie."""
    asked = request.META
    return request.path in ADDRESSES and "HTTP_AUTHORIZATION" in asked and "HTTP_COOKIE" not in asked


class _ForBrowsers:
    """A middleware that passes requests of programs on as they are."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:  # noqa: ANN401 - an answer, or one to be awaited
        if is_from_program(request):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]


class Sessions(_ForBrowsers, SessionMiddleware):
    """Django's."""


class SignedIn(_ForBrowsers, AuthenticationMiddleware):
    """Django's."""


class Messages(_ForBrowsers, MessageMiddleware):
    """Django's."""


class Cors(CorsMiddleware):
    """What no page sends has no `Origin`; of that, the headers need not be gone through."""

    def add_response_headers(self, request: HttpRequest, response: HttpResponseBase) -> Any:  # noqa: ANN401 - theirs
        """Say that the answer depends on the origin, and of an origin what it may do."""
        if "HTTP_ORIGIN" in request.META:
            return super().add_response_headers(request, response)
        if self.is_enabled(request):
            patch_vary_headers(response, ("origin",))
        return response
