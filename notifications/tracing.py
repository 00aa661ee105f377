"""One trace for an event's whole way: the request, the worker, the socket. Off by default (docs/tracing.md).

Of OpenTelemetry this takes the API, which does nothing by itself. What records spans and sends them is loaded where
NOTIFY_TRACING says so (telemetry.py); where it does not, no event has a byte more, and a batch costs one question.
"""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from django.conf import settings
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

HEADER: Final = "traceparent"
NO_PACKAGES: Final = (
    "notify: NOTIFY_TRACING is on, and a package for it is not installed ({missing}); "
    "pip install -r requirements-tracing.txt"
)
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

# Finds whatever records by the time a span begins.
tracer: Final[Tracer] = trace.get_tracer("notify")
_propagator: Final = TraceContextTextMapPropagator()


class _Switch:
    """Whether this process records."""

    on = False


class _Traced(msgspec.Struct):
    """As much of an event as tells its trace."""

    traceparent: str | None = None


_traced_decoder: Final = msgspec.json.Decoder(_Traced)


def start(kind: str, name: str) -> None:
    """Begin to record, where NOTIFY_TRACING says so: `kind` of process, under its own `name`.

    Raises SystemExit where the packages for that are missing.
    """
    if not settings.NOTIFY.tracing or _Switch.on:
        return
    try:
        telemetry = importlib.import_module("notifications.telemetry")
    except ModuleNotFoundError as error:
        raise SystemExit(NO_PACKAGES.format(missing=error.name)) from None
    telemetry.start(kind, name)
    _Switch.on = True


def is_on() -> bool:
    """Whether this process records."""
    return _Switch.on


def carried() -> str | None:
    """What an event that is accepted here carries, so that its trace goes on; None where nobody records it."""
    return traceparent(trace.get_current_span().get_span_context()) if _Switch.on else None


def traceparent(context: SpanContext) -> str | None:
    """A span as W3C Trace Context writes it, version 00; None of one that is not recorded."""
    if not context.is_valid or not context.trace_flags.sampled:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def parent(carrier: Mapping[str, str]) -> Context:
    """What to begin a span under: what `traceparent` and `tracestate` say; nothing where they are bad."""
    return _propagator.extract(carrier, Context())


def fields(span: Span) -> Mapping[str, str]:
    """The trace of a span, as fields of a log line."""
    context = span.get_span_context()
    return {"trace_id": trace.format_trace_id(context.trace_id)} if context.is_valid else NOTHING


def ids(payload: bytes) -> Mapping[str, str]:
    """The trace of an event in the stream, in the same way."""
    if not _Switch.on:
        return NOTHING
    try:
        carried_by = _traced_decoder.decode(payload).traceparent
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return NOTHING
    return fields(trace.get_current_span(parent({HEADER: carried_by or ""})))
