"""How a list of dead letters is narrowed down. Without any, it shows what is dead now."""
# ruff: noqa: ARG002 - Django's signatures

from collections.abc import Iterator
from typing import Any, Final

from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from dlq.admin import asked
from dlq.models import DeadLetter

# The choices of a filter are read off the newest letters, so that their number does not matter.
LOOKED_AT: Final = 5000
MOST_CHOICES: Final = 20

STATUSES: Final = {status.label: status.value for status in DeadLetter.Status}


class RowFilter(SimpleListFilter):
    """A filter that is one line above the list: beside it, it would take the place of the error."""

    template = "admin/dlq/deadletter/filter.html"


class StatusFilter(RowFilter):
    """Dead, unless it is asked otherwise."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401
        """The default first, all last."""
        return [*((label, label) for label in STATUSES), (asked.EVERY_STATUS, asked.EVERY_STATUS)]

    def choices(self, changelist: Any) -> Iterator[Any]:  # noqa: ANN401
        """Links, of which the default one needs no parameter."""
        chosen = self.value() or "dead"
        for value, label in self.lookup_choices:
            parameter = None if value == "dead" else value
            yield {
                "selected": chosen == value,
                "query_string": changelist.get_query_string({self.parameter_name: parameter}),
                "display": label,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The letters of that status."""
        chosen = self.value() or "dead"
        if chosen == asked.EVERY_STATUS:
            return queryset
        return queryset.filter(status=STATUSES[chosen]) if chosen in STATUSES else queryset.none()


class ColumnFilter(RowFilter):
    """Letters with one value in a column, which bears the parameter's name."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401
        """What there is in the newest letters, and what is chosen."""
        values = set(self.candidates())
        shown = [*sorted(values)[:MOST_CHOICES]]
        if (chosen := self.value()) and chosen not in shown:
            shown.append(chosen)
        return [(value, value) for value in shown if value]

    def candidates(self) -> QuerySet[Any, Any] | list[str]:
        """The values to choose from."""
        dead = DeadLetter.objects.filter(status=DeadLetter.Status.DEAD)
        return dead.values_list(str(self.parameter_name), flat=True)[:LOOKED_AT]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The letters with that value; PostgreSQL takes no NUL, so no letter has one."""
        value = self.value()
        if not value:
            return queryset
        return queryset.none() if "\x00" in value else queryset.filter(**{str(self.parameter_name): value})


class ReasonFilter(ColumnFilter):
    """Why it was given up."""

    title = "reason"
    parameter_name = "reason"


class TypeFilter(ColumnFilter):
    """The events' type."""

    title = "type"
    parameter_name = "type"


class FingerprintFilter(ColumnFilter):
    """Errors of one kind; chosen in the table of causes, shown here to be taken off again."""

    title = "fingerprint"
    parameter_name = "fingerprint"

    def candidates(self) -> list[str]:
        """None: twelve hex digits tell nobody anything."""
        return []


class SinceFilter(RowFilter):
    """What died lately."""

    title = "died"
    parameter_name = "since"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401
        """Spans that end now."""
        return [(name, f"last {name}") for name in asked.SINCE]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The letters since then."""
        begin = asked.since(self.value() or "")
        return queryset.filter(last_failed_at__gte=begin) if begin else queryset
