"""One schedule: its page, and what can be done to it besides editing."""

from typing import Any, Final
from uuid import UUID

import msgspec
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import reverse
from django.utils.html import format_html
from redis.exceptions import RedisError

from notifications import events, lookup
from notifications.admin.pages import log, refuse_unless, warn
from notifications.exceptions import IdempotencyConflict
from scheduler import door
from scheduler.admin import words
from scheduler.admin.editing import CATCH_UP, pretty
from scheduler.admin.listing import AS_RECORDED
from scheduler.admin.pages import ONE, SchedulePages, find, new_token, once_of, to, version_of
from scheduler.exceptions import Conflict, TooLate, Unknown
from scheduler.models import Schedule as Row
from scheduler.schedule import Schedule

RAN: Final = 'It fired: notification <a href="{}">{}</a>.'
USED_BEFORE: Final = "Nothing was done: this button was used for something else before. Look again, and press it anew."


class _Fired(msgspec.Struct):
    id: str


class SingleSchedules(SchedulePages):
    """Look, run now, cancel."""

    def look(self, request: HttpRequest, schedule_id: UUID) -> HttpResponse:
        """All that there is to tell; from Redis, so that it is there as soon as it is made."""
        refuse_unless(self.has_view_permission(request))
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET"])
        try:
            known, waits = find(schedule_id), True
        except RedisError as error:
            log.warning("admin.unavailable", error=repr(error))
            known, waits = _recorded(schedule_id), False
            warn(request, AS_RECORDED)
        waits = waits and known.status == "scheduled"
        may_change = self.has_change_permission(request)
        return self.page(
            request,
            "look.html",
            title="Schedule",
            may_run=waits and may_change,
            may_edit=waits and may_change,
            may_cancel=waits and self.has_delete_permission(request),
            token=new_token(),
            **told(known),
        )

    def run_now(self, request: HttpRequest, schedule_id: UUID) -> HttpResponse:
        """Fire it; one that comes again runs besides. Pressing the same button twice fires once."""
        refuse_unless(self.has_change_permission(request))
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            answer = door.run_now(schedule_id, once_of(request))
        except Unknown:
            raise Http404 from None
        except IdempotencyConflict:
            warn(request, USED_BEFORE)
        except Conflict as conflict:
            warn(request, conflict)
        else:
            event_id = msgspec.json.decode(answer.body, type=_Fired).id
            log.info("schedule.run", schedule_id=str(schedule_id), event_id=event_id, user_id=request.user.pk)
            messages.success(request, format_html(RAN, _row_address(event_id), event_id))
        return to(ONE, schedule_id)

    def cancel(self, request: HttpRequest, schedule_id: UUID) -> HttpResponse:
        """Ask first; then end it. One that is cancelled stays so."""
        refuse_unless(self.has_delete_permission(request))
        if request.method == "POST":
            return _cancelled(request, schedule_id)
        known = find(schedule_id)
        if known.status != "scheduled":
            warn(request, TooLate(known.status))
            return to(ONE, schedule_id)
        return self.page(
            request,
            "cancel.html",
            title="Cancel?",
            schedule=known,
            when=words.when(known),
            next_run=words.next_runs(known)[:1],
        )


def told(known: Schedule) -> dict[str, Any]:
    """All that there is to tell of a schedule."""
    about = known.about
    return {
        "schedule": known,
        "when": words.when(known),
        "zone": about.recurrence.timezone if about.recurrence else "",
        "catch_up": dict(CATCH_UP)[about.catch_up] if about.recurrence else "",
        "next_runs": words.next_runs(known),
        "late": known.due_ms is not None and words.is_late(known.due_ms),
        "last_run": _moment(about.last_run_ms),
        "created": _moment(events.accepted_ms(known.id)),
        "changed": _moment(about.changed_ms) if version_of(known) > 1 else None,
        "data": pretty(bytes(known.event.data)),
        "life": _life(known),
        "row": _row_address(known.id),
    }


def _cancelled(request: HttpRequest, schedule_id: UUID) -> HttpResponse:
    try:
        door.cancel(schedule_id)
    except Unknown:
        raise Http404 from None
    except Conflict as conflict:
        warn(request, conflict)
    else:
        log.info("schedule.cancelled", schedule_id=str(schedule_id), user_id=request.user.pk)
        messages.success(request, "Cancelled: it does not run any more.")
    return to(ONE, schedule_id)


def _recorded(schedule_id: UUID) -> Schedule:
    """A schedule as PostgreSQL has it; raises Http404."""
    row = Row.objects.filter(pk=schedule_id).first()
    if row is None:
        raise Http404
    return door.of_row(row)


def _life(known: Schedule) -> str:
    """Where the notification is that a schedule which fires once has fired; empty for any other."""
    if known.recurs or known.status != "fired":
        return ""
    try:
        life = lookup.life(UUID(known.id)) or {}
    except RedisError:
        return ""
    return str(life.get("status", ""))


def _moment(unix_ms: int | None) -> dict[str, str] | None:
    return None if unix_ms is None else {"at": words.moment_ms(unix_ms), "distance": words.distance(unix_ms)}


def _row_address(event_id: str) -> str:
    return reverse("admin:notifications_notification_change", args=[event_id])
