"""Where drf-spectacular and the tables of operations meet: its settings name what is here."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.utils.module_loading import import_string
from drf_spectacular.drainage import warn
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry

from notifications.api.schema import parts, text, writing
from notifications.api.schema.components import Schema
from notifications.api.schema.operation import Operation

API: Final = "/api/"
Endpoint = tuple[str, str, str, object]

SECURITY: Final[Schema] = {
    writing.API_KEY: {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`nk_…`). Each operation names the scope that it needs: `send`, `read` or `manage`.",
    },
    writing.RECIPIENT_TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A recipient's token (`POST /api/recipients/{recipient}/token`): that one inbox, nothing else.",
    },
    writing.SESSION: {
        "type": "apiKey",
        "in": "cookie",
        "name": "sessionid",
        "description": "A member of staff who is signed in, with every scope; what changes something needs "
        "`X-CSRFToken`, too.",
    },
}


@cache
def operations() -> dict[str, Operation]:
    """Every operation that any app describes, by method and path."""
    return {key: one for path in settings.NOTIFY_API_DESCRIBED_IN for key, one in import_string(path).items()}


class Inspector(AutoSchema):
    """Says of a view's method what its app's table says. One that is in no table is a warning, which the tests see."""

    def get_operation(
        self,
        path: str,
        path_regex: str,  # noqa: ARG002 - drf-spectacular's signature
        path_prefix: str,  # noqa: ARG002 - drf-spectacular's signature
        method: str,
        registry: ComponentRegistry,
    ) -> Schema | None:
        """The operation as the document has it."""
        operation = operations().get(f"{method} {path}")
        if operation is None:
            warn(f"nothing describes {method} {path}")
            return None
        return writing.written(operation, registry)


def of_the_api(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Hook: what is under /api/. What pages ask for under /dashboard/ changes with them."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(API)]


def complete(result: Schema, generator: SchemaGenerator, request: object, public: bool) -> Schema:  # noqa: ARG001, FBT001 - drf-spectacular's signature
    """Hook: what all operations share, and the few that are none of DRF's."""
    paths: dict[str, Any] = result["paths"]
    for key, operation in operations().items():
        method, _, path = key.partition(" ")
        if not path.startswith(API):
            paths.setdefault(path, {})[method.lower()] = writing.written(operation, generator.registry)
    responses = {
        name: writing.problem_response(status, generator.registry) for status, (name, *_) in parts.PROBLEMS.items()
    }
    result["info"]["description"] = text.DESCRIPTION
    result["tags"] = text.TAGS
    result["components"] = {
        **generator.registry.build({}),
        "responses": responses,
        "headers": parts.HEADERS,
        "securitySchemes": SECURITY,
    }
    return result
