"""Is it alive, and is it ready: for load balancers and supervisors, without a key."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from notifications import dependencies, replica


@csrf_exempt
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - Django's signature
    """200 as long as the process answers at all."""
    return JsonResponse({"status": "ok"})


@csrf_exempt
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - Django's signature
    """200 when everything this process depends on answers, else 503; each dependency by name."""
    checks = dependencies.look()
    ready = all(answer == dependencies.OK for answer in checks.values())
    # Whatever the replica would answer, the primary does, too.
    if (beside := replica.status()) is not None:
        checks["replica"] = beside if beside == dependencies.OK else "left out"
    return JsonResponse({"status": "ok" if ready else "unavailable", "checks": checks}, status=200 if ready else 503)
