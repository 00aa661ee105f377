"""Making and editing a schedule: a form, and a look at its next times before anything happens."""
# ruff: noqa: ARG002 - Django's signatures

import re
from typing import Any, Final
from uuid import UUID

import msgspec
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from redis.exceptions import RedisError

from notifications import wiring
from notifications.admin.pages import log, name_of, refuse_unless, warn
from notifications.exceptions import IdempotencyConflict, Invalid, Refused
from scheduler import door, requests, schedule
from scheduler.admin import words
from scheduler.admin.editing import ScheduleForm, zone_names
from scheduler.admin.pages import (
    ONE,
    SchedulePages,
    find,
    in_words,
    new_token,
    once_of,
    to,
    token_in,
    version_of,
)
from scheduler.exceptions import Changed, Conflict, TooLate
from scheduler.schedule import Schedule

# A schedule that runs while it is edited is looked at again.
LOOKS: Final = 5

SENT_BEFORE: Final = (
    "Nothing was made just now: this form, with something else in it, made a schedule before. "
    "Send it again to make another."
)


class _Made(msgspec.Struct):
    id: str


class Making(SchedulePages):
    """Two forms that are one."""

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A new schedule. Sending the form twice makes one."""
        refuse_unless(self.has_add_permission(request))
        if request.method != "POST":
            return self._form(request, ScheduleForm(), token=new_token())
        form, token = ScheduleForm(request.POST), token_in(request)
        would_be = None
        try:
            form.is_valid()
            would_be = form.judged(lambda: door.preview(form.document(), name_of(request)))
            if would_be and "preview" not in request.POST:
                return _made(request, form.document())
        except Invalid as invalid:
            # What was right a moment ago, and is past now.
            form.mark(invalid.errors)
        except IdempotencyConflict:
            form.add_error(None, SENT_BEFORE)
            token = new_token()
        except (RedisError, Refused) as error:
            form.add_error(None, in_words(error))
        return self._form(request, form, would_be, token=token)

    def edit(self, request: HttpRequest, schedule_id: UUID) -> HttpResponse:
        """One that waits, as a form. What was typed stays until it is saved, whatever goes wrong."""
        refuse_unless(self.has_change_permission(request))
        known = find(schedule_id)
        if request.method == "POST":
            return self._edited(request, known)
        if known.status != "scheduled":
            warn(request, TooLate(known.status))
            return to(ONE, schedule_id)
        return self._form(request, ScheduleForm(known=known), known=known)

    def _edited(self, request: HttpRequest, known: Schedule) -> HttpResponse:
        form, seen, would_be = ScheduleForm(request.POST, known), version_in(request), None
        try:
            if version_of(known) != seen:
                raise Changed
            form.is_valid()
            would_be = form.judged(lambda: _as_changed(known, form.change(known)))
            if would_be and "preview" not in request.POST:
                return _saved(request, known, form)
        except Invalid as invalid:
            form.mark(invalid.errors)
        except Conflict:
            known = find(UUID(known.id))
            form.add_error(None, _what_happened(known))
        return self._form(request, form, would_be, known=known)

    def _form(
        self,
        request: HttpRequest,
        form: ScheduleForm,
        would_be: Schedule | None = None,
        known: Schedule | None = None,
        token: str = "",
    ) -> HttpResponse:
        shown = would_be if would_be and not form.errors else None
        return self.page(
            request,
            "form.html",
            title="Edit schedule" if known else "Add schedule",
            form=form,
            # A form's own `data` is what was sent.
            data_field=form["data"],
            known=known,
            version=version_of(known) if known else None,
            token=token,
            zones=zone_names(),
            ways=[{"radio": radio, "field": form[radio.data["value"]]} for radio in form["when"]],
            would_be=shown,
            when=words.when(shown) if shown else "",
            next_runs=words.next_runs(shown) if shown else [],
        )


def version_in(request: HttpRequest) -> int:
    """The version that a form was made from. Raises BadRequest (400) for none."""
    text = request.POST.get("version", "")
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise BadRequest
    return int(text)


def _made(request: HttpRequest, document: bytes) -> HttpResponse:
    answer = door.make(document, name_of(request), once_of(request, document))
    schedule_id = msgspec.json.decode(answer.body, type=_Made).id
    log.info("schedule.made", schedule_id=schedule_id, user_id=request.user.pk)
    messages.success(request, "Scheduled.")
    return to(ONE, schedule_id)


def _saved(request: HttpRequest, known: Schedule, form: ScheduleForm) -> HttpResponse:
    _change(known, form)
    log.info("schedule.changed", schedule_id=known.id, user_id=request.user.pk)
    messages.success(request, "Saved.")
    return to(ONE, known.id)


def _change(known: Schedule, form: ScheduleForm) -> Schedule:
    """Change a schedule as it was seen. That it ran meanwhile is no reason not to. Raises Conflict, Invalid."""
    for _ in range(LOOKS):
        try:
            return door.change(UUID(known.id), form.change(known))
        except Changed:
            now = door.look(UUID(known.id))
            if version_of(now) != version_of(known):
                raise
            known = now
    raise Changed


def _as_changed(known: Schedule, document: bytes) -> Schedule:
    """What a change would make of a schedule."""
    asked, _ = requests.parse_change(document, known, wiring.schedules().now_ms(known.event.recipient))
    return schedule.changed(known, asked.draft, asked.about, asked.due_ms)


def _what_happened(now: Schedule) -> str:
    """Why an edit came to nothing."""
    if now.status != "scheduled":
        return f"Nothing was changed. {TooLate(now.status)}"
    return (
        f"Nothing was changed: somebody changed this schedule since you looked. It is now “{now.event.title}”, "
        f"{words.when(now)}. Send the form again to have it as it stands here all the same."
    )
