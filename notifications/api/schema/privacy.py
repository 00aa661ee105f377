"""What the rights of a recipient say of themselves: all that is known, and its erasure."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from notifications.api.schema.operation import LINES, Answer, Operation, Operations
from notifications.api.schema.parts import RECIPIENT, Count

TAG: Final = "Privacy"

Records = Annotated[
    str,
    Meta(
        description="a JSON object a line, each with its `kind`: the inbox first, and in the end how many there were "
        "before; without that line it is not complete"
    ),
]


class Erasure(msgspec.Struct):
    """How much was erased, by what it was."""

    erased: dict[str, Count]


EXPORT: Final = (
    '{"kind":"inbox","recipient":"alice","unread":0,"seq":0,"exported_at":"2026-01-31T08:15:00.250Z"}\n'
    '{"kind":"end","records":1}\n'
)

OPERATIONS: Final[Operations] = {
    "GET /api/recipients/{recipient}/export": Operation(
        "exportRecipient",
        TAG,
        "Export all that is known of a recipient",
        "Notifications with their failures, schedules, dead letters; of any length.",
        scope="manage",
        parameters=(RECIPIENT,),
        answers={200: Answer("All of it.", Records, {"hardly_anything": EXPORT}, media_types=(LINES,))},
        problems={400: "That can be no recipient's id."},
    ),
    "DELETE /api/recipients/{recipient}": Operation(
        "eraseRecipient",
        TAG,
        "Erase all that is known of a recipient",
        "For good. What was accepted before and is still on its way becomes nothing any more; what is sent after that "
        "begins anew. It may be repeated.",
        scope="manage",
        parameters=(RECIPIENT,),
        answers={
            200: Answer("How much it was.", Erasure, {"two": {"erased": {"notifications": 2, "dead_letters": 0}}})
        },
        problems={400: "That can be no recipient's id."},
    ),
}
