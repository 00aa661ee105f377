"""What inboxes say of themselves: notifications, their lives, the unread count, marking read, tokens."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from notifications.access import tokens
from notifications.api.base import MAX_SINGLE_BYTES
from notifications.api.recipients import ReadBody, TokenBody
from notifications.api.schema.operation import JSON, Answer, Body, Content, Operation, Operations, Parameter
from notifications.api.schema.parts import (
    CURSOR,
    EXAMPLE_ID,
    EXAMPLE_TIME,
    LIMIT,
    RECIPIENT,
    TYPE,
    Count,
    Id,
    Source,
    Time,
    named,
)
from notifications.api.schema.sending import EVENT
from notifications.events import Recipient

TAG: Final = "Inboxes"

Status = Literal["scheduled", "queued", "retrying", "stored", "dead", "cancelled"]
Seq = Annotated[int, Meta(ge=1, description="its place in the recipient's inbox, rising by arrival")]
# Which of the two is said; either may be there and say nothing.
IDS_OR_ALL: Final = {
    "oneOf": [
        {"required": ["ids"], "properties": {"ids": {"type": "array"}, "all": {"const": False}}},
        {"required": ["all"], "properties": {"all": {"const": True}, "ids": {"type": "null"}}},
    ]
}


class Notification(msgspec.Struct):
    """A notification as its reader gets it."""

    id: Id
    recipient: str
    seq: Seq
    type: str
    title: str
    body: str
    data: dict[str, Any]
    accepted_at: Time
    stored_at: Time
    read_at: Time | None
    source: Source
    source_id: Id | None


class NotificationPage(msgspec.Struct):
    """A page of an inbox. `next` is the cursor of the next one; null on the last."""

    results: list[Notification]
    next: str | None


class NotificationLife(msgspec.Struct):
    """A notification and its life so far. What it has not come to yet is null."""

    id: Id
    recipient: str
    seq: Seq | None
    type: str
    title: str
    body: str
    data: dict[str, Any]
    status: Status
    accepted_at: Time
    stored_at: Time | None
    read_at: Time | None
    attempts: Annotated[int, Meta(ge=0, description="how many failed")]
    last_error: str | None
    next_attempt_at: Time | None
    source: Source
    source_id: Annotated[Id | None, Meta(description="the schedule's or the bulk job's id")]


class UnreadCount(msgspec.Struct):
    """How many of a recipient's notifications are unread."""

    unread: Count


class MarkedRead(msgspec.Struct):
    """How many notifications it changed, and how many are unread now."""

    updated: Count
    unread: Count


class RecipientToken(msgspec.Struct):
    """A token for a recipient's browser."""

    token: str
    expires_at: Time


STORED: Final[dict[str, Any]] = {
    "id": EXAMPLE_ID,
    **EVENT,
    "seq": 42,
    "accepted_at": EXAMPLE_TIME,
    "stored_at": "2026-01-31T08:15:00.262Z",
    "read_at": None,
    "source": "api",
    "source_id": None,
}
LIFE: Final[dict[str, Any]] = {**STORED, "status": "stored", "attempts": 0, "last_error": None, "next_attempt_at": None}
RETRYING: Final[dict[str, Any]] = {
    **LIFE,
    "seq": None,
    "stored_at": None,
    "status": "retrying",
    "attempts": 1,
    "last_error": "injected fault",
    "next_attempt_at": "2026-01-31T08:15:01.250Z",
}

OPERATIONS: Final[Operations] = {
    "GET /api/notifications": Operation(
        "listNotifications",
        TAG,
        "Look into an inbox",
        "Newest first, by `seq`. Pages stay as they are while new notifications arrive. With a recipient's token the "
        "inbox is that recipient's, named or not; with an API key it has to be named.",
        scope="read",
        recipient=True,
        parameters=(
            Parameter("recipient", "query", Recipient, "Whose inbox.", "alice"),
            Parameter("unread", "query", bool, "Only what is unread."),
            TYPE,
            LIMIT,
            CURSOR,
        ),
        answers={200: Answer("A page.", NotificationPage, {"the_last_page": {"results": [STORED], "next": None}})},
    ),
    "GET /api/notifications/{event_id}": Operation(
        "getNotification",
        TAG,
        "Look up one notification's life",
        "Wherever it is: scheduled, on its way, stored, dead. Another recipient's is not told from one that is not "
        "there.",
        scope="read",
        recipient=True,
        parameters=(named("event_id", "The id that it was accepted under."),),
        answers={200: Answer("The notification.", NotificationLife, {"stored": LIFE, "tried_again": RETRYING})},
    ),
    "GET /api/recipients/{recipient}/unread": Operation(
        "countUnread",
        TAG,
        "Count what is unread",
        "From Redis; always what PostgreSQL would answer.",
        scope="read",
        recipient=True,
        parameters=(RECIPIENT,),
        answers={200: Answer("The count.", UnreadCount, {"three": {"unread": 3}})},
        problems={400: "That can be no recipient's id."},
    ),
    "POST /api/recipients/{recipient}/read": Operation(
        "markRead",
        TAG,
        "Mark notifications read",
        "Here and in every open tab. Ids that are none of this recipient's, or read already, change nothing.",
        scope="manage",
        recipient=True,
        parameters=(RECIPIENT,),
        body=Body(
            {
                JSON: Content(
                    Annotated[ReadBody, Meta(extra_json_schema=IDS_OR_ALL)],
                    {"some": {"ids": [EXAMPLE_ID]}, "all": {"all": True}},
                )
            },
            MAX_SINGLE_BYTES,
        ),
        answers={200: Answer("What changed.", MarkedRead, {"two_read": {"updated": 2, "unread": 1}})},
    ),
    "POST /api/recipients/{recipient}/token": Operation(
        "makeToken",
        TAG,
        "Make a token for a recipient's browser",
        f"It opens this inbox and nothing else, for `ttl` seconds ({tokens.DEFAULT_SECONDS} unless said).",
        scope="send",
        parameters=(RECIPIENT,),
        body=Body(
            {JSON: Content(TokenBody, {"for_a_day": {"ttl": tokens.MAX_SECONDS}, "for_an_hour": {}})},
            MAX_SINGLE_BYTES,
            required=False,
        ),
        answers={
            200: Answer(
                "The token.",
                RecipientToken,
                {"a_token": {"token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.x", "expires_at": EXAMPLE_TIME}},
            )
        },
    ),
}
