"""A plain Django view that decodes with msgspec, by the contract's rules, and writes each event by one XADD.

No caller, no rate, no idempotency key, no backlog, no database, no middleware:
`REDIS_URL=unix://… python -m granian … benchmarks.accepting.plain:application`.
"""

import os
import uuid

import msgspec
import redis
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.accepting import minimal
from notifications.events import Draft, Event

minimal.configure(__name__)

STREAM = "accepted"


class Batch(msgspec.Struct):
    """Events of one request."""

    notifications: list[Draft]


client = redis.Redis.from_url(os.environ["REDIS_URL"])
draft_decoder = msgspec.json.Decoder(Draft)
batch_decoder = msgspec.json.Decoder(Batch)
encoder = msgspec.json.Encoder()


def notify(request: HttpRequest) -> HttpResponse:
    """202 with the event's id."""
    event = _event(draft_decoder.decode(request.body))
    client.xadd(STREAM, {"event": encoder.encode(event)})
    return _accepted({"id": event.id, "status": "queued"})


def notify_batch(request: HttpRequest) -> HttpResponse:
    """202 with an id for each; one round trip."""
    batch = [_event(draft) for draft in batch_decoder.decode(request.body).notifications]
    pipe = client.pipeline(transaction=False)
    for event in batch:
        pipe.xadd(STREAM, {"event": encoder.encode(event)})
    pipe.execute()
    results = [{"id": event.id, "status": "queued"} for event in batch]
    return _accepted({"accepted": len(results), "rejected": 0, "results": results})


def _event(draft: Draft) -> Event:
    data = msgspec.Raw(encoder.encode(draft.data))
    return Event(
        id=str(uuid.uuid4()),
        recipient=draft.recipient,
        type=draft.type,
        title=draft.title,
        body=draft.body,
        data=data,
    )


def _accepted(answer: object) -> HttpResponse:
    return HttpResponse(encoder.encode(answer), status=202, content_type="application/json")


urlpatterns = [path("api/notify", notify), path("api/notify/batch", notify_batch)]
application = WSGIHandler()
