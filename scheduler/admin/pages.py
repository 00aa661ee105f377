"""What the pages around schedules share: who may do what, how a page is made, and what is said in an outage."""

import re
import secrets
from typing import Final
from uuid import UUID

from django.core.exceptions import BadRequest
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.urls import reverse
from redis.exceptions import RedisError

from notifications import intake
from notifications.admin.inboxes import BoundedPaginator
from notifications.admin.pages import OwnPages, log
from notifications.exceptions import Refused
from notifications.stream.once import Once
from scheduler import door
from scheduler.exceptions import Unknown
from scheduler.schedule import Schedule

TEMPLATES: Final = "admin/scheduler/schedule"
LIST: Final = "changelist"
ONE: Final = "change"
NOT_NOW: Final = (
    "{server} does not answer just now. Almost always nothing was changed; "
    "to send it again is safe, as it takes effect once."
)


class SchedulePages(OwnPages):
    """Adding is making a schedule, changing is editing it and running it now, deleting is cancelling it.

    Rows are never written here: they follow what Redis has.
    """

    templates = TEMPLATES
    outages = (RedisError, Refused, OperationalError, InterfaceError)
    actions = None
    paginator = BoundedPaginator
    show_full_result_count = False
    sortable_by = ()

    class Media:
        css = {"all": ["notify/admin.css", "notify/dead-letters.css", "notify/schedules.css"]}

    def in_words(self, request: HttpRequest, error: Exception) -> str:  # noqa: ARG002 - as OwnPages asks
        """An outage, for whoever meets it."""
        return in_words(error)


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


def in_words(error: Exception) -> str:
    """An outage, for whoever meets it."""
    log.warning("admin.unavailable", error=repr(error))
    if isinstance(error, Refused):
        return f"{error} Nothing was changed: try again in some seconds."
    return NOT_NOW.format(server="Redis" if isinstance(error, RedisError) else "PostgreSQL")
