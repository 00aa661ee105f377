"""What an event is: one versioned schema for the API, the stream and the worker. No I/O.

A producer sends a `Draft`; `parse` checks it against every rule of the contract. Accepted, it becomes an `Event`,
which the stream carries as JSON. `data` is kept as the producer's JSON, re-encoded without white space: the worker
hands it to PostgreSQL and to sockets as it is, and never decodes it.
"""

import binascii
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from notifications.exceptions import FieldError, Invalid

MAX_DATA_BYTES: Final = 16 * 1024
MAX_DATA_LEVELS: Final = 16

NOT_JSON: Final = "must be JSON in UTF-8 (RFC 8259)"
DATA_RULE: Final = "must be a JSON object"
REQUIRED: Final = "is required"
UNKNOWN: Final = "is not a field of an event"
NUL_RULE: Final = "must not contain NUL (U+0000)"
SURROGATE_RULE: Final = "must not contain a lone surrogate (U+D800 to U+DFFF)"
NUMBER_RULE: Final = "must not contain a number beyond the range of a double"
DEPTH_RULE: Final = f"must not nest deeper than {MAX_DATA_LEVELS} levels"

RECIPIENT_RULE: Final = "must be 1 to 128 characters, without white space or control characters"

Recipient = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=r"^[^\s\x00-\x1f\x7f-\x9f]+\Z",
        description=RECIPIENT_RULE,
    ),
]
TYPE_RULE: Final = "must be 1 to 100 of a-z 0-9 . _ - and begin with a letter or a digit"

EventType = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=r"^[a-z0-9][a-z0-9._-]*\Z",
        description=TYPE_RULE,
    ),
]
Title = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00]*\Z",
        description="must be 1 to 200 characters, without NUL",
    ),
]
Body = Annotated[
    str,
    Meta(max_length=4096, pattern=r"^[^\x00]*\Z", description="must be at most 4096 characters, without NUL"),
]
Data = Annotated[
    dict[str, Any],
    Meta(
        description=f"{DATA_RULE} of at most {MAX_DATA_BYTES} bytes as compact JSON and {MAX_DATA_LEVELS} levels, "
        "without NUL"
    ),
]
Source = Literal["api", "schedule", "bulk"]


class Draft(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event as a producer sends it."""

    recipient: Recipient
    type: EventType
    title: Title
    body: Body = ""
    data: Data = {}


class FailedAttempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt that failed: when (Unix ms), which of its life, why, and how long the next one waited.

    `delay_ms` is None where no other followed; `life` is the event's own.
    """

    at_ms: int
    attempt: int
    error: str
    delay_ms: int | None = None
    life: int = 0


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="v", tag=1):
    """An accepted event as the stream carries it; what one release wrote, a later one reads (the tag `v`)."""

    id: str
    recipient: str
    type: str
    title: str
    body: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")
    source: Source = "api"
    source_id: str | None = None
    # How many attempts failed, why the last one did, and when the first one did (Unix ms). A replay begins a new life.
    attempts: int = 0
    last_error: str | None = None
    first_failed_ms: int | None = None
    life: int = 0
    # Each of them, of every life, oldest first; of very many the first and the newest, and of an earlier life's errors
    # the beginnings (retries.MAX_KEPT_BYTES).
    failures: tuple[FailedAttempt, ...] = ()
    # Where its trace goes on (W3C Trace Context, version 00, 55 characters); only where traces are recorded.
    traceparent: str | None = None


class Outline(msgspec.Struct, frozen=True):
    """As much as can be told of a payload that need not be an event."""

    id: str = ""
    recipient: str = ""
    type: str = ""


_draft_decoder = msgspec.json.Decoder(Draft)
_event_decoder = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()
_FIELD_TYPES: Final = get_type_hints(Draft, include_extras=True)
_REQUIRED: Final = tuple(field.name for field in msgspec.structs.fields(Draft) if field.required)


def parse(document: bytes | msgspec.Raw, *, at: str = "") -> Draft:
    """The draft in a JSON document. `at` is the pointer of the document in what the producer sent.

    Raises Invalid with every broken rule, not only the first.
    """
    try:
        draft = _draft_decoder.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Invalid(_explain(document, at)) from None
    check(draft, at=at)
    return draft


def check(draft: Draft, *, at: str = "") -> None:
    """The rules that no type can say, of a draft that was decoded as one. Raises Invalid."""
    if errors := _data_errors(draft.data, at):
        raise Invalid(errors)


def accept(
    draft: Draft,
    event_id: str,
    *,
    source: Source = "api",
    source_id: str | None = None,
    traceparent: str | None = None,
) -> Event:
    """The event that a draft becomes under the id it keeps for ever."""
    return Event(
        id=event_id,
        recipient=draft.recipient,
        type=draft.type,
        title=draft.title,
        body=draft.body,
        data=msgspec.Raw(_encoder.encode(draft.data)),
        source=source,
        source_id=source_id,
        traceparent=traceparent,
    )


def encode(event: Event) -> bytes:
    """An event as the stream carries it."""
    return _encoder.encode(event)


def decode(payload: bytes) -> Event:
    """The event in a stream entry. Raises Invalid when it is none that this release can read."""
    try:
        return _event_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid([FieldError("", f"is not an event that this release can read: {error}")]) from error


def outline(payload: bytes) -> Outline:
    """What can be told of a payload that `decode` refuses: its id, recipient and type, each empty where it is none."""
    try:
        fields = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Outline()
    if not isinstance(fields, dict):
        return Outline()
    return Outline(
        id=_text_that(is_id, fields.get("id")),
        recipient=_text_that(lambda text: fits(text, Recipient), fields.get("recipient")),
        type=_text_that(lambda text: fits(text, EventType), fields.get("type")),
    )


def new_id(recipient: str) -> str:
    """A fresh UUIDv7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, 58 random ones, and a route.

    The last 16 bits are the recipient's CRC-16, so that an id alone tells its shard (`route_of`).
    """
    return _id(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big"), recipient)


def new_ids(recipients: Sequence[str]) -> list[str]:
    """A fresh id for each recipient of a batch, from one look at the clock and one at the system's randomness."""
    now_ms, bits = time.time_ns() // 1_000_000, os.urandom(10 * len(recipients))
    return [
        _id(now_ms, int.from_bytes(bits[10 * number : 10 * number + 10], "big"), recipient)
        for number, recipient in enumerate(recipients)
    ]


def new_id_beside(event_id: str) -> str:
    """A fresh id for the recipient of another event."""
    return f"{new_id('')[:-4]}{event_id[-4:]}"


def derived_id(recipient: str, unix_ms: int, *parts: str) -> str:
    """The UUIDv7 that is made again from the same parts: their hash stands where `new_id` has random bits.

    So what is begun anew after a crash (an occurrence of a schedule, say) has the id that it had, and one effect.
    """
    digest = hashlib.sha256("\n".join(parts).encode()).digest()[:10]
    return _id(unix_ms, int.from_bytes(digest, "big"), recipient)


def template(draft: Draft, job_id: str, traceparent: str | None = None) -> Event:
    """What all recipients of a bulk job get: an event under the job's own id, for nobody yet."""
    addressed = accept(draft, job_id, source="bulk", source_id=job_id, traceparent=traceparent)
    return msgspec.structs.replace(addressed, recipient="")


def copies(of: Event, recipients: Iterable[str]) -> list[Event]:
    """The events that a bulk job's template becomes, each under an id derived from job and recipient.

    Made again, they are the same, so whatever is fanned out twice has one effect.
    """
    unix_ms, job = accepted_ms(of.id), hashlib.sha256(f"{of.id}\n".encode())
    made = []
    for recipient in recipients:
        digest = job.copy()
        digest.update(recipient.encode())
        event_id = _id(unix_ms, int.from_bytes(digest.digest()[:10], "big"), recipient)
        made.append(msgspec.structs.replace(of, id=event_id, recipient=recipient))
    return made


def _id(unix_ms: int, bits: int, recipient: str) -> str:
    value = (unix_ms << 80) | (bits & ~0xFFFF) | route(recipient)
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    # As str(uuid.UUID(int=value)) has it, in a third of the time.
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def route(recipient: str) -> int:
    """The recipient's CRC-16 (XMODEM, the one of Redis Cluster's hash slots), 0 to 65535."""
    return binascii.crc_hqx(recipient.encode(), 0)


def route_of(event_id: str) -> int:
    """The route in an id that `new_id` made."""
    return int(event_id[-4:], 16)


def accepted_ms(event_id: str) -> int:
    """When an id was made: Unix milliseconds, the time bits of its UUIDv7. Raises ValueError for what is no `is_id`."""
    return int(event_id[:8] + event_id[9:13], 16)


def is_id(text: str) -> bool:
    """Whether a text is a UUID as `new_id` writes it."""
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None


def with_route(event_id: str, recipient: str) -> str:
    """This id with the route of a recipient; of an id that `new_id` made for that recipient, the id itself."""
    return f"{event_id[:-4]}{route(recipient):04x}"


def _text_that(keeps: Callable[[str], bool], value: object) -> str:
    return value if isinstance(value, str) and keeps(value) else ""


def fits(value: str, kind: Any) -> bool:  # noqa: ANN401 - an annotated type
    """Whether a text keeps the rules of an annotated type, Recipient for one."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _explain(document: bytes | msgspec.Raw, at: str) -> list[FieldError]:
    """Every rule that a refused document breaks; checked field by field, against the same types."""
    try:
        # Python's own parser, as it lets through what must be named with its field: a lone surrogate, say.
        fields = json.loads(bytes(document), parse_constant=_refuse_constant)
    except RecursionError:
        return [FieldError(at, DEPTH_RULE)]
    except ValueError:
        return [FieldError(at, NOT_JSON)]
    if not isinstance(fields, dict):
        return [FieldError(at, "must be a JSON object with the fields of an event")]
    errors = [FieldError(f"{at}/{name}", REQUIRED) for name in _REQUIRED if name not in fields]
    for name, value in fields.items():
        errors += _field_errors(name, value, at)
    return errors or [FieldError(at, NOT_JSON)]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _field_errors(name: str, value: object, at: str) -> list[FieldError]:
    pointer = f"{at}/{pointer_token(name)}"
    if name not in _FIELD_TYPES:
        return [FieldError(pointer, UNKNOWN)]
    if fault := _unencodable(value):
        return [FieldError(pointer, fault)]
    if name == "data":
        return _data_errors(value, at) if isinstance(value, dict) else [FieldError(pointer, DATA_RULE)]
    try:
        msgspec.convert(value, _FIELD_TYPES[name])
    except msgspec.ValidationError:
        return [FieldError(pointer, get_args(_FIELD_TYPES[name])[1].description)]
    return []


def _unencodable(value: object) -> str | None:
    """The rule that a value breaks by being no Unicode text or no finite number, if it does."""
    for node, _ in _walk(value):
        if isinstance(node, str) and not _is_unicode(node):
            return SURROGATE_RULE
        if isinstance(node, float) and not math.isfinite(node):
            return NUMBER_RULE
    return None


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _data_errors(data: dict[str, Any], at: str) -> list[FieldError]:
    """The rules of `data` that no type can say: its size as compact JSON, its depth, no NUL in it."""
    try:
        encoded = _encoder.encode(data)
    except RecursionError:
        return [FieldError(f"{at}/data", DEPTH_RULE)]
    errors = []
    if len(encoded) > MAX_DATA_BYTES:
        errors.append(FieldError(f"{at}/data", f"must be at most {MAX_DATA_BYTES} bytes as compact JSON"))
    # Few objects nest at all: only one that opens often enough to be too deep is walked.
    if encoded.count(b"{") + encoded.count(b"[") > MAX_DATA_LEVELS and _levels(data) > MAX_DATA_LEVELS:
        errors.append(FieldError(f"{at}/data", DEPTH_RULE))
    if b"\\u0000" in encoded and _has_nul(encoded):
        errors.append(FieldError(f"{at}/data", NUL_RULE))
    return errors


def _walk(value: object) -> Iterator[tuple[object, int]]:
    """A JSON value's every node (keys too) with its level, 1 for the value. Iterative, for input of any depth."""
    waiting: list[tuple[object, int]] = [(value, 1)]
    while waiting:
        node, level = waiting.pop()
        yield node, level
        if isinstance(node, dict):
            waiting.extend((child, level + 1) for pair in node.items() for child in pair)
        elif isinstance(node, list):
            waiting.extend((child, level + 1) for child in node)


def _levels(value: object) -> int:
    """How deep arrays and objects nest: 1 for `{}`, 2 for `{"a": []}`."""
    return max((level for node, level in _walk(value) if isinstance(node, dict | list)), default=0)


def _has_nul(encoded: bytes) -> bool:
    """Whether `\\u0000` stands in the JSON as an escape, not as the text of a backslash and five letters."""
    return re.search(rb"(?<!\\)(?:\\\\)*\\u0000", encoded) is not None


def pointer_token(name: str) -> str:
    """A name as one token of a JSON pointer (RFC 6901, section 3)."""
    # The answer is UTF-8, which a lone surrogate in the name is not.
    readable = name.encode(errors="replace").decode()
    return readable.replace("~", "~0").replace("/", "~1")
