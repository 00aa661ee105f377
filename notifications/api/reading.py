"""Looking: an inbox page by page, one notification's life, the unread count."""

import base64
import binascii
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from django.http import Http404
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifications import events, inbox, lookup, replica, representation
from notifications.access.authentication import caller_of
from notifications.access.permissions import scope_or_recipient
from notifications.access.principal import Principal
from notifications.api.query import DEFAULT_LIMIT, LIMIT_BOUND, Bounds, asked
from notifications.exceptions import FieldError, Invalid
from notifications.models import Notification

TRUE: Final = frozenset({"true", "1"})
FALSE: Final = frozenset({"false", "0"})


class Page(msgspec.Struct, frozen=True):
    """What is asked of an inbox: from below which `seq`, how many, and which of them."""

    recipient: str
    unread: bool
    type: str | None
    limit: int
    before: int | None


class Notifications(APIView):
    """An inbox, newest first. Pages are keyed by `seq`, so they stay as they are while new rows arrive."""

    permission_classes = [scope_or_recipient("read")]

    def get(self, request: Request) -> Response:
        """A page, and the cursor of the next one (null on the last)."""
        page = _page_of(request)
        found = replica.listed(page.recipient, partial(_rows, page))
        shown = found[: page.limit]
        following = _cursor(shown[-1].seq) if len(found) > page.limit else None
        return Response({"results": [representation.shown_row(row) for row in shown], "next": following})


class OneNotification(APIView):
    """One notification, wherever it is in its life."""

    permission_classes = [scope_or_recipient("read")]

    def get(self, request: Request, event_id: UUID) -> Response:
        """Its content, its status and its times. Another recipient's is not told from one that is not there."""
        caller = caller_of(request)
        life = lookup.life(event_id, of=None if caller.may("read") else caller.recipient)
        if life is None or not _may_see(caller, str(life["recipient"])):
            raise Http404
        return Response(life)


class Unread(APIView):
    """A recipient's unread count."""

    permission_classes = [scope_or_recipient("read")]

    def get(self, request: Request, recipient: str) -> Response:  # noqa: ARG002 - DRF's signature
        """The count, from Redis; always what PostgreSQL would answer."""
        check_recipient(recipient)
        return Response({"unread": inbox.state(recipient).unread})


def check_recipient(recipient: str, pointer: str = "/recipient") -> None:
    """Raises Invalid for what can be no recipient's id."""
    if not events.fits(recipient, events.Recipient):
        raise Invalid([FieldError(pointer, events.RECIPIENT_RULE)])


def _rows(page: Page, database: str) -> list[Notification]:
    """The rows of a page, and one more where there is any."""
    rows = Notification.objects.using(database).filter(recipient=page.recipient)
    if page.before is not None:
        rows = rows.filter(seq__lt=page.before)
    if page.unread:
        rows = rows.filter(read_at=None)
    if page.type:
        rows = rows.filter(type=page.type)
    return list(rows.order_by("-seq")[: page.limit + 1])


def _may_see(caller: Principal, recipient: str) -> bool:
    return caller.may("read") or caller.owns(recipient)


def _page_of(request: Request) -> Page:
    query = asked(request.query_params.dict(), BOUNDS)
    return Page(
        recipient=_recipient_of(request),
        unread=query.get("unread", "").lower() in TRUE,
        type=query.get("type"),
        limit=int(query.get("limit", DEFAULT_LIMIT)),
        before=_before(query["cursor"]) if "cursor" in query else None,
    )


def _recipient_of(request: Request) -> str:
    """The inbox that is asked for: a recipient's own unless it is named, and then no other."""
    caller = caller_of(request)
    recipient = request.query_params.get("recipient") or caller.recipient
    if recipient is None:
        raise Invalid([FieldError("/recipient", events.REQUIRED)])
    if not _may_see(caller, recipient):
        raise PermissionDenied("A recipient's token opens that recipient's inbox only.")
    return recipient


def _cursor(seq: int) -> str:
    """Opaque to clients, so that what it holds may change."""
    return base64.urlsafe_b64encode(f"s{seq}".encode()).decode().rstrip("=")


def _before(cursor: str) -> int | None:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (ValueError, binascii.Error):
        return None
    digits = text[1:]
    valid = text[:1] == "s" and digits.isascii() and digits.isdigit() and len(digits) < 19
    return int(digits) if valid else None


# What each parameter takes, as a sentence and as a check.
BOUNDS: Final[Bounds] = {
    "recipient": (events.RECIPIENT_RULE, lambda value: events.fits(value, events.Recipient)),
    "unread": ("must be true or false", lambda value: value.lower() in TRUE | FALSE),
    "type": (events.TYPE_RULE, lambda value: events.fits(value, events.EventType)),
    "limit": LIMIT_BOUND,
    "cursor": ("must be the 'next' of an earlier page", lambda value: _before(value) is not None),
}
