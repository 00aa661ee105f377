"""What the door for producers says of itself: `POST /api/notify` and `/api/notify/batch`."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from notifications import intake
from notifications.api.base import MAX_BATCH_BYTES, MAX_SINGLE_BYTES
from notifications.api.schema.components import REF
from notifications.api.schema.operation import Answer, Operation, Operations, json_body
from notifications.api.schema.parts import EXAMPLE_ID, OTHER_ID, BrokenRule, Count, Id
from notifications.events import Draft

TAG: Final = "Sending"

EVENT: Final[dict[str, Any]] = {
    "recipient": "alice",
    "type": "order.shipped",
    "title": "Your order is on its way",
    "body": "It arrives on Thursday.",
    "data": {"order": 4711, "url": "https://shop.example.org/orders/4711"},
}
SMALLEST: Final = {"recipient": "bob", "type": "greeting", "title": "Hello"}
WRONG: Final = {"recipient": "carol", "type": "greeting", "title": ""}
ACCEPTED: Final = {"id": EXAMPLE_ID, "status": "queued"}

ITEMS: Final = {
    "anyOf": [{"$ref": f"{REF}Event"}, {"description": "Anything else is rejected, and the others are accepted."}]
}


class Accepted(msgspec.Struct, tag_field="status", tag="queued"):
    """An accepted event, and the id under which it can be looked up from now on."""

    id: Id


class Rejected(msgspec.Struct, tag_field="status", tag="rejected"):
    """An event of a batch that breaks rules, and which."""

    errors: list[BrokenRule]


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """Events in one request, each accepted or rejected for itself."""

    notifications: Annotated[
        list[Any],
        Meta(min_length=1, max_length=intake.MAX_BATCH, extra_json_schema={"items": ITEMS}),
    ]


class BatchAnswer(msgspec.Struct):
    """What became of a batch: one result an event, in the batch's order."""

    accepted: Count
    rejected: Count
    results: list[Accepted | Rejected]


OPERATIONS: Final[Operations] = {
    "POST /api/notify": Operation(
        "notify",
        TAG,
        "Send one notification",
        "Takes one event in. It becomes exactly one notification, or one dead letter that says why. PostgreSQL is not "
        "needed for it.",
        scope="send",
        body=json_body(Draft, MAX_SINGLE_BYTES, all_fields=EVENT, the_smallest=SMALLEST),
        once=True,
        rated=True,
        answers={202: Answer("Accepted, and on disk.", Accepted, {"accepted": ACCEPTED}, ("Location",))},
    ),
    "POST /api/notify/batch": Operation(
        "notifyBatch",
        TAG,
        "Send up to 1000 notifications",
        "Takes several events in, in one step. Each is accepted or rejected for itself; the answer has one result an "
        "event, in order. What is valid counts against the rate.",
        scope="send",
        body=json_body(Batch, MAX_BATCH_BYTES, two_events_one_wrong={"notifications": [EVENT, WRONG]}),
        once=True,
        rated=True,
        answers={
            202: Answer(
                "What became of each event; the accepted ones are on disk.",
                BatchAnswer,
                {
                    "one_accepted_one_rejected": {
                        "accepted": 1,
                        "rejected": 1,
                        "results": [
                            {"id": OTHER_ID, "status": "queued"},
                            {
                                "errors": [
                                    {
                                        "pointer": "/notifications/1/title",
                                        "detail": "must be 1 to 200 characters, without NUL",
                                    }
                                ],
                                "status": "rejected",
                            },
                        ],
                    }
                },
            )
        },
    ),
}
