"""What the pages around bulk jobs share: who may do what, how a page is made, and what is said in an outage."""

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import structlog
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse

from bulk.models import BulkJob, visible
from notifications.admin.inboxes import LookOnly

log = structlog.get_logger("notify.admin")

TEMPLATES: Final = "admin/bulk/bulkjob"
LIST: Final = "changelist"
ONE: Final = "change"
# Redis is not among them: without it, jobs are shown as PostgreSQL has them, and orders are given all the same.
OUTAGES: Final = (OperationalError, InterfaceError)

NOT_NOW: Final = "PostgreSQL does not answer just now."
# An order is committed in one statement, whose answer may be what was lost.
PERHAPS_GIVEN: Final = (
    "PostgreSQL does not answer just now. Almost always nothing was changed; "
    "to send it again is safe, as it takes effect once."
)

View = Callable[..., HttpResponse]


class JobPages(LookOnly):
    """Jobs are looked at with the view permission; orders are given with the change permission.

    To Django's own machinery nobody may change one: what is ordered goes through bulk.orders.
    """

    class Media:
        css = {"all": ["notify/admin.css", "notify/dead-letters.css", "notify/bulk.css"]}

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Whether somebody may give orders."""
        return request.user.has_perm("bulk.change_bulkjob")

    def refuse_onlookers(self, request: HttpRequest) -> None:
        """Raises PermissionDenied (403) for who may not act."""
        refuse_unless(self.has_act_permission(request))

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


def find(job_id: UUID) -> BulkJob:
    """A job; raises Http404."""
    job = visible().filter(pk=job_id).first()
    if job is None:
        raise Http404
    return job


def to(name: str, *arguments: object) -> HttpResponseRedirect:
    """Go on to a page of bulk jobs."""
    return HttpResponseRedirect(reverse(f"admin:bulk_bulkjob_{name}", args=arguments))


def name_of(request: HttpRequest) -> str:
    """Who is signed in."""
    user: Any = request.user
    name: str = user.get_username()
    return name


def warn(request: HttpRequest, sentence: object) -> None:
    """Say why something was not done."""
    messages.warning(request, str(sentence))


def _sorry(request: HttpRequest, error: Exception) -> HttpResponse:
    """A page that needs no server. What was sent goes along, to be sent again."""
    log.warning("admin.unavailable", error=repr(error))
    posted = request.method == "POST"
    typed = [
        (name, value) for name, values in request.POST.lists() for value in values if name != "csrfmiddlewaretoken"
    ]
    context = {"sentence": PERHAPS_GIVEN if posted else NOT_NOW, "posted": posted, "typed": typed}
    return render(request, f"{TEMPLATES}/outage.html", context, status=503)
