"""The least that DRF can do: a view that validates an event with a serializer and answers 202 with an id.

No Redis, no caller, no database, no middleware: `python -m granian … benchmarks.accepting.bare:application`. Parsers,
renderers and all else of DRF that can be left out are.
"""

import uuid
from typing import Any

from benchmarks.accepting import minimal

minimal.configure(
    __name__,
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
        "UNAUTHENTICATED_TOKEN": None,
    },
)

from django.core.handlers.wsgi import WSGIHandler  # noqa: E402 - what follows reads the settings
from django.urls import path  # noqa: E402
from rest_framework import serializers  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class Event(serializers.Serializer[Any]):
    """The contract's fields."""

    recipient = serializers.RegexField(r"^[^\s\x00-\x1f\x7f-\x9f]+\Z", max_length=128)
    type = serializers.RegexField(r"^[a-z0-9][a-z0-9._-]*\Z", max_length=100)
    title = serializers.CharField(max_length=200, trim_whitespace=False)
    body = serializers.CharField(max_length=4096, allow_blank=True, trim_whitespace=False, default="")
    data = serializers.DictField(default=dict)  # type: ignore[assignment]


class Batch(serializers.Serializer[Any]):
    """Events, 1000 at most."""

    notifications = serializers.ListField(child=Event(), min_length=1, max_length=1000)


class NotifyOne(APIView):
    """One event."""

    def post(self, request: Request) -> Response:
        """202 with an id."""
        event = Event(data=request.data)
        event.is_valid(raise_exception=True)
        return Response(_accepted(), status=202)


class NotifyBatch(APIView):
    """Many events."""

    def post(self, request: Request) -> Response:
        """202 with an id for each."""
        batch = Batch(data=request.data)
        batch.is_valid(raise_exception=True)
        results = [_accepted() for _ in batch.validated_data["notifications"]]
        return Response({"accepted": len(results), "rejected": 0, "results": results}, status=202)


def _accepted() -> dict[str, str]:
    return {"id": str(uuid.uuid4()), "status": "queued"}


urlpatterns = [path("api/notify", NotifyOne.as_view()), path("api/notify/batch", NotifyBatch.as_view())]
application = WSGIHandler()
