"""The list of dead letters: its search, the causes above it, and what it says of itself."""

from typing import Any, Final, cast

from django.contrib.admin.views.main import ERROR_FLAG, IGNORED_PARAMS, PAGE_VAR, ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from dlq.admin import asked, causes, words
from dlq.admin.asked import Impossible
from dlq.models import DeadLetter
from notifications.admin import inboxes

# The parameter that says in which order the causes stand.
CAUSES: Final = "causes"
CAUSE: Final = ("reason", "fingerprint")
# What the list's address may hold: its filters, and what chooses no letters. Any other parameter is refused.
PARAMETERS: Final = frozenset({"status", "since", *asked.COLUMNS, CAUSES, PAGE_VAR, ERROR_FLAG, *IGNORED_PARAMS})


class LetterList(ChangeList):
    """The list, its search, and the causes above it."""

    sought: asked.Meaning | None = None

    def get_filters_params(self, params: Any = None) -> Any:  # noqa: ANN401 - as in Django
        """All but the order of the causes, which filters nothing."""
        return {name: value for name, value in super().get_filters_params(params).items() if name != CAUSES}

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:  # noqa: ANN401
        """What is filtered and searched for."""
        self.sought = asked.meaning(self.query)
        letters = super().get_queryset(request, exclude_parameters)
        return self.sought.among(letters) if self.sought else letters

    def why(self, request: HttpRequest) -> causes.Causes:
        """Why the letters of this list are dead; whatever cause is chosen, the others stay in sight."""
        letters: QuerySet[Any] = DeadLetter.objects.all()
        for spec in self.filter_specs:
            if spec.expected_parameters()[0] not in CAUSE:
                letters = cast("QuerySet[Any]", spec.queryset(request, letters))
        return causes.of(self.sought.among(letters) if self.sought else letters, self.causes_order)

    def rows(self, shown: list[causes.Cause]) -> list[dict[str, Any]]:
        """Causes with the address of the list of their letters; of the chosen one's, the list without it."""
        return [self._row(cause) for cause in shown]

    def _row(self, cause: causes.Cause) -> dict[str, Any]:
        values = (cause.reason, cause.fingerprint)
        chosen = values == tuple(self.params.get(name) for name in CAUSE)
        parameters = dict.fromkeys(CAUSE) if chosen else dict(zip(CAUSE, values, strict=True))
        return {
            "cause": cause,
            "chosen": chosen,
            "link": self.get_query_string(parameters),
            "letters": f"{cause.letters:,}",
            "newest": words.ago(cause.newest),
        }

    def order_links(self) -> list[dict[str, Any]]:
        """The orders in which the causes may stand."""
        return [
            {"words": said, "chosen": name == self.causes_order, "link": self.get_query_string({CAUSES: name})}
            for name, said in (("most", "most letters first"), ("newest", "newest first"))
        ]

    @property
    def causes_order(self) -> str:
        """How they are asked for."""
        order = self.params.get(CAUSES, "")
        return order if order in causes.ORDERS else "most"

    @property
    def looked_for(self) -> str:
        """What the search was taken for."""
        if self.sought is None:
            return ""
        if self.sought.field == "error":
            return f"Searched the errors of the newest {asked.MOST_READ:,} letters for"
        return f"Searched for letters whose {self.sought.field} is"

    @property
    def until(self) -> str:
        """The newest death that is shown: whatever of these letters dies later, dies unseen."""
        return max((letter.last_failed_at.isoformat() for letter in self.result_list), default="")

    @property
    def counted(self) -> str:
        """How many letters are listed, as far as they are counted."""
        more = "more than " if self.result_count >= inboxes.MOST_LISTED else ""
        return more + words.counted(self.result_count)

    @property
    def impossible(self) -> str:
        """Why what is listed cannot be replayed as a whole; empty when it can."""
        try:
            asked.criteria(self.params)
        except Impossible as impossible:
            return str(impossible)
        return ""
