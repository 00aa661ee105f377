"""GET /metrics of the web."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from notifications import scrape
from notifications.api import problems
from notify_project.metrics import middleware
from notify_project.metrics.deployment import Deployment


@csrf_exempt
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text, or OpenMetrics' where it is accepted: this web's own counts, and the whole deployment's."""
    # A proxy is near, and whom it asks for may be anybody.
    address = "" if request.META[middleware.ON_BEHALF] else request.META[middleware.PEER]
    refusal = scrape.refusal(address, request.headers.get("Authorization", ""))
    if refusal:
        response = problems.plain_response(refusal.status, refusal.detail)
        if refusal.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response
    text, media_type = scrape.text(request.headers.get("Accept", ""), Deployment())
    return HttpResponse(text, content_type=media_type)
