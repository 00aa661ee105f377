"""Orders to replay in Django's admin: who gave them, and what became of their letters."""
# ruff: noqa: ARG002 - Django's signatures

from collections import Counter
from typing import Any, Final

import msgspec
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from dlq import outcomes, replay
from dlq.admin import words
from dlq.models import DeadLetter, Passage, Replay
from dlq.replay import Criteria
from notifications.admin.inboxes import LookOnly

Status = DeadLetter.Status

# What became of more letters than this is counted on the order's own page only.
COUNTED_IN_THE_LIST: Final = 10_000
# Of the letters that died again, so many are shown on the order's page.
SHOWN: Final = 20
REFRESH_SECONDS: Final = 3

STAGES: Final = {
    "stored": "stored",
    "waiting": "wait to go back into the pipeline",
    "travelling": "on their way",
    "dead": "dead again",
    "discarded": "of these discarded since",
    "elsewhere": "of these replayed again since",
}
ALWAYS: Final = ("stored", "dead")


def in_words(order: Replay) -> list[str]:
    """What an order was for, in words; the bare JSON where another release wrote it."""
    try:
        said = list(words.in_words(msgspec.convert(order.criteria, Criteria)))
    except msgspec.ValidationError:
        return [str(order.criteria)]
    return [*said, f"at most {limit:,}, the oldest first"] if (limit := order.criteria.get("limit")) else said


def stages(order: Replay) -> dict[str, int]:
    """How many of an order's letters are at each of the STAGES. Those that died again may be past that by now."""
    found = replay.outcome(order)
    last_taken = DeadLetter.objects.filter(replay=order).order_by().values_list("status")
    now = Counter(dict(last_taken.annotate(n=Count("*"))))
    return {
        "stored": found.stored,
        "waiting": now[Status.REPLAYING],
        "travelling": max(0, found.on_the_way - now[Status.REPLAYING]),
        "dead": found.dead,
        "discarded": now[Status.DISCARDED],
        "elsewhere": max(0, found.dead - now[Status.DISCARDED] - now[Status.DEAD]),
    }


class OrderList(ChangeList):
    """A page of orders, each with its outcome so far, all from one query."""

    def get_results(self, request: HttpRequest) -> None:
        """The page's rows."""
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        counted = outcomes.of(row for row in rows if row.letters <= COUNTED_IN_THE_LIST)
        for row in rows:
            row.outcome = counted.get(row.pk)
        self.result_list = rows


@admin.register(Replay)
class ReplayAdmin(LookOnly):
    """The newest first. An order is given from the dead letters, and never changed."""

    list_display = ["when", "who", "what", "how_many", "stored", "dead_again"]
    ordering = ["-ordered_at", "-id"]
    list_per_page = 20
    fields = ("when",)
    readonly_fields = fields
    change_form_template = "admin/dlq/replay/order.html"

    class Media:
        css = {"all": ["notify/admin.css", "notify/dead-letters.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ANN401
        """Whoever may look at letters may look at what was done to them."""
        return super().has_view_permission(request, obj) or request.user.has_perm("dlq.view_deadletter")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without those that came second and got nothing."""
        return super().get_queryset(request).filter(letters__gt=0)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """The same."""
        return self.has_view_permission(request)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ANN401
        """With the outcome of each."""
        return OrderList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
        """The list."""
        return super().changelist_view(request, {"title": "Replays", **(extra_context or {})})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One order, with what became of its letters by now; it looks again by itself while some are on their way."""
        order = self.get_object(request, object_id)
        more: dict[str, Any] = {"title": "Replay", "subtitle": None}
        if order:
            more |= told(order)
        return super().change_view(request, object_id, form_url, more | (extra_context or {}))

    @admin.display(description="ordered (UTC)")
    def when(self, order: Replay) -> str:
        """When."""
        return words.moment(order.ordered_at)

    @admin.display(description="by")
    def who(self, order: Replay) -> SafeString:
        """Who."""
        return format_html("<bdi>{}</bdi>", order.ordered_by)

    @admin.display(description="which letters")
    def what(self, order: Replay) -> SafeString:
        """The criteria, in words."""
        return format_html_join(", ", "<bdi>{}</bdi>", ((part,) for part in in_words(order)))

    @admin.display(description="letters")
    def how_many(self, order: Replay) -> str:
        """How many it took."""
        return f"{order.letters:,}"

    @admin.display(description="stored by now")
    def stored(self, order: Any) -> str:  # noqa: ANN401 - a row of OrderList
        """How many are notifications."""
        return f"{order.outcome.stored:,}" if order.outcome else "see inside"

    @admin.display(description="dead again")
    def dead_again(self, order: Any) -> str:  # noqa: ANN401 - a row of OrderList
        """How many are dead letters again."""
        return f"{order.outcome.dead:,}" if order.outcome else "see inside"


def told(order: Replay) -> dict[str, Any]:
    """All that there is to tell of an order."""
    counted = stages(order)
    dead = Passage.objects.filter(replay=order, kind=Passage.Kind.DIED).select_related("letter")
    return {
        "when": words.moment(order.ordered_at),
        "criteria_words": in_words(order),
        "letters": words.counted(order.letters),
        "stages": [
            {"kind": kind, "count": counted[kind], "said": f"{counted[kind]:,}", "words": said}
            for kind, said in STAGES.items()
            if counted[kind] or kind in ALWAYS
        ],
        "dead": [_death(passage) for passage in dead.defer("payload", "letter__payload").order_by("-id")[:SHOWN]],
        "refresh": REFRESH_SECONDS if counted["waiting"] or counted["travelling"] else None,
    }


def _death(passage: Passage) -> dict[str, Any]:
    """How a letter died of the life that an order gave it, as a row of a table."""
    return {"letter": passage.letter, "ago": words.ago(passage.at), "error": words.first_line(passage.error)}
