"""Signing in, limited: who types wrong passwords for a user too often, from one address, has to wait.

django-axes counts in PostgreSQL, so every web process knows the same. It is the pair that waits: the same user goes on
signing in from elsewhere, and nobody can lock a colleague out. What is tried at the same moment may be a few more
than the limit, as a failure counts once its password was checked.
"""

import math
from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Final

import structlog
from axes.handlers.database import AxesDatabaseHandler
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from notify_project import views

log = structlog.get_logger("notify.web")

# A household's or an office's share of IPv6; each of its machines may use as many addresses of it as it likes.
IPV6_PREFIX: Final = 64


class Handler(AxesDatabaseHandler):  # type: ignore[misc]  # django-axes has no types
    """Counts as django-axes does, and tells of each failure in a line of ours."""

    def user_login_failed(
        self, sender: object, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: object
    ) -> None:
        """A wrong password, or any while the pair waits."""
        if request is not None:
            # Whatever a client calls itself, the pair is the same; and a NUL in there would fail what counts.
            request.axes_user_agent = request.axes_http_accept = ""  # type: ignore[attr-defined]
        super().user_login_failed(sender, credentials, request, **kwargs)
        log.warning(
            "sign_in.failed",
            user=_user(credentials.get("username")),
            address=getattr(request, "axes_ip_address", None),
            paused=bool(getattr(request, "axes_locked_out", False)),
        )


def address(request: HttpRequest) -> str | None:
    """What counts as one address: an IPv4 address, a /64 of IPv6. None where the web is reached without any."""
    try:
        given = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return None
    if isinstance(given, IPv6Address):
        return str(ip_network((given, IPV6_PREFIX), strict=False).network_address)
    return str(given)


def refuse(request: HttpRequest, *_: object) -> HttpResponse:
    """429, a page that says how long to wait. (Under ASGI django-axes 8.3.1 mixes up its other arguments.)"""
    seconds = _seconds_left(request)
    answer = views.page(request, "429.html", 429, minutes=math.ceil(seconds / 60))
    answer["Retry-After"] = str(seconds)
    return answer


def _seconds_left(request: HttpRequest) -> int:
    attempts = Handler().get_user_attempts(request, getattr(request, "axes_credentials", None))
    newest = max((found.aggregate(at=Max("attempt_time"))["at"] or timezone.now()) for found in attempts)
    pause = timedelta(seconds=settings.NOTIFY.sign_in_pause_seconds)
    return max(1, math.ceil((newest + pause - timezone.now()).total_seconds()))


def _user(typed: object) -> str | None:
    """Who is meant. What is no user's name is not told: people type passwords into the wrong field."""
    known = get_user_model().objects.filter(username=typed).exists()
    return str(typed) if known else None
