"""What bulk jobs say of themselves (notifications/api/schema)."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from bulk.api.listing import STATUSES
from bulk.api.making import MAX_INLINE_BYTES
from bulk.api.views import Dial, Rate
from bulk.recipients import INLINE_RULE, MAX_INLINE
from notifications import when
from notifications.access.keys import RATE_RULE
from notifications.api.base import MAX_SINGLE_BYTES
from notifications.api.schema.operation import (
    JSON,
    LINES,
    Answer,
    Body,
    Content,
    Operation,
    Operations,
    Parameter,
    json_body,
)
from notifications.api.schema.parts import (
    CURSOR,
    EXAMPLE_ID,
    EXAMPLE_TIME,
    LIMIT,
    TYPE,
    BrokenRule,
    Count,
    Id,
    Time,
    named,
    one_of,
)
from notifications.events import RECIPIENT_RULE, Data, EventType, Recipient, Title
from notifications.events import Body as Text

TAG: Final = "Bulk"

NOT_BOTH: Final = {"not": {"required": ["at", "delay"]}}
# A list with something in it that is no id is taken without it, unless `strict`.
SOME_IDS: Final = {
    "items": {"description": f"{RECIPIENT_RULE}; what is none is left out, or refused if `strict`"},
    "contains": msgspec.json.schema(Recipient),
}
Lines = Annotated[
    str, Meta(description="the notification, with `rate`, `at` or `delay`, on one line; then an id a line")
]


class BulkNotification(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What all recipients get: an event without its recipient."""

    type: EventType
    title: Title
    body: Text = ""
    data: Data = {}


class BulkRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A notification and to whom it goes; how fast, and when."""

    recipients: Annotated[
        list[Any],
        Meta(min_length=1, max_length=MAX_INLINE, description=INLINE_RULE, extra_json_schema=SOME_IDS),
    ]
    notification: BulkNotification
    rate: Annotated[Rate | None, Meta(description=RATE_RULE)] = None
    at: Annotated[str, Meta(extra_json_schema={"format": "date-time"}, description=when.AT_RULE)] | UnsetType = UNSET
    delay: Annotated[float, Meta(ge=0, description=when.DELAY_RULE)] | UnsetType = UNSET


class BulkMade(msgspec.Struct):
    """A job that was made. `total`: recipients, each once; `errors`: the first 100 of what was left out, and where."""

    id: Id
    total: Annotated[int, Meta(ge=1)]
    duplicates: Count
    rejected: Count
    errors: list[BrokenRule]
    start_at: Time
    status: Literal["queued"]


class BulkJob(msgspec.Struct):
    """A bulk job and how far it is. `rate` is events a second, measured; `rate_limit` is the dial."""

    id: Id
    status: Literal["queued", "running", "paused", "cancelled", "done"]
    total: Count
    fanned_out: Count
    stored: Count
    failed: Count
    rate: Annotated[float, Meta(ge=0)]
    eta_seconds: Annotated[float, Meta(ge=0)] | None
    rate_limit: str | None
    duplicates: Count
    rejected: Count
    type: str
    title: str
    body: str
    data: dict[str, Any]
    start_at: Time
    created_at: Time
    created_by: str
    started_at: Time | None
    finished_at: Time | None


class BulkPage(msgspec.Struct):
    """A page of jobs. `next` is the cursor of the next one; null on the last."""

    results: list[BulkJob]
    next: str | None


NOTIFICATION: Final[dict[str, Any]] = {
    "type": "newsletter",
    "title": "News of the week",
    "body": "All that happened.",
    "data": {"issue": 12},
}
MADE: Final = {
    "id": EXAMPLE_ID,
    "total": 2,
    "duplicates": 1,
    "rejected": 1,
    "errors": [{"pointer": "/recipients/3", "detail": RECIPIENT_RULE}],
    "start_at": EXAMPLE_TIME,
    "status": "queued",
}
JOB: Final[dict[str, Any]] = {
    "id": EXAMPLE_ID,
    "status": "running",
    "total": 100_000,
    "fanned_out": 41_000,
    "stored": 40_000,
    "failed": 0,
    "rate": 500.0,
    "eta_seconds": 120.0,
    "rate_limit": "500/s",
    "duplicates": 0,
    "rejected": 0,
    **NOTIFICATION,
    "start_at": EXAMPLE_TIME,
    "created_at": EXAMPLE_TIME,
    "created_by": 'API key "shop"',
    "started_at": EXAMPLE_TIME,
    "finished_at": None,
}
LINES_EXAMPLE: Final = '{"type":"newsletter","title":"News of the week","rate":"500/s"}\nalice\nbob\ncarol\n'

JOB_ID: Final = named("job_id", "The job's id.")
NOT_NOW: Final = "The job is in no status in which this can be done; `detail` says which."


def _order(name: str, summary: str, description: str, status: str) -> Operation:
    """An order to a job, which is answered with the job."""
    return Operation(
        name,
        TAG,
        summary,
        description,
        scope="manage",
        parameters=(JOB_ID,),
        answers={200: Answer("The job as it is now.", BulkJob, {status: {**JOB, "status": status}})},
        problems={409: NOT_NOW},
    )


OPERATIONS: Final[Operations] = {
    "POST /api/bulk": Operation(
        "makeBulk",
        TAG,
        "Send one notification to many",
        "To up to 100 000 recipients in one JSON object, or, as lines, to any number. Nothing begins before all of the "
        "list is here. Single notifications go ahead of it. It counts as one event against the rate.",
        scope="send",
        parameters=(
            Parameter("strict", "query", Literal["0", "1"], "1: refuse a list with anything in it that is no id."),
        ),
        body=Body(
            {
                JSON: Content(
                    Annotated[BulkRequest, Meta(extra_json_schema=NOT_BOTH)],
                    {
                        "two_recipients": {"recipients": ["alice", "bob"], "notification": NOTIFICATION},
                        "later_and_slowly": {
                            "recipients": ["alice", "bob"],
                            "notification": NOTIFICATION,
                            "rate": "500/s",
                            "delay": 3600,
                        },
                    },
                ),
                LINES: Content(Lines, {"three_recipients": LINES_EXAMPLE}),
            },
            None,
            description=f"JSON: at most {MAX_INLINE_BYTES} bytes. Lines: any number, in constant memory.",
        ),
        once=True,
        rated=True,
        answers={202: Answer("The job is made; it begins at `start_at`.", BulkMade, {"made": MADE}, ("Location",))},
        problems={
            413: f"The body is JSON of more than {MAX_INLINE_BYTES} bytes.",
            415: "The body is neither JSON nor lines.",
        },
    ),
    "GET /api/bulk": Operation(
        "listBulks",
        TAG,
        "List bulk jobs",
        "Newest first.",
        scope="read",
        parameters=(TYPE, one_of("status", STATUSES, "Only of this status."), LIMIT, CURSOR),
        answers={200: Answer("A page.", BulkPage, {"the_last_page": {"results": [JOB], "next": None}})},
    ),
    "GET /api/bulk/{job_id}": Operation(
        "getBulk",
        TAG,
        "Look at a bulk job",
        "And at how far it is.",
        scope="read",
        parameters=(JOB_ID,),
        answers={200: Answer("The job.", BulkJob, {"under_way": JOB})},
    ),
    "PATCH /api/bulk/{job_id}": Operation(
        "changeBulk",
        TAG,
        "Let a bulk job go faster or slower",
        "From now on; null is as fast as it goes.",
        scope="manage",
        parameters=(JOB_ID,),
        body=json_body(Dial, MAX_SINGLE_BYTES, slowly={"rate": "500/s"}, as_fast_as_it_goes={"rate": None}),
        answers={200: Answer("The job as it is now.", BulkJob, {"changed": JOB})},
        problems={409: NOT_NOW},
    ),
    "POST /api/bulk/{job_id}/pause": _order(
        "pauseBulk", "Pause a bulk job", "When this answers, nothing more is fanned out.", "paused"
    ),
    "POST /api/bulk/{job_id}/resume": _order("resumeBulk", "Let a bulk job go on", "Where it stood.", "running"),
    "POST /api/bulk/{job_id}/cancel": _order(
        "cancelBulk", "Cancel a bulk job", "What was not fanned out never will be.", "cancelled"
    ),
}
