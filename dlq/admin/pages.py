"""What the pages around dead letters share: who may act, and how a page is made."""

import re
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse

from dlq.models import DeadLetter
from dlq.replay import Criteria
from notifications.admin.inboxes import LookOnly
from notifications.admin.pages import OwnPages, refuse_unless

TEMPLATES: Final = "admin/dlq/deadletter"
LIST: Final = "changelist"
ONE: Final = "change"

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class LetterPages(OwnPages, LookOnly):
    """Letters are looked at with the view permission, and replayed, corrected and discarded with the change permission.

    To Django's own machinery nobody may change one: no form of its making ever writes a letter.
    """

    templates = TEMPLATES

    class Media:
        css = {"all": ["notify/admin.css", "notify/dead-letters.css"]}

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Whether somebody may replay, correct and discard; also what Django asks before it offers an action."""
        return request.user.has_perm("dlq.change_deadletter")

    def refuse_onlookers(self, request: HttpRequest) -> None:
        """Raises PermissionDenied (403) for who may not act."""
        refuse_unless(self.has_act_permission(request))


def find(letter_id: object) -> DeadLetter:
    """A letter with its order; raises Http404."""
    return get_object_or_404(DeadLetter.objects.select_related("replay"), pk=letter_id)


def address(name: str, *arguments: object) -> str:
    """The address of a page of letters."""
    return reverse(f"admin:dlq_deadletter_{name}", args=arguments)


def to(name: str, *arguments: object, query: str = "") -> HttpResponseRedirect:
    """Go on to a page of letters."""
    return HttpResponseRedirect(address(name, *arguments) + (f"?{query}" if query else ""))


def life_in(request: HttpRequest) -> int:
    """Which of a letter's lives the page showed that a form was sent from. Raises BadRequest (400) for none."""
    text = request.POST.get("life", "")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise BadRequest
    return int(text)


def until_in(request: HttpRequest) -> datetime:
    """The newest death on the page that a form was sent from. Raises BadRequest (400) for none."""
    try:
        return msgspec.convert(request.POST.get("until"), Moment)
    except (msgspec.ValidationError, OverflowError):
        raise BadRequest from None


def packed(chosen: Criteria) -> str:
    """Criteria as a form's field carries them from one page to the next."""
    return msgspec.json.encode(chosen).decode()


def unpacked(text: Any) -> Criteria:  # noqa: ANN401 - a field, if it was sent
    """Criteria out of a form's field. Raises BadRequest (400) for what none of our pages sent."""
    try:
        chosen = msgspec.json.decode(text or "", type=Criteria)
    except msgspec.MsgspecError:
        raise BadRequest from None
    if "\\u0000" in text:
        raise BadRequest
    return chosen
