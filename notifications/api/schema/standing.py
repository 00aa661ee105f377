"""What the API says of itself, and whether it stands: the description, health."""

from typing import Any, Final, Literal

import msgspec

from notifications.api.schema.document import FORMATS, YAML
from notifications.api.schema.operation import JSON, Answer, Operation, Operations
from notifications.api.schema.parts import one_of

TAG: Final = "Standing"


class Alive(msgspec.Struct):
    """The process answers."""

    status: Literal["ok"]


class Readiness(msgspec.Struct):
    """Whether everything that the process depends on answers: each by name, `ok` or the kind of its error.

    A `replica` of PostgreSQL is named where one is set; one that is `left out` keeps nothing from being ready.
    """

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]


OPERATIONS: Final[Operations] = {
    "GET /api/schema/": Operation(
        "getSchema",
        TAG,
        "This description",
        f"OpenAPI 3.1, as JSON; as YAML (`{YAML}`) where `format` or `Accept` asks for that.",
        parameters=(one_of("format", dict.fromkeys(FORMATS), "As what."),),
        answers={200: Answer("The description.", dict[str, Any], media_types=(JSON, YAML))},
        problems={400: "There is no such format."},
    ),
    "GET /healthz": Operation(
        "isAlive",
        TAG,
        "Is it alive?",
        "For supervisors: 200 as long as the process answers at all.",
        answers={200: Answer("It is.", Alive, {"alive": {"status": "ok"}})},
    ),
    "GET /readyz": Operation(
        "isReady",
        TAG,
        "Is it ready to take traffic?",
        "For load balancers: 200 when everything that the process depends on answers.",
        answers={
            200: Answer(
                "It is.", Readiness, {"ready": {"status": "ok", "checks": {"redis": "ok", "postgresql": "ok"}}}
            ),
            503: Answer(
                "It is not.",
                Readiness,
                {
                    "no_redis": {
                        "status": "unavailable",
                        "checks": {"redis": "ConnectionError", "postgresql": "ok"},
                    }
                },
            ),
        },
    ),
}
