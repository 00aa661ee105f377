"""`GET /api/schema/`: the description as JSON, or as YAML."""

import threading
from functools import cache
from typing import Any, Final

import msgspec
from drf_spectacular.generators import SchemaGenerator
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifications.api.query import Bounds, asked
from notifications.api.schema.components import Schema

YAML: Final = "application/yaml"
FORMATS: Final = ("json", "yaml")
BOUNDS: Final[Bounds] = {"format": (f"must be one of: {', '.join(FORMATS)}", FORMATS.__contains__)}

# drf-spectacular keeps what it goes through in globals.
_generating: Final = threading.Lock()


class Document(APIView):
    """What this API takes and answers, for programs that read that, and for `/api/docs/`. Open to all: it is no secret,
    and the same for everybody."""

    authentication_classes = []
    permission_classes = []

    def get(self, request: Request) -> Response:
        """JSON, or YAML where `format=yaml` or `Accept` asks for that."""
        wanted = asked(request.query_params.dict(), BOUNDS).get("format")
        if wanted == "yaml" or (wanted is None and "yaml" in request.META.get("HTTP_ACCEPT", "")):
            return Response(_yaml(), content_type=YAML)
        return Response(_json())


@cache
def document() -> Schema:
    """The whole description; it is the same as long as the process lives."""
    with _generating:
        generator: Any = SchemaGenerator
        schema: Schema = generator().get_schema(request=None, public=True)
        return schema


@cache
def _json() -> bytes:
    return msgspec.json.encode(document())


@cache
def _yaml() -> bytes:
    return msgspec.yaml.encode(document())
