"""What the pages around bulk jobs share: who may do what, how a page is made, and what is said in an outage."""

from typing import Final
from uuid import UUID

from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.urls import reverse

from bulk.models import BulkJob, visible
from notifications.admin.inboxes import LookOnly
from notifications.admin.pages import OwnPages, log, refuse_unless

TEMPLATES: Final = "admin/bulk/bulkjob"
LIST: Final = "changelist"
ONE: Final = "change"

NOT_NOW: Final = "PostgreSQL does not answer just now."
# An order is committed in one statement, whose answer may be what was lost.
PERHAPS_GIVEN: Final = (
    "PostgreSQL does not answer just now. Almost always nothing was changed; "
    "to send it again is safe, as it takes effect once."
)


class JobPages(OwnPages, LookOnly):
    """Jobs are looked at with the view permission; orders are given with the change permission.

    To Django's own machinery nobody may change one: what is ordered goes through bulk.orders.
    """

    templates = TEMPLATES
    # Redis is not among them: without it, jobs are shown as PostgreSQL has them, and orders are given all the same.
    outages = (OperationalError, InterfaceError)

    class Media:
        css = {"all": ["notify/admin.css", "notify/dead-letters.css", "notify/bulk.css"]}

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Whether somebody may give orders."""
        return request.user.has_perm("bulk.change_bulkjob")

    def refuse_onlookers(self, request: HttpRequest) -> None:
        """Raises PermissionDenied (403) for who may not act."""
        refuse_unless(self.has_act_permission(request))

    def in_words(self, request: HttpRequest, error: Exception) -> str:
        """An outage, for whoever meets it."""
        log.warning("admin.unavailable", error=repr(error))
        return PERHAPS_GIVEN if request.method == "POST" else NOT_NOW


def find(job_id: UUID) -> BulkJob:
    """A job; raises Http404."""
    job = visible().filter(pk=job_id).first()
    if job is None:
        raise Http404
    return job


def to(name: str, *arguments: object) -> HttpResponseRedirect:
    """Go on to a page of bulk jobs."""
    return HttpResponseRedirect(reverse(f"admin:bulk_bulkjob_{name}", args=arguments))
