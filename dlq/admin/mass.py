"""Replaying all that match: what it would be is shown first, and just that is replayed, all at once or one ahead."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.db.models import Max
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode

from dlq import replay
from dlq.admin import asked, causes, deeds, fate, words
from dlq.admin.asked import Impossible
from dlq.admin.listing import PARAMETERS
from dlq.admin.pages import LIST, LetterPages, address, find, packed, to, unpacked
from dlq.replay import Criteria

SAMPLE: Final = 5
REFRESH_SECONDS: Final = 2

NOTHING_LEFT: Final = "Nothing was replayed: none of these letters is dead any more. Somebody was faster."


class MassReplay(LetterPages):
    """The pages of a replay by filter. They keep nothing between them but what their forms carry."""

    def mass_urls(self) -> Sequence[URLPattern]:
        """Their addresses."""
        wrap = self.admin_site.admin_view
        return [
            path("replay/", wrap(self.replay_matching), name="dlq_deadletter_replay_matching"),
            path("canary/", wrap(self.canary), name="dlq_deadletter_canary"),
        ]

    def replay_matching(self, request: HttpRequest) -> HttpResponse:
        """GET: what a list's filters match, as a question. POST: the answer."""
        self.refuse_onlookers(request)
        if request.method == "POST":
            chosen = unpacked(request.POST.get("criteria"))
            if "canary" in request.POST:
                return self._one_ahead(request, chosen, _id(request.POST["canary"]))
            return self._all(request, chosen)
        if not request.GET.keys() <= PARAMETERS:
            # What the list would refuse: left out, more would be replayed than was asked for.
            raise BadRequest
        try:
            chosen = frozen(asked.criteria(request.GET.dict()))
        except Impossible as impossible:
            messages.warning(request, str(impossible))
            return to(LIST, query=request.GET.urlencode())
        return self._question(request, chosen)

    def canary(self, request: HttpRequest) -> HttpResponse:
        """What became of the one that was replayed ahead. Looks again by itself until that is settled."""
        self.refuse_onlookers(request)
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        chosen = unpacked(request.GET.get("criteria"))
        letter = find(_id(request.GET.get("letter", "")))
        now = fate.of(letter)
        rest = replay.replayable(chosen).count()
        return self.page(
            request,
            "canary.html",
            title="One replayed ahead",
            letter=letter,
            fate=now,
            refresh=None if now.settled else REFRESH_SECONDS,
            rest=rest,
            rest_said=f"{rest:,}",
            criteria=packed(chosen),
            back=_list_of(chosen),
        )

    def _question(self, request: HttpRequest, chosen: Criteria) -> HttpResponse:
        letters = replay.replayable(chosen)
        why = causes.of(letters)
        sample, count = list(letters.defer("payload")[:SAMPLE]), letters.count()
        unreadable = replay.matching(chosen).filter(readable=False).count()
        return self.page(
            request,
            "confirm.html",
            title="Replay all that match?",
            count=words.counted(count),
            bare_count=f"{count:,}",
            more_than_one=count > 1,
            unreadable=f"{unreadable:,}" if unreadable else "",
            criteria_words=list(words.in_words(chosen)),
            sample=[words.row(letter) for letter in sample],
            canary=sample[0],
            causes=why,
            cause_rows=[{"cause": cause, "letters": f"{cause.letters:,}"} for cause in why.shown],
            criteria=packed(chosen),
            back=f"{address(LIST)}?{request.GET.urlencode()}",
        )

    def _all(self, request: HttpRequest, chosen: Criteria) -> HttpResponse:
        order = replay.order(chosen, by=deeds.name_of(request))
        if not order.letters:
            messages.warning(request, NOTHING_LEFT)
            return to(LIST)
        messages.success(request, f"{deeds.begin(order)}. This page follows them.")
        return HttpResponseRedirect(reverse("admin:dlq_replay_change", args=[order.pk]))

    def _one_ahead(self, request: HttpRequest, chosen: Criteria, letter_id: UUID) -> HttpResponse:
        # By its id, so that a second click takes no second letter; not if it died again since the question.
        order = replay.order(Criteria(ids=[letter_id], until=chosen.until), by=deeds.name_of(request))
        replay.begin(order)
        return to("canary", query=urlencode({"letter": str(letter_id), "criteria": packed(chosen)}))


def frozen(chosen: Criteria) -> Criteria:
    """The same letters, and none that dies later. Raises Impossible where there is none.

    The bound is the newest letter's own time, so that nothing depends on whose clock is right.
    """
    newest = replay.replayable(chosen).aggregate(newest=Max("last_failed_at"))["newest"]
    if newest is None:
        raise Impossible(asked.NOTHING)
    return msgspec.structs.replace(chosen, until=newest)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest from None


def _list_of(chosen: Criteria) -> str:
    """The list with the filters that these criteria came from, but for the time."""
    filters: dict[str, str] = {name: value for name in asked.COLUMNS if (value := getattr(chosen, name))}
    if chosen.recipient:
        filters["q"] = chosen.recipient
    return f"{address(LIST)}?{urlencode(filters)}"
