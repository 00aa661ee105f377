"""One notification's life, and the search for it, for the page /lives/."""

from typing import Final
from uuid import UUID

from django.http import Http404
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifications import events
from notifications.access.permissions import IsStaff
from notifications.api.query import Bounds, asked
from notifications.exceptions import FieldError, Invalid
from notify_project.dashboard import search, timeline
from notify_project.dashboard.deadline import TooSlow
from notify_project.dashboard.search import KINDS, Kind

ID_RULE: Final = "must be an id (a UUID), whole"
RULES: Final[dict[str, str]] = {"id": ID_RULE, "recipient": events.RECIPIENT_RULE, "type": events.TYPE_RULE}
NOTHING_FITS: Final = "must be an id, a recipient or a type: 1 to 128 characters, without white space"


class TooSlowResponse(APIException):
    """PostgreSQL took too long; the words say what to do instead."""

    status_code = 503


class OneLife(APIView):
    """A notification and what happened to it."""

    permission_classes = [IsStaff]

    def get(self, request: Request, event_id: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """The timeline (timeline.py); 404 when it was never accepted."""
        try:
            told = timeline.tell(event_id)
        except TooSlow:
            raise TooSlowResponse(
                f"PostgreSQL did not answer within {timeline.TIMEOUT_MS // 1000} s. Look at Processes."
            ) from None
        if told is None:
            raise Http404
        return Response(told)


class Search(APIView):
    """Notifications by id, recipient or type, each exact."""

    permission_classes = [IsStaff]

    def get(self, request: Request) -> Response:
        """The newest of them (search.py). Without a `kind`, what `q` can be is tried in turn."""
        query = asked(request.query_params.dict(), BOUNDS)
        try:
            return Response(search.find(query.get("q", ""), _kinds(query.get("q", ""), query.get("kind"))))
        except TooSlow:
            raise TooSlowResponse(
                f"PostgreSQL did not answer within {search.TIMEOUT_MS // 1000} s. Search by id or by recipient, which "
                "takes no time, or look at Processes."
            ) from None


def _kinds(q: str, kind: str | None) -> list[Kind]:
    """What is to be looked for. Raises Invalid where there is nothing, or where it can be none of that."""
    if not q:
        raise Invalid([FieldError("/q", events.REQUIRED)])
    kinds = [possible for possible in search.kinds_of(q) if kind in {None, possible}]
    if not kinds:
        raise Invalid([FieldError("/q", RULES[kind] if kind else NOTHING_FITS)])
    return kinds


# What each parameter takes, as a sentence and as a check; what `q` takes depends on the kind.
BOUNDS: Final[Bounds] = {
    "q": (NOTHING_FITS, lambda _: True),
    "kind": (f"must be one of: {', '.join(KINDS)}", lambda value: value in KINDS),
}
