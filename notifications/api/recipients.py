"""What is done to one recipient: marking read, and the token for their browser."""

from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifications import inbox
from notifications.access import tokens
from notifications.access.permissions import scope, scope_or_recipient
from notifications.api.base import read_body
from notifications.api.reading import check_recipient
from notifications.exceptions import FieldError, Invalid
from notifications.representation import timestamp

IDS_RULE: Final = f"must be 1 to {inbox.MAX_IDS} ids of notifications"


class ReadBody(msgspec.Struct, forbid_unknown_fields=True):
    """`{"ids": […]}` or `{"all": true}`."""

    ids: (
        Annotated[
            list[UUID],
            Meta(min_length=1, max_length=inbox.MAX_IDS, description=IDS_RULE),
        ]
        | None
    ) = None
    all: Annotated[bool, Meta(description="must be true or false")] = False


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """`{"ttl": seconds}`; no body is the default."""

    ttl: Annotated[
        int,
        Meta(
            ge=1,
            le=tokens.MAX_SECONDS,
            description=f"must be a whole number of seconds from 1 to {tokens.MAX_SECONDS}",
        ),
    ] = tokens.DEFAULT_SECONDS


class MarkRead(APIView):
    """Mark notifications read, here and in every open tab."""

    permission_classes = [scope_or_recipient("manage")]

    def post(self, request: Request, recipient: str) -> Response:
        """How many it changed, and how many are unread now."""
        check_recipient(recipient)
        body = read_body(request, ReadBody)
        if (body.ids is None) is not body.all:
            raise Invalid([FieldError("", 'must be {"ids": […]} or {"all": true}')])
        changed, state = inbox.mark_read(recipient, body.ids)
        return Response({"updated": len(changed), "unread": state.unread})


class Token(APIView):
    """A token that a producer hands to a recipient's browser."""

    permission_classes = [scope("send")]

    def post(self, request: Request, recipient: str) -> Response:
        """The token and when it expires; it opens this inbox and nothing else."""
        check_recipient(recipient)
        token, expires_at = tokens.issue(recipient, read_body(request, TokenBody).ttl)
        return Response({"token": token, "expires_at": timestamp(datetime.fromtimestamp(expires_at, UTC))})
