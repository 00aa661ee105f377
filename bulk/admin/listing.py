"""The list of bulk jobs: its filter, its search, and each row with its numbers as they are now."""
# ruff: noqa: ARG002 - Django's signatures

from typing import Any, Final
from uuid import UUID

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from bulk import counts
from bulk.admin import words
from bulk.models import BulkJob
from notifications import wiring

STATUSES: Final = {label: value for value, label in BulkJob.Status.choices if value != BulkJob.Status.RECEIVING}


class JobList(ChangeList):
    """A page of rows, each with what there is to tell of it (`told`)."""

    def get_results(self, request: HttpRequest) -> None:
        """The page's rows."""
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        counted = counts.count(wiring.fanout(), rows)
        for row in rows:
            row.told = words.told(row, counted[row.pk])
        self.result_list = rows


class StatusFilter(SimpleListFilter):
    """What it is at."""

    title = "status"
    parameter_name = "status"
    template = "admin/bulk/bulkjob/filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401
        """The choices."""
        return [(label, label) for label in STATUSES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The jobs of that status."""
        chosen = self.value()
        if chosen is None:
            return queryset
        return queryset.filter(status=STATUSES[chosen]) if chosen in STATUSES else queryset.none()


def search(rows: QuerySet[Any], text: str) -> QuerySet[Any]:
    """The job with that id; or else those of that type, or with these words in their title. Jobs are few."""
    if not text:
        return rows
    if (job_id := _as_id(text)) and (by_id := rows.filter(pk=job_id)).exists():
        return by_id
    return rows.filter(Q(type=text) | Q(title__icontains=text))


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
