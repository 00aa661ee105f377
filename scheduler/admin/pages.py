"""What the pages around schedules share: who may do what, how a page is made, and what is said in an outage."""

import re
import secrets
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import structlog
from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse
from redis.exceptions import RedisError

from notifications import intake
from notifications.admin.inboxes import AnyModelAdmin, BoundedPaginator
from notifications.exceptions import Refused
from notifications.stream.once import Once
from scheduler import door
from scheduler.exceptions import Unknown
from scheduler.schedule import Schedule

log = structlog.get_logger("notify.admin")

TEMPLATES: Final = "admin/scheduler/schedule"
LIST: Final = "changelist"
ONE: Final = "change"
OUTAGES: Final = (RedisError, Refused, OperationalError, InterfaceError)

NOT_NOW: Final = (
    "{server} does not answer just now. Almost always nothing was changed; "
    "to send it again is safe, as it takes effect once."
)

View = Callable[..., HttpResponse]


class SchedulePages(AnyModelAdmin):
    """Adding is making a schedule, changing is editing it and running it now, deleting is cancelling it.

    Rows are never written here: they follow what Redis has.
    """

    actions = None
    paginator = BoundedPaginator
    show_full_result_count = False
    sortable_by = ()

    class Media:
        css = {"all": ["notify/admin.css", "notify/dead-letters.css", "notify/schedules.css"]}

    def wrap(self, view: View) -> View:
        """A view of the admin, which answers in an outage, too."""
        guarded: View = self.admin_site.admin_view(view)

        def answer(request: HttpRequest, *arguments: object, **named: object) -> HttpResponse:
            try:
                return guarded(request, *arguments, **named)
            except OUTAGES as error:
                return _sorry(request, error)

        return answer

    def page(self, request: HttpRequest, template: str, **context: object) -> TemplateResponse:
        """A page of these, in the admin's frame. `title` is among the context."""
        context |= {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"{TEMPLATES}/{template}", context)


def refuse_unless(allowed: bool) -> None:  # noqa: FBT001 - reads as a sentence
    """Raises PermissionDenied (403)."""
    if not allowed:
        raise PermissionDenied


def find(schedule_id: UUID) -> Schedule:
    """A schedule as it is now; raises Http404."""
    try:
        return door.look(schedule_id)
    except Unknown:
        raise Http404 from None


def version_of(known: Schedule) -> int:
    """What tells whether a schedule was edited: of its revision and its runs, a run raises both, an edit one."""
    return known.revision - known.about.runs


def address(name: str, *arguments: object) -> str:
    """The address of a page of schedules."""
    return reverse(f"admin:scheduler_schedule_{name}", args=arguments)


def to(name: str, *arguments: object) -> HttpResponseRedirect:
    """Go on to a page of schedules."""
    return HttpResponseRedirect(address(name, *arguments))


def new_token() -> str:
    """What a form carries, so that sending it twice has one effect."""
    return secrets.token_hex(16)


def token_in(request: HttpRequest) -> str:
    """The token of the form that was sent. Raises BadRequest (400) for none."""
    token = request.POST.get("token", "")
    if not re.fullmatch(r"[0-9a-f]{32}", token):
        raise BadRequest
    return token


def once_of(request: HttpRequest, body: bytes = b"") -> Once:
    """The idempotency record of a form that was sent. Raises BadRequest (400) where it has no token."""
    return intake.idempotency(f"staff:{request.user.pk}", token_in(request), request.path, body)


def name_of(request: HttpRequest) -> str:
    """Who is signed in, as a schedule names who made it."""
    user: Any = request.user
    name: str = user.get_username()
    return name


def in_words(error: Exception) -> str:
    """An outage, for whoever meets it."""
    log.warning("admin.unavailable", error=repr(error))
    if isinstance(error, Refused):
        return f"{error} Nothing was changed: try again in some seconds."
    return NOT_NOW.format(server="Redis" if isinstance(error, RedisError) else "PostgreSQL")


def warn(request: HttpRequest, sentence: object) -> None:
    """Say why something was not done."""
    messages.warning(request, str(sentence))


def _sorry(request: HttpRequest, error: Exception) -> HttpResponse:
    """A page that needs no server. What was typed goes along, to be sent again."""
    typed = [
        (name, value) for name, values in request.POST.lists() for value in values if name != "csrfmiddlewaretoken"
    ]
    context = {"sentence": in_words(error), "posted": request.method == "POST", "typed": typed}
    return render(request, f"{TEMPLATES}/outage.html", context, status=503)
