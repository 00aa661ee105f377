"""JSON out, whatever is asked for. What comes in is read by base.py, which counts its bytes first."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

_encoder = msgspec.json.Encoder()


class JSONRenderer(BaseRenderer):
    """Writes msgspec's JSON; bytes are JSON already. A view may name another media type on its response."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: object,
        accepted_media_type: str | None = None,  # noqa: ARG002 - DRF's signature
        renderer_context: Mapping[str, Any] | None = None,  # noqa: ARG002 - DRF's signature
    ) -> bytes:
        """The response's body."""
        if data is None:
            return b""
        return data if isinstance(data, bytes) else _encoder.encode(data)


class AlwaysJSON(BaseContentNegotiation):
    """Answers JSON whatever `Accept` says: there is nothing else, and an error must be readable too."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> None:
        """None: no view reads its body through DRF."""

    def select_renderer(
        self,
        request: Request,  # noqa: ARG002 - DRF's signature
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,  # noqa: ARG002 - DRF's signature
    ) -> tuple[BaseRenderer, str]:
        """The first renderer."""
        renderer = next(iter(renderers))
        return renderer, renderer.media_type
