"""Bulk jobs for programs: make, look, pause, resume, cancel, turn the dial."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from django.db import InterfaceError, OperationalError
from django.http import Http404
from msgspec import Meta
from redis.exceptions import RedisError
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bulk import counts, orders, shapes
from bulk.api import listing
from bulk.api.making import make
from bulk.exceptions import Impossible, Unknown
from bulk.models import BulkJob, visible
from notifications import wiring
from notifications.access.keys import RATE, RATE_RULE
from notifications.access.permissions import scope
from notifications.api import problems
from notifications.api.base import read_body
from notifications.stream.fanout import Fanout

Rate = Annotated[str, Meta(pattern=rf"^{RATE.pattern}\Z", description=f"{RATE_RULE}; or null for no limit")]

# An order is given as soon as PostgreSQL has it; Redis is told after that.
PERHAPS_GIVEN: Final = (
    "PostgreSQL does not answer just now. The order may have been given all the same, and then it is carried out: "
    "look at the job before you repeat it."
)


class Dial(msgspec.Struct, forbid_unknown_fields=True):
    """How fast a job may go."""

    rate: Rate | None


class ImpossibleResponse(APIException):
    """This cannot be done to the job as it is now."""

    status_code = 409


class Unconfirmed(APIException):
    """A server was lost over an order; the message says what is known of it."""

    status_code = 503
    wait = problems.RETRY_SECONDS


class Jobs(APIView):
    """Bulk jobs, newest first; and a new one."""

    def get_permissions(self) -> list[BasePermission]:
        """Looking is one thing, sending another."""
        return [scope("send" if self.request.method == "POST" else "read")()]

    def get(self, request: Request) -> Response:
        """A page, and the cursor of the next one (null on the last)."""
        rows, following = listing.page(request.query_params.dict())
        return Response({"results": _shown(rows), "next": following})

    def post(self, request: Request) -> Response:
        """202 with the job's id and what became of its list (making.py)."""
        return make(request)


class OneJob(APIView):
    """One bulk job."""

    def get_permissions(self) -> list[BasePermission]:
        """Looking takes less than changing."""
        return [scope("manage" if self.request.method == "PATCH" else "read")()]

    def get(self, request: Request, job_id: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """The job, and how far it is."""
        job = visible().filter(pk=job_id).first()
        if job is None:
            raise Http404
        return Response(_shown([job])[0])

    def patch(self, request: Request, job_id: UUID) -> Response:
        """Another rate, from now on: the job as it is then. 409 where it is over."""
        rate = read_body(request, Dial).rate
        return _ordered(request, lambda fanout: orders.set_rate(fanout, job_id, rate))


class Pause(APIView):
    """A bulk job, to stand still."""

    permission_classes = [scope("manage")]

    def post(self, request: Request, job_id: UUID) -> Response:
        """The job as it stands still; 409 where it does not go."""
        return _ordered(request, lambda fanout: orders.pause(fanout, job_id))


class Resume(APIView):
    """A bulk job that stands still, to go on."""

    permission_classes = [scope("manage")]

    def post(self, request: Request, job_id: UUID) -> Response:
        """The job as it goes on; 409 where it does not stand still."""
        return _ordered(request, lambda fanout: orders.resume(fanout, job_id))


class Cancel(APIView):
    """A bulk job, to end where it is."""

    permission_classes = [scope("manage")]

    def post(self, request: Request, job_id: UUID) -> Response:
        """The job as it ended; 409 where it is over."""
        return _ordered(request, lambda fanout: orders.cancel(fanout, job_id))


def _ordered(request: Request, give: Callable[[Fanout], BulkJob]) -> Response:
    """The job after an order took effect; what keeps it from that, as this API's errors."""
    try:
        return Response(_shown([give(wiring.fanout())])[0])
    except Unknown:
        raise Http404 from None
    except Impossible as impossible:
        raise ImpossibleResponse(str(impossible)) from None
    except (RedisError, OperationalError, InterfaceError) as error:
        server = "Redis" if isinstance(error, RedisError) else "PostgreSQL"
        problems.unavailable[server].warn(server=server, path=request.path, error=repr(error))
        raise Unconfirmed(orders.GIVEN if server == "Redis" else PERHAPS_GIVEN) from None


def _shown(jobs: Sequence[BulkJob]) -> list[dict[str, Any]]:
    counted = counts.count(wiring.fanout(), jobs)
    return [shapes.shown(job, counted[job.pk]) for job in jobs]
