"""What programs send most is accepted before Django makes a request of it, which costs twice what accepting does.

Taken is `POST /api/notify` (and `/batch`) with a key that this process knows and a body of a stated length. Whatever
does not end in a 202 goes to Django, with what is known of it by then, as if it had come there first. What the head of
an answer says besides, what middleware adds and refuses, is Django's to say: the first such request goes to Django,
and what it said is said again to those that are alike in all that the middleware looks at.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.core.handlers.wsgi import get_script_name
from django.http import HttpResponse

from notifications import tracing
from notifications.access.authentication import remembered
from notifications.api import accepting
from notifications.api.accepting import Door, Receipt
from notify_project import asked
from notify_project.metrics import middleware
from notify_project.reports import WsgiApplication

DOORS: Final[Mapping[str, Door]] = {"/api/notify": accepting.ONE, "/api/notify/batch": accepting.BATCH}
ACCEPTED: Final = f"{HTTPStatus.ACCEPTED.value} {HTTPStatus.ACCEPTED.phrase}"

# All that decides, of a request which comes here, whether middleware lets it pass and what it adds to the answer.
LOOKED_AT: Final = ("PATH_INFO", "HTTP_HOST", "wsgi.url_scheme", "HTTP_X_FORWARDED_PROTO", "REMOTE_ADDR")
# What each answer says for itself.
EACH: Final = frozenset(
    {"Content-Length", "Idempotency-Replayed", "Location", "RateLimit", "RateLimit-Policy", asked.HEADER}
)
# So many kinds of requests are known; with one more they are forgotten, and learnt anew.
MOST_KNOWN: Final = 1000

Look = tuple[str | None, ...]
Head = list[tuple[str, str]]


class Asked:
    """A request as a WSGI server hands it over."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.META = environ
        self.path: str = environ["PATH_INFO"]

    def read(self, size: int) -> bytes:
        """As much of the body, and no more than it is said to have: a server may wait for more for ever."""
        body: bytes = self.META["wsgi.input"].read(min(size, int(self.META["CONTENT_LENGTH"])))
        return body


class ShortWay:
    """The short way, and Django behind it."""

    def __init__(self, django: WsgiApplication) -> None:
        self._django = django
        self._heads: dict[Look, Head] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        door = DOORS.get(environ.get("PATH_INFO", ""))
        if door is None or not _is_plain(environ):
            return self._django(environ, start_response)
        look = tuple(map(environ.get, LOOKED_AT))
        head = self._heads.get(look)
        if head is None:
            return self._learn(look, environ, start_response)
        return self._accept(door, head, environ, start_response)

    def _accept(
        self, door: Door, head: Head, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        began = time.perf_counter()
        caller = remembered(environ, accepting.SCOPE)
        if caller is None:
            return self._django(environ, start_response)
        outcome = accepting.at_once(door, Asked(environ), caller)
        if not isinstance(outcome, Receipt):
            environ[accepting.TRIED], environ[middleware.BEGAN] = outcome, began
            return self._django(environ, start_response)
        length = ("Content-Length", str(len(outcome.body)))
        start_response(ACCEPTED, [*outcome.headers.items(), *head, length, (asked.HEADER, asked.request_id(environ))])
        middleware.count(door.name, "POST", HTTPStatus.ACCEPTED, time.perf_counter() - began)
        return [outcome.body]

    def _learn(self, look: Look, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = self._django(environ, start_response)
        if isinstance(response, HttpResponse) and response.status_code == HTTPStatus.ACCEPTED:
            if len(self._heads) >= MOST_KNOWN:
                self._heads.clear()
            self._heads[look] = [(name, value) for name, value in response.items() if name not in EACH]
        return response


def _is_plain(environ: dict[str, Any]) -> bool:
    """Whether there is no more to a request than to accept it: no browser, no unknown length, nobody who follows it."""
    return (
        environ["REQUEST_METHOD"] == "POST"
        and "HTTP_AUTHORIZATION" in environ
        and environ.get("CONTENT_LENGTH", "").isdecimal()
        and "HTTP_COOKIE" not in environ
        and "HTTP_ORIGIN" not in environ
        and not get_script_name(environ)
        and not tracing.is_on()
        and not settings.NOTIFY.access_log
    )
