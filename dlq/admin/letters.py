"""Dead letters in Django's admin: the list, and one letter.

Made for a bad night: what is dead now, why, how many of each cause; and for a table of a million letters.
"""
# ruff: noqa: ARG002 - Django's signatures

from datetime import timedelta
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dlq.admin import deeds, fate, words
from dlq.admin.editing import readable
from dlq.admin.filters import FingerprintFilter, ReasonFilter, SinceFilter, StatusFilter, TypeFilter
from dlq.admin.listing import LetterList
from dlq.admin.mass import REFRESH_SECONDS, MassReplay
from dlq.admin.pages import address, until_in
from dlq.admin.single import SingleLetters, ids_in
from dlq.models import DeadLetter, Passage
from notifications.models import Notification

Status = DeadLetter.Status

EXCERPT: Final = 300
# Longer than any double click takes.
A_MOMENT: Final = timedelta(seconds=REFRESH_SECONDS)
FILTERS: Final = (StatusFilter, SinceFilter, ReasonFilter, TypeFilter, FingerprintFilter)


@admin.register(DeadLetter)
class DeadLetterAdmin(MassReplay, SingleLetters):
    """The newest first. Letters come from the pipeline and go back into it; none is added, changed or deleted here."""

    list_display = ["when", "reason", "type", "of", "what", "attempts", "lives", "state"]
    list_filter = FILTERS
    list_per_page = 50
    ordering = ["-last_failed_at", "-id"]
    # Only so that there is a search field: what it means is told in asked.py.
    search_fields = ["recipient"]
    search_help_text = "A recipient, an id, a type or a fingerprint, exactly; or else words that stand in the error."
    show_facets = admin.ShowFacets.NEVER
    actions = ["replay_selected", "discard_selected"]  # type: ignore[assignment] # LookOnly has none
    fields = ("when",)
    readonly_fields = fields
    change_list_template = "admin/dlq/deadletter/list.html"
    change_form_template = "admin/dlq/deadletter/letter.html"

    def get_urls(self) -> list[URLPattern]:
        """Ours before Django's, which end in one that takes everything."""
        return [*self.mass_urls(), *self.single_urls(), *super().get_urls()]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """The filters, and nothing by a hand-written address."""
        return lookup in {kind.parameter_name for kind in FILTERS}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the beginning of the error only, and without the payload: either may be large."""
        shown: QuerySet[Any] = (
            super().get_queryset(request).defer("payload", "error").annotate(beginning=Left("error", EXCERPT))
        )
        return shown

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ANN401
        """Ours."""
        return LetterList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Nothing: LetterList searches."""
        return queryset, False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
        """The list, below its causes."""
        if request.method == "POST":
            self.refuse_onlookers(request)
        more = {"title": "Dead letters", "may_act": self.has_act_permission(request), **(extra_context or {})}
        response = super().changelist_view(request, more)
        context = getattr(response, "context_data", None) or {}
        if letters := context.get("cl"):
            found = letters.why(request)
            matching = f"{address('replay_matching')}{letters.get_query_string()}"
            context |= {"causes": found, "cause_rows": letters.rows(found.shown), "replay_matching": matching}
        return response

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One letter, whole."""
        more: dict[str, Any] = {"title": "Dead letter", "subtitle": None, "may_act": self.has_act_permission(request)}
        if letter := self.get_object(request, object_id):
            more |= told(letter)
        return super().change_view(request, object_id, form_url, more | (extra_context or {}))

    @admin.action(description="Replay the selected letters", permissions=["act"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Replay what was ticked; the rows as they were shown, not as the filter finds them now."""
        deeds.replay_chosen(request, ids_in(request.POST.getlist(ACTION_CHECKBOX_NAME)), until_in(request))

    @admin.action(description="Discard the selected letters …", permissions=["act"])
    def discard_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask whether to."""
        return self.ask_to_discard(request, ids_in(request.POST.getlist(ACTION_CHECKBOX_NAME)), until_in(request))

    @admin.display(description="died (UTC)")
    def when(self, letter: DeadLetter) -> SafeString:
        """How long ago, and when."""
        at = letter.last_failed_at
        return format_html("{} <small>{}</small>", words.ago(at), words.moment(at).removesuffix(" UTC"))

    @admin.display(description="recipient")
    def of(self, letter: DeadLetter) -> SafeString:
        """Whose it was to be."""
        return format_html("<bdi>{}</bdi>", letter.recipient or "unknown")

    @admin.display(description="error")
    def what(self, letter: Any) -> SafeString:  # noqa: ANN401 - annotated
        """Its first line."""
        return format_html('<span class="dlq-error">{}</span>', words.first_line(letter.beginning))

    @admin.display(description="lives")
    def lives(self, letter: DeadLetter) -> int:
        """How often it set out: once, and once more for each replay that ended here."""
        return letter.life + 1

    @admin.display(description="status")
    def state(self, letter: DeadLetter) -> SafeString:
        """What became of it."""
        word = letter.get_status_display()
        return format_html('<span class="dlq-state {}">{}</span>', word, word)


def told(letter: DeadLetter) -> dict[str, Any]:
    """All that there is to tell of a letter."""
    row_id = fate.event_id(letter)
    just_died_again = died_at_once(letter)
    now = fate.of(letter) if just_died_again or letter.status in {Status.REPLAYING, Status.REPLAYED} else None
    return {
        "letter": letter,
        "until": letter.last_failed_at.isoformat(),
        "may_be_replayed": letter.status == Status.DEAD and not just_died_again,
        "payload": readable(letter.payload),
        "size": len(letter.payload),
        "row": Notification.objects.only("pk").filter(pk=row_id).first(),
        "fate": now,
        "refresh": REFRESH_SECONDS if now and (just_died_again or not now.settled) else None,
        "alike_count": (alike := _alike(letter)) and f"{alike:,}",
        "times": [
            {"name": name, "at": words.moment(at), "ago": words.ago(at)}
            for name, at in (("First failure", letter.first_failed_at), ("Last failure", letter.last_failed_at))
        ],
        "history": [_line(passage) for passage in letter.history.all()],
    }


def died_at_once(letter: DeadLetter) -> bool:
    """Whether it is dead again, and its replay was ordered a moment ago.

    An invalid event dies in some milliseconds, and its page is there anew before the second half of a double click:
    a button under the pointer would replay it again.
    """
    if letter.status != Status.DEAD or letter.replay is None:
        return False
    return timezone.now() - letter.replay.ordered_at < A_MOMENT


def _alike(letter: DeadLetter) -> int:
    """How many letters are dead for the same cause."""
    alike = DeadLetter.objects.filter(status=Status.DEAD, reason=letter.reason, fingerprint=letter.fingerprint)
    return alike.count()


def _line(passage: Passage) -> dict[str, Any]:
    return {
        "passage": passage,
        "what": passage.get_kind_display(),
        "at": words.moment(passage.at),
        "error": words.first_line(passage.error),
        "before": None if passage.payload is None else readable(passage.payload),
    }
