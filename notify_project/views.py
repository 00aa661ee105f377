"""Pages for people. What they show is fetched by their scripts, through the same API that everybody has."""

from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe


def staff_page(template: str) -> Callable[[HttpRequest], HttpResponse]:
    """A page for members of staff; whoever is not signed in is asked to, and comes back."""

    @require_safe
    @never_cache
    def view(request: HttpRequest) -> HttpResponse:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        if not request.user.is_staff:
            return page(request, "403.html", HTTPStatus.FORBIDDEN)
        return page(request, template, fault_injection=settings.NOTIFY.fault_injection)

    return view


flow = staff_page("notify/flow.html")
lives = staff_page("notify/lives.html")
inbox = staff_page("notify/inbox_page.html")
dead_letters = staff_page("notify/dead_letters.html")
processes = staff_page("notify/processes.html")


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """The API's description (`/api/schema/`), to read and to try. Open to all, as that is."""
    return page(request, "notify/api_docs.html")


def page(request: HttpRequest, template: str, status: int = HTTPStatus.OK, **context: object) -> HttpResponse:
    """A page that loads its own scripts and styles, speaks to its own server, and does nothing else."""
    response = render(request, template, context, status=status)
    response["Content-Security-Policy"] = content_security_policy(request.get_host())
    return response


def content_security_policy(host: str) -> str:
    """No inline script or style, nothing from elsewhere, in nobody's frame."""
    # Older browsers do not take a WebSocket for 'self'. A policy can name no IPv6 address: there 'self' has to do.
    sockets = "" if host.startswith("[") else f" ws://{host} wss://{host}"
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"connect-src 'self'{sockets}",
            "img-src 'self' data:",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )
