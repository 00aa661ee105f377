"""GET /api/stats: what the dashboard shows, for programs, in one answer."""

from typing import Any, Final

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifications import representation
from notifications.access.permissions import scope
from notify_project.dashboard import frames, looks, trend
from notify_project.dashboard.judge import judge
from notify_project.dashboard.snapshot import LIMIT_SECONDS, snapshot
from notify_project.dashboard.ticker import present_ms

# A server that stands still is known to by then.
WAIT_SECONDS: Final = LIMIT_SECONDS + 0.1


class Stats(APIView):
    """Stages with their states, counts, lags and rates; latencies; processes and servers."""

    permission_classes = [scope("read")]

    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """200 whatever is away: what is not known is null, and the stage says why."""
        return Response(_stats())


def _stats() -> dict[str, Any]:
    seen = snapshot()
    looks.wait(seen.all, WAIT_SECONDS)
    facts = seen.facts()
    lately = trend.of_slices(facts, seen.slices.value or ())
    return {
        "at": representation.timestamp_ms(present_ms(facts)),
        "stages": frames.stages(facts, lately, judge(facts, lately)),
        "latency": frames.latency(seen),
        "processes": frames.processes(seen),
        "servers": frames.servers(seen),
    }
