"""What can be done to one letter, or to some that were chosen one by one."""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern, path

from dlq import replay
from dlq.admin import deeds
from dlq.admin.editing import EventForm, readable
from dlq.admin.pages import LIST, ONE, LetterPages, find, to
from dlq.exceptions import NotDead
from dlq.models import DeadLetter
from notifications.exceptions import Invalid

# Of letters that are about to be discarded, so many are named.
NAMED: Final = 20


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
        deeds.replay_chosen(request, [find(letter_id).pk])
        return to(ONE, letter_id)

    def discard(self, request: HttpRequest) -> HttpResponse:
        """Ask first; then give letters up for good."""
        self.refuse_onlookers(request)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        ids = ids_in(request.POST.getlist("letter"))
        if "confirmed" not in request.POST:
            return self.ask_to_discard(request, ids)
        deeds.discard_chosen(request, ids)
        return to(ONE, ids[0]) if len(ids) == 1 else to(LIST)

    def ask_to_discard(self, request: HttpRequest, ids: Sequence[UUID]) -> HttpResponse:
        """The question, with the letters by name."""
        letters = DeadLetter.objects.filter(pk__in=ids, status=DeadLetter.Status.DEAD).defer("payload")
        return self.page(
            request,
            "discard.html",
            title="Discard?",
            ids=ids,
            letters=letters[:NAMED],
            more=max(0, len(ids) - NAMED),
        )

    def edit(self, request: HttpRequest, letter_id: UUID) -> HttpResponse:
        """The event as a form. What was typed stays until it is replayed, whatever goes wrong."""
        self.refuse_onlookers(request)
        letter = find(letter_id)
        if request.method == "POST":
            form = EventForm(letter, request.POST)
            if form.is_valid() and _replay_corrected(request, letter, form):
                return to(ONE, letter_id)
        elif letter.status != DeadLetter.Status.DEAD:
            messages.warning(request, f"This letter is no longer dead: {deeds.who_was_first(letter)}.")
            return to(ONE, letter_id)
        else:
            form = EventForm(letter)
        return self.page(
            request, "edit.html", title="Edit and replay", letter=letter, form=form, payload=readable(letter.payload)
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


def _replay_corrected(request: HttpRequest, letter: DeadLetter, form: EventForm) -> bool:
    """Whether it is on its way; if not, the form says why."""
    try:
        order = replay.order_corrected(letter.pk, form.document(), by=deeds.name_of(request))
    except Invalid as invalid:
        form.mark(invalid.errors)
        return False
    except NotDead:
        form.add_error(
            None, f"Nothing was done: this letter is no longer dead ({deeds.who_was_first(find(letter.pk))})."
        )
        return False
    replay.begin(order)
    messages.success(request, "1 letter replayed, as you corrected it.")
    return True
