"""What dead letters say of themselves (notifications/api/schema)."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from dlq.api.listing import STATUSES
from dlq.api.rules import FILTERS, Life, Order, Reason
from dlq.api.views import ManyBody
from dlq.replay import LOOKUPS
from notifications.api.base import MAX_SINGLE_BYTES
from notifications.api.schema.operation import (
    JSON,
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
    OTHER_ID,
    Count,
    Id,
    Time,
    named,
    one_of,
)
from notifications.api.schema.sending import EVENT
from notifications.events import Draft

TAG: Final = "Dead letters"

Status = Literal["dead", "replaying", "replayed", "discarded"]
Deed = Literal["died", "ordered", "replayed", "edited", "discarded", "unreadable", "stored"]

CRITERIA: Final = sorted({*LOOKUPS, "since", "until"} & set(ManyBody.__struct_fields__))
# What is to be replayed is said, and said once.
ALL_OR_SOME: Final = {
    "oneOf": [
        {
            "required": ["all"],
            "properties": {"all": {"const": True}, **{name: {"type": "null"} for name in CRITERIA}},
        },
        {
            "properties": {"all": {"const": False}},
            "anyOf": [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in CRITERIA],
        },
    ]
}


class Replay(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How a letter is replayed: as it is or with a corrected event, whatever became of it or only in the life seen."""

    notification: Draft | UnsetType = UNSET
    life: Life | None = None


class Sent(msgspec.Struct):
    """The event in a letter as its producer sent it, and as a replay takes it back, corrected."""

    recipient: str
    type: str
    title: str
    body: str
    data: dict[str, Any]


class _Letter(msgspec.Struct, kw_only=True):
    id: Id
    status: Status
    recipient: str | None
    type: str | None
    payload: Annotated[Any, Meta(description="what was dead, as the stream carried it; a text where it is no JSON")]
    notification: Annotated[Sent | None, Meta(description="null where the payload cannot be read")]
    readable: bool
    reason: Reason
    error: str
    fingerprint: Annotated[str, Meta(description="the same for errors that differ in ids, numbers and values only")]
    attempts: Count
    life: Annotated[int, Meta(ge=0, description="how often it was replayed")]
    first_failed_at: Time
    last_failed_at: Time
    replay: Annotated[Id | None, Meta(description="the order that took it")]


class DeadLetter(_Letter, kw_only=True):
    """An event that was given up, and what became of it."""


class Passage(msgspec.Struct):
    """One line of a letter's history. `payload`, of an edit: what it was before."""

    at: Time
    what: Deed
    by: str | None
    life: Count
    reason: Reason | None
    error: str | None
    attempts: Annotated[int, Meta(ge=1)] | None
    payload: Any


class DeadLetterDetail(_Letter, kw_only=True):
    """A letter and its history, oldest first."""

    history: list[Passage]


class DeadLetterPage(msgspec.Struct):
    """A page of letters. `next` is the cursor of the next one; null on the last."""

    results: list[DeadLetter]
    next: str | None


class ReplayMatch(msgspec.Struct):
    """How many letters a replay would take."""

    matched: Count


class ReplayOrder(msgspec.Struct):
    """An order to replay, and how many letters it took."""

    id: Id
    matched: Count


PAYLOAD: Final[dict[str, Any]] = {
    "v": 1,
    "id": EXAMPLE_ID,
    **EVENT,
    "attempts": 5,
    "last_error": "connection refused",
    "first_failed_ms": 1_769_847_301_250,
}
LETTER: Final[dict[str, Any]] = {
    "id": EXAMPLE_ID,
    "status": "dead",
    "recipient": "alice",
    "type": "order.shipped",
    "payload": PAYLOAD,
    "notification": EVENT,
    "readable": True,
    "reason": "retries_exhausted",
    "error": "connection refused",
    "fingerprint": "5f1c0e7a9b2d",
    "attempts": 6,
    "life": 0,
    "first_failed_at": EXAMPLE_TIME,
    "last_failed_at": "2026-01-31T08:16:51.250Z",
    "replay": None,
}
DIED: Final[dict[str, Any]] = {
    "at": "2026-01-31T08:16:51.250Z",
    "what": "died",
    "by": None,
    "life": 0,
    "reason": "retries_exhausted",
    "error": "connection refused",
    "attempts": 6,
    "payload": None,
}
DETAIL: Final = {**LETTER, "history": [DIED]}
ORDERED: Final[dict[str, Any]] = {
    **LETTER,
    "status": "replaying",
    "replay": OTHER_ID,
    "history": [
        DIED,
        {
            **dict.fromkeys(DIED),
            "at": "2026-01-31T09:00:00.000Z",
            "what": "ordered",
            "by": 'API key "shop"',
            "life": 0,
        },
    ],
}

LETTER_ID: Final = named("letter_id", "The letter's id, which is its event's.")
FILTER_WORDS: Final = {
    "reason": "Only dead for this reason.",
    "type": "Only of this type.",
    "recipient": "Only of this recipient.",
    "fingerprint": "Only dead by this error.",
    "since": "Only where the last failure was then, or later.",
    "until": "Only where the last failure was then, or earlier.",
}

OPERATIONS: Final[Operations] = {
    "GET /api/dlq": Operation(
        "listDeadLetters",
        TAG,
        "List dead letters",
        "Newest last failure first. Pages stay as they are while letters arrive.",
        scope="read",
        parameters=(
            *(Parameter(name, "query", kind, FILTER_WORDS[name]) for name, kind in FILTERS.items()),
            one_of("status", STATUSES, "Only of this status."),
            Parameter("replay", "query", Order, "Only what this order took."),
            LIMIT,
            CURSOR,
        ),
        answers={200: Answer("A page.", DeadLetterPage, {"the_last_page": {"results": [LETTER], "next": None}})},
    ),
    "GET /api/dlq/{letter_id}": Operation(
        "getDeadLetter",
        TAG,
        "Look at a dead letter",
        "And at its history.",
        scope="read",
        parameters=(LETTER_ID,),
        answers={200: Answer("The letter.", DeadLetterDetail, {"dead": DETAIL})},
    ),
    "DELETE /api/dlq/{letter_id}": Operation(
        "discardDeadLetter",
        TAG,
        "Discard a dead letter",
        "It is not replayed any more; its record stays.",
        scope="manage",
        parameters=(LETTER_ID,),
        answers={204: Answer("It is discarded; or was, before.")},
        problems={409: "It was replayed, or is being replayed."},
    ),
    "POST /api/dlq/{letter_id}/replay": Operation(
        "replayDeadLetter",
        TAG,
        "Replay a dead letter",
        "As it is, or with a corrected event, under its own id: it becomes one notification, however often this is "
        "asked for.",
        scope="manage",
        parameters=(LETTER_ID,),
        body=json_body(
            Replay, MAX_SINGLE_BYTES, required=False, as_it_is={}, corrected={"notification": EVENT, "life": 0}
        ),
        once=True,
        answers={202: Answer("The letter; its replay is ordered.", DeadLetterDetail, {"ordered": ORDERED})},
        problems={409: "It is not dead (any more), died again since, or has to be corrected; `detail` says which."},
    ),
    "POST /api/dlq/replay": Operation(
        "replayDeadLetters",
        TAG,
        "Replay many dead letters",
        'Those that fit all that is named, or `{"all": true}`; no more than `limit`. With `dry_run` nothing is done.',
        scope="manage",
        body=Body(
            {
                JSON: Content(
                    Annotated[ManyBody, Meta(extra_json_schema=ALL_OR_SOME)],
                    {
                        "of_one_type_since": {"type": "order.shipped", "since": "2026-01-31T08:00:00Z"},
                        "how_many_there_are": {"all": True, "dry_run": True},
                    },
                )
            },
            MAX_SINGLE_BYTES,
        ),
        once=True,
        answers={
            200: Answer("How many it would take (`dry_run`).", ReplayMatch, {"dry": {"matched": 12}}),
            202: Answer(
                "The replay is ordered.",
                ReplayOrder,
                {"ordered": {"id": OTHER_ID, "matched": 12}},
            ),
        },
    ),
}
