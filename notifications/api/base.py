"""What every view shares: the body's bytes, its idempotency key, its query."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar, get_args, get_type_hints

import msgspec
from rest_framework.exceptions import APIException, UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.response import Response

from notifications import intake
from notifications.access.authentication import caller_of
from notifications.access.principal import Principal
from notifications.events import NOT_JSON, REQUIRED, pointer_token
from notifications.exceptions import FieldError, Invalid
from notifications.stream.once import Once

S = TypeVar("S", bound=msgspec.Struct)

MEDIA_TYPE: Final = "application/json"
MAX_SINGLE_BYTES: Final = 256 * 1024
MAX_BATCH_BYTES: Final = 5 * 1024 * 1024

MAX_KEY_CHARACTERS: Final = 255
# msgspec's words for a field that there is none of, and for one that is not there.
UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
MISSING: Final = re.compile(r"Object missing required field `(.*)`")
KEY_RULE: Final = f"must be 1 to {MAX_KEY_CHARACTERS} visible ASCII characters or spaces"


class Asked(Protocol):
    """What these views look at of a request, be it Django's, DRF's or a WSGI server's own."""

    path: str

    @property
    def META(self) -> Mapping[str, Any]:  # noqa: N802 - Django's name
        """Its headers and all else that is known of it, by the names that CGI gives them."""

    def read(self, size: int, /) -> bytes:
        """As much of its body, or what is left of that."""


class BodyTooLarge(APIException):
    """The body has more bytes than this address takes."""

    status_code = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body must be at most {limit} bytes.")


def body_of(request: Asked, limit: int = MAX_SINGLE_BYTES) -> bytes:
    """The body's bytes, not decoded, with no more than `limit` of them ever in memory.

    Not `request.data`: DRF takes a chunked body, which states no length, for an empty one. Raises UnsupportedMediaType
    and BodyTooLarge: by the stated length before a byte is read, and by counting after.
    """
    stated = request.META.get("CONTENT_LENGTH") or "0"
    if stated.isdigit() and int(stated) > limit:
        raise BodyTooLarge(limit)
    body = request.read(limit + 1)
    if len(body) > limit:
        raise BodyTooLarge(limit)
    media_type = (request.META.get("CONTENT_TYPE") or "").partition(";")[0].strip().lower()
    if body and media_type != MEDIA_TYPE:
        raise UnsupportedMediaType(media_type)
    return body


def once_of(request: Request, body: bytes) -> Once | None:
    """The idempotency record of a request with an `Idempotency-Key`; None without. Raises Invalid."""
    return once_by(caller_of(request), request, body)


def once_by(caller: Principal, request: Asked, body: bytes) -> Once | None:
    """The same of a caller who is known."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        raise Invalid([FieldError("/Idempotency-Key", KEY_RULE)])
    return intake.idempotency(caller.name, key, request.path, body)


def read_body(request: Request, kind: type[S]) -> S:
    """A small body as a struct whose fields carry their rule as description. Raises Invalid."""
    return parse_body(body_of(request), kind)


def parse_body(body: bytes, kind: type[S]) -> S:
    """The same of a body that is read already; none at all is an object without fields."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise Invalid([_field_error(error, kind)]) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Invalid([FieldError("", NOT_JSON)]) from None


def accepted(
    answer: intake.Answer, location: str | None = None, limits: Mapping[str, str] = MappingProxyType({})
) -> Response:
    """202 with an answer of the intake, and how the caller's rate stands."""
    return Response(answer.body, status=202, headers=accepted_headers(answer, location, limits))


def accepted_headers(answer: intake.Answer, location: str | None, limits: Mapping[str, str]) -> dict[str, str]:
    """What such an answer says besides its body."""
    headers = dict(limits)
    if location:
        headers["Location"] = location
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    return headers


def _field_error(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> FieldError:
    """msgspec says which field (`… - at `$.ttl``); what that takes is the sentence in the field's own type."""
    if unknown := UNKNOWN.fullmatch(str(error)):
        return FieldError(f"/{pointer_token(unknown[1])}", f"is not one of: {_fields(kind)}")
    if missing := MISSING.fullmatch(str(error)):
        return FieldError(f"/{missing[1]}", REQUIRED)
    message, _, path = str(error).partition(" - at `$")
    if not path:
        return FieldError("", f"must be a JSON object, its fields any of: {_fields(kind)}")
    name = path.strip(".`").partition("[")[0]
    rule = _rule(get_type_hints(kind, include_extras=True).get(name))
    return FieldError(f"/{name}", rule) if rule else FieldError("", message)


def _fields(kind: type[msgspec.Struct]) -> str:
    return ", ".join(sorted(kind.__struct_encode_fields__))


def _rule(annotation: object) -> str | None:
    """The description in an annotated type, or in a member of a union of them."""
    for meta in getattr(annotation, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.description:
            return meta.description
    return next(filter(None, map(_rule, get_args(annotation))), None)
