"""One bulk job: its page, and the orders that can be given to it."""

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils import timezone
from redis.exceptions import RedisError

from bulk import counts, orders
from bulk.admin import words
from bulk.admin.pages import ONE, JobPages, find, to
from bulk.exceptions import Impossible, Unknown
from bulk.models import BulkJob
from notifications import events, wiring
from notifications.access.keys import RATE, RATE_RULE
from notifications.admin.pages import log, name_of, refuse_unless, warn
from notifications.stream.fanout import Fanout

Status = BulkJob.Status

LATE_SECONDS: Final = 5
RATE_FIELD: Final = "rate"
BAD_RATE: Final = f"A rate {RATE_RULE}; empty for none."

# Which orders a job takes; bulk-job.js shows no other.
TAKES: Final[dict[str, tuple[Status, ...]]] = {
    "pause": (Status.QUEUED, Status.RUNNING),
    "resume": (Status.PAUSED,),
    "cancel": orders.UNDER_WAY,
    "rate": orders.UNDER_WAY,
}


class Deed(NamedTuple):
    """An order that was asked for: how to give it, what it leads to, what is said then."""

    action: str
    order: Callable[[Fanout, UUID], BulkJob]
    reached: tuple[Status, ...]
    said: str


PAUSE: Final = Deed("bulk.paused", orders.pause, (Status.PAUSED,), "Paused: nothing more is fanned out.")
RESUME: Final = Deed(
    "bulk.resumed", orders.resume, (Status.QUEUED, Status.RUNNING), "Resumed: it goes on where it was."
)
CANCEL: Final = Deed(
    "bulk.cancelled", orders.cancel, (Status.CANCELLED,), "Cancelled: what was not fanned out never will be."
)


class SingleJobs(JobPages):
    """Look, pause, resume, cancel, turn the dial."""

    def look(self, request: HttpRequest, job_id: UUID) -> HttpResponse:
        """All that there is to tell."""
        refuse_unless(self.has_view_permission(request))
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET"])
        return self._page_of(request, find(job_id))

    def pause(self, request: HttpRequest, job_id: UUID) -> HttpResponse:
        """Let it stand still."""
        return self._ordered(request, job_id, PAUSE)

    def resume(self, request: HttpRequest, job_id: UUID) -> HttpResponse:
        """Let it go on."""
        return self._ordered(request, job_id, RESUME)

    def cancel(self, request: HttpRequest, job_id: UUID) -> HttpResponse:
        """Ask first; then end it."""
        if request.method == "POST":
            return self._ordered(request, job_id, CANCEL)
        self.refuse_onlookers(request)
        job = find(job_id)
        if job.status not in TAKES["cancel"]:
            warn(request, f"A job that is {job.get_status_display()} cannot be cancelled.")
            return to(ONE, job_id)
        counted = counts.count(wiring.fanout(), [job])[job.pk]
        left = f"{max(job.total - counted.fanned_out, 0):,}"
        told = words.told(job, counted)
        return self.page(request, "cancel.html", title="Cancel?", job=job, told=told, left=left)

    def set_rate(self, request: HttpRequest, job_id: UUID) -> HttpResponse:
        """Turn the dial. What is no rate stays in its field, with the rule beside it."""
        rate = request.POST.get(RATE_FIELD, "").strip()
        if request.method == "POST" and rate and not RATE.fullmatch(rate):
            self.refuse_onlookers(request)
            return self._page_of(request, find(job_id), rate, BAD_RATE)
        said = f"It goes at most at {rate} from now on." if rate else "It goes as fast as it can from now on."

        def turn(fanout: Fanout, job_id: UUID) -> BulkJob:
            return orders.set_rate(fanout, job_id, rate or None)

        return self._ordered(request, job_id, Deed("bulk.dialled", turn, (), said), rate=rate or None)

    def _ordered(self, request: HttpRequest, job_id: UUID, deed: Deed, **logged: object) -> HttpResponse:
        self.refuse_onlookers(request)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            deed.order(wiring.fanout(), job_id)
        except Unknown:
            raise Http404 from None
        except Impossible as impossible:
            _not_done(request, job_id, deed, impossible)
            return to(ONE, job_id)
        except RedisError as error:
            log.warning("admin.unavailable", error=repr(error))
            warn(request, orders.GIVEN)
        else:
            messages.success(request, deed.said)
        log.info(deed.action, id=str(job_id), user_id=request.user.pk, user=name_of(request), **logged)
        return to(ONE, job_id)

    def _page_of(self, request: HttpRequest, job: BulkJob, rate: str | None = None, error: str = "") -> HttpResponse:
        counted = counts.count(wiring.fanout(), [job])[job.pk]
        return self.page(
            request,
            "look.html",
            title="Bulk job",
            may_act=self.has_act_permission(request),
            deeds=_deeds(job),
            rate=job.rate_limit if rate is None else rate,
            rate_error=error,
            # Its list is divided otherwise than what there is now: nothing fans it out.
            misfit=job.status in orders.UNDER_WAY and not orders.fits(wiring.fanout(), job),
            told=words.told(job, counted),
            **_facts(job),
        )


def _not_done(request: HttpRequest, job_id: UUID, deed: Deed, impossible: Impossible) -> None:
    """Say why not; the second half of a double click is told what the first half did."""
    if find(job_id).status in deed.reached:
        messages.success(request, deed.said)
    else:
        warn(request, impossible)


def _deeds(job: BulkJob) -> dict[str, dict[str, Any]]:
    """By order, in which statuses it can be given, and whether this is one of them."""
    return {
        name: {"labels": " ".join(status.label for status in statuses), "now": job.status in statuses}
        for name, statuses in TAKES.items()
    }


def _facts(job: BulkJob) -> dict[str, Any]:
    event = events.decode(bytes(job.payload))
    waits = job.status == Status.QUEUED
    late = waits and (timezone.now() - job.start_at).total_seconds() > LATE_SECONDS
    times = {name: getattr(job, f"{name}_at") for name in ("created", "start", "started", "finished")}
    return {
        "job": job,
        "body": event.body,
        "data": json.dumps(json.loads(bytes(event.data)), indent=2, ensure_ascii=False),
        "late": late,
        "duplicates": f"{job.duplicates:,}",
        "rejected": f"{job.rejected:,}",
        "waits": waits and job.start_at > timezone.now(),
        **{name: at and {"at": words.moment(at), "distance": words.distance(at)} for name, at in times.items()},
    }
