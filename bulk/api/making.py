"""`POST /api/bulk`: a notification and its list, as one JSON object or as a stream of lines."""

import hashlib
import time
from collections.abc import Iterator
from typing import Final

import msgspec
from django.http import UnreadablePostError
from django.urls import reverse
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from bulk import making, once, recipients, requests, upload
from bulk.making import Made
from bulk.recipients import LineError
from bulk.requests import Content
from notifications.access.authentication import caller_of
from notifications.access.rates import Charge
from notifications.api.base import MEDIA_TYPE, accepted, body_of, once_of
from notifications.api.query import Bounds, asked
from notifications.exceptions import Invalid
from notifications.intake import Answer
from notifications.stream.once import Once

LINES: Final = "application/x-ndjson"
MAX_INLINE_BYTES: Final = 10 * 1024 * 1024
BLOCK_BYTES: Final = 32 * 1024
# Between two blocks the other requests of this process have their turn: checking ids keeps it to itself.
REST_SECONDS: Final = 0.001

STRICT: Final[Bounds] = {"strict": ("must be 0 or 1", {"0", "1"}.__contains__)}


class BrokenOff(APIException):
    """The body ended before it was all here. Nothing was started."""

    status_code = 400
    default_detail = __doc__


class WrongType(APIException):
    """The body must be JSON (Content-Type: application/json) or lines (application/x-ndjson)."""

    status_code = 415
    default_detail = __doc__


class Stream:
    """A body of any length, read in blocks; `fingerprint` is of what was read so far."""

    def __init__(self, request: Request) -> None:
        self._request = request
        stated = request.META.get("CONTENT_LENGTH") or ""
        self._missing = int(stated) if stated.isdigit() else 0
        self._digest = hashlib.sha256(request.path.encode() + b"\n")

    def blocks(self) -> Iterator[bytes]:
        """The body to its end. Raises BrokenOff where that comes too early."""
        try:
            while block := self._request.read(BLOCK_BYTES):
                self._missing -= len(block)
                self._digest.update(block)
                yield block
                time.sleep(REST_SECONDS)
        except UnreadablePostError:
            raise BrokenOff from None
        if self._missing > 0:
            raise BrokenOff

    def sign(self, key: Once) -> Once:
        """An idempotency record with the fingerprint of what was read."""
        return msgspec.structs.replace(key, fingerprint=self._digest.hexdigest()[:32])


def make(request: Request) -> Response:
    """202 with the job's id, and how many recipients it has. `?strict=1`: 400 where anything in the list is no id."""
    strict = asked(request.query_params.dict(), STRICT).get("strict") == "1"
    media_type = (request.META.get("CONTENT_TYPE") or "").partition(";")[0].strip().lower()
    if media_type not in {LINES, MEDIA_TYPE}:
        raise WrongType
    charge = Charge(caller_of(request))
    answer = (_of_lines if media_type == LINES else _inline)(request, charge, strict=strict)
    if answer.replayed:
        charge.give_back()
        # To tell how the rate stands.
        charge.take(0)
    job_id = msgspec.json.decode(answer.body, type=Made).id
    return accepted(answer, reverse("bulk-job", args=[job_id]), charge.limits())


def _inline(request: Request, charge: Charge, *, strict: bool) -> Answer:
    body = body_of(request, MAX_INLINE_BYTES)
    key = once_of(request, body)
    if key and (answer := making.earlier(key)):
        return answer
    content, batch = requests.parse_inline(body, upload.now_ms())
    charge.take(1)
    with charge.given_back_on_error():
        return making.make(content, [batch], caller_of(request).shown_as, strict=strict, key=lambda: key)


def _of_lines(request: Request, charge: Charge, *, strict: bool) -> Answer:
    stream, key = Stream(request), once_of(request, b"")
    if key and (job := once.find(key)):
        # Whether it is the same request is known when all of it was read.
        for _ in stream.blocks():
            pass
        return Answer(once.answer_of(job, stream.sign(key)), replayed=True)
    head, rest = recipients.first_line(stream.blocks())
    batches = recipients.of_lines(rest, line=2)
    content, by = _content(head), caller_of(request).shown_as
    charge.take(1)
    with charge.given_back_on_error():
        return making.make(content, batches, by, strict=strict, key=lambda: key and stream.sign(key))


def _content(head: bytes) -> Content:
    """The first line. Raises Invalid with every broken rule, each with where in that line."""
    try:
        return requests.parse(head, upload.now_ms())
    except Invalid as invalid:
        errors = [LineError(line=1, pointer=error.pointer, detail=error.detail) for error in invalid.errors]
        raise Invalid([*errors]) from None
