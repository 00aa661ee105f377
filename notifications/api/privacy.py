"""All that is known of one recipient: handed out, or erased."""

from collections.abc import AsyncIterator, Iterator
from itertools import chain
from typing import Final

from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifications import inbox, privacy
from notifications.access.authentication import caller_of
from notifications.access.permissions import scope
from notifications.api.reading import check_recipient
from notifications.live.threads import in_thread

LINES: Final = "application/x-ndjson"


class OneRecipient(APIView):
    """A recipient."""

    permission_classes = [scope("manage")]

    def delete(self, request: Request, recipient: str) -> Response:
        """Erase all that is known of the recipient: 200 with how much that was; nothing, the second time."""
        check_recipient(recipient)
        return Response({"erased": privacy.erase(recipient, inbox.announcer(), caller_of(request).shown_as)})


class Export(APIView):
    """What is known of a recipient."""

    permission_classes = [scope("manage")]

    def get(self, request: Request, recipient: str) -> StreamingHttpResponse:
        """A line of JSON for each record; the last says that it is complete. Of any length, in little memory."""
        check_recipient(recipient)
        blocks = privacy.export(recipient, caller_of(request).shown_as)
        # Where a server is away, the answer is a problem, not an empty file.
        all_blocks = chain([next(blocks)], blocks)
        is_async = isinstance(request._request, ASGIRequest)  # noqa: SLF001 - DRF hides which server asks
        headers = {"Content-Disposition": 'attachment; filename="export.ndjson"', "Cache-Control": "no-store"}
        return StreamingHttpResponse(
            _later(all_blocks) if is_async else all_blocks, content_type=LINES, headers=headers
        )


async def _later(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The same for an ASGI server, which would gather all of a plain iterator first."""
    while block := await in_thread(next, blocks, b""):
        yield block
