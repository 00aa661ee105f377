"""GET /dashboard/history: the curves of the last quarter of an hour, for whoever opens or reloads the page."""

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifications import wiring
from notifications.access.permissions import IsStaff
from notifications.stream import register
from notify_project.dashboard import frames


class History(APIView):
    """Points, one for five seconds each; what nobody saw is not among them."""

    permission_classes = [IsStaff]

    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """Oldest first. 503 while Redis does not answer, where they are kept."""
        points = [frames.point(one) for one in register.history(wiring.shards().client)]
        return Response({"step_ms": register.SPAN_MS, "points": points})
