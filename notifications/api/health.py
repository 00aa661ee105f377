"""Is it alive, and is it ready: for load balancers and supervisors, without a key."""

from collections.abc import Callable
from contextlib import closing

from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from notifications import wiring


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - Django's signature
    """200 as long as the process answers at all."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - Django's signature
    """200 when everything this process depends on answers, else 503; each dependency by name."""
    checks = {"redis": _answers(_ask_redis), "postgresql": _answers(_ask_postgresql)}
    ready = all(answer == "ok" for answer in checks.values())
    return JsonResponse({"status": "ok" if ready else "unavailable", "checks": checks}, status=200 if ready else 503)


def _answers(ask: Callable[[], object]) -> str:
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - whatever it is, the dependency is not ready
        # The kind of error only: an address or a user name in its text is nobody's business here.
        return type(error).__name__
    return "ok"


def _ask_redis() -> object:
    return wiring.shards().client.ping()


def _ask_postgresql() -> object:
    # A connection of its own: the pool's would answer late, once it has given up waiting for one.
    probe = connection.copy()
    probe.settings_dict["OPTIONS"].pop("pool", None)
    with closing(probe), probe.cursor() as cursor:
        return cursor.execute("SELECT 1")
