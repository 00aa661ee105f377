"""What can be done to one letter, or to some that were chosen one by one."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern, path

from dlq import replay
from dlq.admin import deeds
from dlq.admin.editing import EventForm, readable
from dlq.admin.pages import LIST, ONE, LetterPages, find, life_in, to, until_in
from dlq.exceptions import DiedAgain, NotDead
from dlq.models import DeadLetter
from dlq.replay import Criteria
from notifications.exceptions import Invalid

# Of letters that are about to be discarded, so many are named.
NAMED: Final = 20

DIED_AGAIN: Final = (
    "Nothing was replayed: this letter died again since you looked, of what stands above. "
    "Send the form again to replay it as corrected all the same."
)


class SingleLetters(LetterPages):
    """Replay, correct, discard."""

    def single_urls(self) -> Sequence[URLPattern]:
        """Their addresses."""
        wrap = self.admin_site.admin_view
        return [
            path("discard/", wrap(self.discard), name="dlq_deadletter_discard"),
            path("<uuid:letter_id>/replay/", wrap(self.replay_one), name="dlq_deadletter_replay"),
            path("<uuid:letter_id>/edit/", wrap(self.edit), name="dlq_deadletter_edit"),
        ]

    def replay_one(self, request: HttpRequest, letter_id: UUID) -> HttpResponse:
        """Replay a letter as it is."""
        self.refuse_onlookers(request)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        deeds.replay_one(request, find(letter_id).pk, life_in(request))
        return to(ONE, letter_id)

    def discard(self, request: HttpRequest) -> HttpResponse:
        """Ask first; then give letters up for good."""
        self.refuse_onlookers(request)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        ids, until = ids_in(request.POST.getlist("letter")), until_in(request)
        if "confirmed" not in request.POST:
            return self.ask_to_discard(request, ids, until)
        deeds.discard_chosen(request, ids, until)
        return _back_to(ids)

    def ask_to_discard(self, request: HttpRequest, ids: Sequence[UUID], until: datetime) -> HttpResponse:
        """The question, with those of the letters by name that are as they were when they were chosen."""
        letters = list(replay.matching(Criteria(ids=list(ids), until=until)).defer("payload"))
        left_out = deeds.what_of_the_others(ids, until, len(letters))
        if not letters:
            deeds.say(request, f"There is nothing to discard: {left_out}", good=False)
            return _back_to(ids)
        return self.page(
            request,
            "discard.html",
            title="Discard?",
            ids=[letter.pk for letter in letters],
            count=len(letters),
            letters=letters[:NAMED],
            more=max(0, len(letters) - NAMED),
            left_out=left_out,
            until=until.isoformat(),
        )

    def edit(self, request: HttpRequest, letter_id: UUID) -> HttpResponse:
        """The event as a form. What was typed stays until it is replayed, whatever goes wrong."""
        self.refuse_onlookers(request)
        letter = find(letter_id)
        life = letter.life
        if request.method == "POST":
            form, seen = EventForm(letter, request.POST), life_in(request)
            if form.is_valid() and _replay_corrected(request, letter, form, seen):
                return to(ONE, letter_id)
            # Who is told that it died again has seen it then, and may send the form once more.
            life = life if DIED_AGAIN in form.non_field_errors() else seen
        elif letter.status != DeadLetter.Status.DEAD:
            messages.warning(request, f"This letter is no longer dead: {deeds.who_was_first(letter)}.")
            return to(ONE, letter_id)
        else:
            form = EventForm(letter)
        return self.page(
            request,
            "edit.html",
            title="Edit and replay",
            letter=letter,
            life=life,
            form=form,
            payload=readable(letter.payload),
        )


def ids_in(texts: Iterable[str]) -> list[UUID]:
    """The ids in a form's fields, each once. Raises BadRequest (400) for none, and for what is none."""
    try:
        ids = list(dict.fromkeys(UUID(text) for text in texts))
    except ValueError:
        raise BadRequest from None
    if not ids:
        raise BadRequest
    return ids


def _back_to(ids: Sequence[UUID]) -> HttpResponse:
    """Where somebody came from who chose these."""
    return to(ONE, ids[0]) if len(ids) == 1 else to(LIST)


def _replay_corrected(request: HttpRequest, letter: DeadLetter, form: EventForm, life: int) -> bool:
    """Whether it is on its way; if not, the form says why."""
    try:
        order = replay.order_corrected(letter.pk, form.document(), by=deeds.name_of(request), life=life)
    except Invalid as invalid:
        form.mark(invalid.errors)
        return False
    except NotDead:
        form.add_error(
            None, f"Nothing was done: this letter is no longer dead ({deeds.who_was_first(find(letter.pk))})."
        )
        return False
    except DiedAgain:
        form.add_error(None, DIED_AGAIN)
        return False
    deeds.say(request, deeds.begin(order, ", as you corrected it"))
    return True
