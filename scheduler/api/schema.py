"""What schedules say of themselves (notifications/api/schema)."""

from itertools import combinations
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from notifications import when
from notifications.api.base import MAX_SINGLE_BYTES
from notifications.api.schema.operation import JSON, Answer, Body, Content, OneOf, Operation, Operations, Parameter
from notifications.api.schema.parts import (
    CURSOR,
    EXAMPLE_ID,
    EXAMPLE_TIME,
    LIMIT,
    TYPE,
    Count,
    Id,
    Time,
    named,
    one_of,
)
from notifications.api.schema.sending import ACCEPTED, EVENT, Accepted
from notifications.events import Body as Text
from notifications.events import Data, Draft, EventType, Recipient, Title
from scheduler import recurrence
from scheduler.api.listing import STATUSES
from scheduler.api.views import MAX_PREVIEW
from scheduler.requests import TIMES

TAG: Final = "Schedules"

At = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, description=when.AT_RULE)]
Delay = Annotated[float, Meta(ge=0, description=when.DELAY_RULE)]
Daily = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z", description=recurrence.DAILY_RULE)]
Cron = Annotated[str, Meta(min_length=9, max_length=recurrence.MAX_CRON_LENGTH, description=recurrence.FIELDS_RULE)]
Zone = Annotated[str, Meta(description=recurrence.TIMEZONE_RULE)]
CatchUp = Annotated[
    Literal["once", "all"], Meta(description="what was missed fires once for all of it, or each time for itself")
]
Preview = Annotated[int, Meta(ge=1, le=MAX_PREVIEW)]

NO_TWO_TIMES: Final = {"not": {"anyOf": [{"required": list(two)} for two in combinations(TIMES, 2)]}}


class ScheduleAt(Draft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event, and the time at which it fires. Up to 60 seconds ago counts as now."""

    at: At


class ScheduleAfter(Draft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event, and after how many seconds it fires."""

    delay: Delay


class ScheduleDaily(Draft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event, and the time of day at which it fires, by the clock of a zone."""

    daily: Daily
    timezone: Zone = "UTC"
    catch_up: CatchUp = "once"


class ScheduleCron(Draft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event, and when it fires as a cron expression, by the clock of a zone."""

    cron: Cron
    timezone: Zone = "UTC"
    catch_up: CatchUp = "once"


class ScheduleChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be another; what is not named stays. The recipient cannot be another."""

    revision: Annotated[int, Meta(description="as you saw it: 409 where it is another by now")] | UnsetType = UNSET
    recipient: Recipient | UnsetType = UNSET
    type: EventType | UnsetType = UNSET
    title: Title | UnsetType = UNSET
    body: Text | UnsetType = UNSET
    data: Data | UnsetType = UNSET
    at: At | UnsetType = UNSET
    delay: Delay | UnsetType = UNSET
    daily: Daily | UnsetType = UNSET
    cron: Cron | UnsetType = UNSET
    timezone: Zone | UnsetType = UNSET
    catch_up: CatchUp | UnsetType = UNSET


class NextRun(msgspec.Struct):
    """A time at which it fires, in UTC and by its own clock."""

    at: Time
    local: str | None


class _Content(msgspec.Struct, kw_only=True):
    status: Literal["scheduled", "fired", "cancelled"]
    revision: Annotated[int, Meta(ge=1, description="rises with each change")]
    next_run_at: Time | None
    next_run_local: Annotated[str | None, Meta(description="`next_run_at` by its own clock")]
    at: Time | None
    daily: str | None
    cron: str | None
    timezone: str
    catch_up: CatchUp | None
    recipient: str
    type: str
    title: str
    body: str
    data: dict[str, Any]
    runs: Count
    last_run_at: Time | None
    created_at: Time
    created_by: str
    changed_at: Time


class Schedule(_Content, kw_only=True):
    """A schedule. Where it fires once, its id is the notification's, too."""

    id: Id
    next_runs: Annotated[list[NextRun], Meta(description="with `preview`")] | UnsetType = UNSET


class SchedulePreview(_Content, kw_only=True):
    """What a schedule would be; it was not made, and has no id."""

    id: None
    next_runs: list[NextRun]


class SchedulePage(msgspec.Struct):
    """A page of schedules. `next` is the cursor of the next one; null on the last."""

    results: list[Schedule]
    next: str | None


DAILY: Final[dict[str, Any]] = {**EVENT, "daily": "08:30", "timezone": "Europe/Berlin"}
SHOWN: Final[dict[str, Any]] = {
    "id": EXAMPLE_ID,
    "status": "scheduled",
    "revision": 1,
    "next_run_at": "2026-02-01T07:30:00.000Z",
    "next_run_local": "2026-02-01T08:30:00.000+01:00",
    "at": None,
    "daily": "08:30",
    "cron": None,
    "timezone": "Europe/Berlin",
    "catch_up": "once",
    **EVENT,
    "runs": 0,
    "last_run_at": None,
    "created_at": EXAMPLE_TIME,
    "created_by": 'API key "shop"',
    "changed_at": EXAMPLE_TIME,
}
NEXT: Final = {"next_runs": [{"at": "2026-02-01T07:30:00.000Z", "local": "2026-02-01T08:30:00.000+01:00"}]}

SCHEDULE_ID: Final = named("schedule_id", "The schedule's id.")
PREVIEW: Final = Parameter("preview", "query", Preview, "So many of its next times are told as `next_runs`.")
TOO_LATE: Final = "It is too late (it fired, or was cancelled), or it was changed meanwhile; `detail` says which."

OPERATIONS: Final[Operations] = {
    "POST /api/schedule": Operation(
        "makeSchedule",
        TAG,
        "Send something later, or again and again",
        "An event and exactly one of `at`, `delay`, `daily` and `cron`. It fires never early, and once each time. With "
        "`preview` nothing is made.",
        scope="send",
        parameters=(PREVIEW,),
        body=Body(
            {
                JSON: Content(
                    OneOf((ScheduleAt, ScheduleAfter, ScheduleDaily, ScheduleCron)),
                    {
                        "at_a_time": {**EVENT, "at": "2099-12-24T18:00:00+01:00"},
                        "in_ten_minutes": {**EVENT, "delay": 600},
                        "every_morning": DAILY,
                        "every_second_monday_of_a_month": {**EVENT, "cron": "0 9 * * MON#2", "catch_up": "all"},
                    },
                )
            },
            MAX_SINGLE_BYTES,
        ),
        once=True,
        rated=True,
        answers={
            200: Answer("What it would be (`preview`).", SchedulePreview, {"preview": {**SHOWN, **NEXT, "id": None}}),
            201: Answer("It is made, and on disk.", Schedule, {"made": SHOWN}, ("Location",)),
        },
    ),
    "GET /api/schedule": Operation(
        "listSchedules",
        TAG,
        "List schedules",
        "Newest first. What was made a moment ago may be missing.",
        scope="read",
        parameters=(
            Parameter("recipient", "query", Recipient, "Only of this recipient."),
            TYPE,
            one_of("status", STATUSES, "Only of this status."),
            LIMIT,
            CURSOR,
        ),
        answers={200: Answer("A page.", SchedulePage, {"the_last_page": {"results": [SHOWN], "next": None}})},
    ),
    "GET /api/schedule/{schedule_id}": Operation(
        "getSchedule",
        TAG,
        "Look at a schedule",
        "As it is now.",
        scope="read",
        parameters=(SCHEDULE_ID, PREVIEW),
        answers={200: Answer("The schedule.", Schedule, {"waiting": SHOWN, "with_preview": {**SHOWN, **NEXT}})},
        problems={409: "It was made by a newer release, which can read it."},
    ),
    "PATCH /api/schedule/{schedule_id}": Operation(
        "changeSchedule",
        TAG,
        "Change a schedule",
        "Its time, its content, or both, while it waits.",
        scope="manage",
        parameters=(SCHEDULE_ID,),
        body=Body(
            {
                JSON: Content(
                    Annotated[ScheduleChange, Meta(extra_json_schema=NO_TWO_TIMES)],
                    {
                        "another_time": {"daily": "09:00"},
                        "another_title_if_unchanged": {"title": "A better title", "revision": 1},
                    },
                )
            },
            MAX_SINGLE_BYTES,
        ),
        answers={200: Answer("The schedule as it is now.", Schedule, {"changed": {**SHOWN, "revision": 2}})},
        problems={409: TOO_LATE},
    ),
    "DELETE /api/schedule/{schedule_id}": Operation(
        "cancelSchedule",
        TAG,
        "Cancel a schedule",
        "It does not fire any more.",
        scope="manage",
        parameters=(SCHEDULE_ID,),
        answers={204: Answer("It is cancelled; or was, before.")},
        problems={409: TOO_LATE},
    ),
    "POST /api/schedule/{schedule_id}/run": Operation(
        "runSchedule",
        TAG,
        "Fire a schedule now",
        "One that fires once has fired then; one that comes again waits for its next time as before.",
        scope="manage",
        parameters=(SCHEDULE_ID,),
        once=True,
        answers={202: Answer("Fired, and on disk.", Accepted, {"fired": ACCEPTED}, ("Location",))},
        problems={409: TOO_LATE},
    ),
}
