"""The list of schedules: its filters, its search, and each row as it is now."""
# ruff: noqa: ARG002 - Django's signatures

from typing import Any, Final
from uuid import UUID

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from redis.exceptions import RedisError

from notifications.admin.pages import log, warn
from scheduler import door
from scheduler.models import Schedule

STATUSES: Final = {label: value for value, label in Schedule.Status.choices}
AS_RECORDED: Final = "Redis does not answer just now: this is what was recorded last."


class ScheduleList(ChangeList):
    """A page of rows, each with the schedule as it is now (`now`), which is ahead of its row."""

    def get_results(self, request: HttpRequest) -> None:
        """The page's rows."""
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        try:
            known = door.now_of(rows)
        except RedisError as error:
            log.warning("admin.unavailable", error=repr(error))
            warn(request, AS_RECORDED)
            known = [door.of_row(row) for row in rows]
        for row, now in zip(rows, known, strict=True):
            row.now = now
        self.result_list = rows


class StatusFilter(SimpleListFilter):
    """Whether it waits for a time."""

    title = "status"
    parameter_name = "status"
    template = "admin/scheduler/schedule/filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401
        """The choices."""
        return [(label, label) for label in STATUSES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The schedules of that status."""
        chosen = self.value()
        if chosen is None:
            return queryset
        return queryset.filter(status=STATUSES[chosen]) if chosen in STATUSES else queryset.none()


class RunsFilter(SimpleListFilter):
    """Whether it comes again."""

    title = "runs"
    parameter_name = "runs"
    template = "admin/scheduler/schedule/filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401
        """The choices."""
        return [("once", "once"), ("again", "again and again")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The schedules that do."""
        return queryset if self.value() is None else queryset.filter(recurs=self.value() == "again")


def search(rows: QuerySet[Any], text: str) -> QuerySet[Any]:
    """Along an index only: the id, or else the recipient, or else recipients that begin so."""
    if not text:
        return rows
    if (schedule_id := as_id(text)) and (by_id := rows.filter(pk=schedule_id)).exists():
        return by_id
    exactly = rows.filter(recipient=text)
    if exactly.exists():
        return exactly.order_by("recipient", "-pk")
    return rows.filter(recipient__startswith=text).order_by("recipient", "-pk")


def as_id(text: str) -> UUID | None:
    """A text as an id, if it is one."""
    try:
        return UUID(text)
    except ValueError:
        return None
