"""Orders to replay in Django's admin: who gave them, and what became of their letters."""
# ruff: noqa: ARG002 - Django's signatures

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

import msgspec
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from dlq.admin import words
from dlq.models import DeadLetter, Replay
from dlq.replay import Criteria
from notifications.admin.inboxes import LookOnly
from notifications.models import Notification

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
    "discarded": "discarded since",
    "elsewhere": "taken by a later replay",
}
ALWAYS: Final = ("stored", "dead")


def in_words(order: Replay) -> list[str]:
    """What an order was for, in words; the bare JSON where another release wrote it."""
    try:
        return list(words.in_words(msgspec.convert(order.criteria, Criteria)))
    except msgspec.ValidationError:
        return [str(order.criteria)]


class Progress(Counter[str]):
    """How many of an order's letters are at each of the STAGES."""

    @property
    def over(self) -> bool:
        """Whether none of them will move by itself."""
        return not self["waiting"] and not self["travelling"]


def progress(orders: Iterable[Replay]) -> dict[UUID, Progress]:
    """Count orders' letters by what became of them: one query, along the index on the order."""
    letters = {order.pk: order.letters for order in orders}
    row = Exists(Notification.objects.filter(pk=Coalesce(OuterRef("replayed_as"), OuterRef("pk"))))
    taken = DeadLetter.objects.filter(replay__in=letters).order_by()
    counted: dict[UUID, Progress] = defaultdict(Progress)
    for group in taken.values("replay", "status", stored=row).annotate(n=Count("*")):
        counted[group["replay"]][_stage(group["status"], stored=group["stored"])] += group["n"]
    for pk, ordered in letters.items():
        counted[pk]["elsewhere"] = max(0, ordered - counted[pk].total())
    return {pk: counted[pk] for pk in letters}


def _stage(status: int, *, stored: bool) -> str:
    if status == Status.REPLAYED:
        return "stored" if stored else "travelling"
    return {Status.REPLAYING: "waiting", Status.DEAD: "dead", Status.DISCARDED: "discarded"}[Status(status)]


class OrderList(ChangeList):
    """A page of orders, each with its progress, all from one query."""

    def get_results(self, request: HttpRequest) -> None:
        """The page's rows."""
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        counted = progress(row for row in rows if row.letters <= COUNTED_IN_THE_LIST)
        for row in rows:
            row.progress = counted.get(row.pk)
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
        """With the progress of each."""
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
        return f"{order.progress['stored']:,}" if order.progress else "see inside"

    @admin.display(description="dead again")
    def dead_again(self, order: Any) -> str:  # noqa: ANN401 - a row of OrderList
        """How many are dead letters again."""
        return f"{order.progress['dead']:,}" if order.progress else "see inside"


def told(order: Replay) -> dict[str, Any]:
    """All that there is to tell of an order."""
    counted = progress([order])[order.pk]
    dead = DeadLetter.objects.filter(replay=order, status=Status.DEAD)
    return {
        "when": words.moment(order.ordered_at),
        "criteria_words": in_words(order),
        "letters": words.counted(order.letters),
        "stages": [
            {"kind": kind, "count": counted[kind], "said": f"{counted[kind]:,}", "words": said}
            for kind, said in STAGES.items()
            if counted[kind] or kind in ALWAYS
        ],
        "dead": [words.row(letter) for letter in dead.defer("payload")[:SHOWN]],
        "refresh": None if counted.over else REFRESH_SECONDS,
    }
