"""The spans of an event's way after its request: stored by a worker, handed to sockets by a gateway.

A batch is a span with links to all whose events are in it; each entry that carries a trace is a span in that trace.
None tells anything of a payload, nor whose it is: the event's id leads there, for those who may look.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Final, Self

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from notifications import tracing
from notifications.events import Event
from notifications.stream.group import Entry
from notifications.stream.reader import Again, Dead, Outcome, Spread

HELD: Final = "held"


class Untraced:
    """A batch of a worker that records nothing."""

    # The trace of each event, under its id, as it goes on from here.
    traceparents: Mapping[str, str] = MappingProxyType({})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """It is handled, or held."""

    def holds(self, pairs: Iterable[tuple[Entry, Event | None]]) -> None:
        """What is in it."""

    def became(self, outcomes: Sequence[Outcome]) -> None:
        """What becomes of that."""


class Batch(Untraced):
    """A batch of one that records, from its reading to its announcement."""

    def __init__(self) -> None:
        self._began_ns = time.time_ns()
        self._span = tracing.tracer.start_span("notify.batch", kind=SpanKind.CONSUMER, start_time=self._began_ns)
        self._current = trace.use_span(
            self._span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        )
        self._entries: dict[int, Span] = {}
        self._linked = set[str]()
        self.traceparents: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._current.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            # Only its name: an error's words may quote what it is about.
            for span in (self._span, *self._entries.values()):
                span.set_attribute("notify.outcome", HELD)
                span.set_status(Status(StatusCode.ERROR, kind.__name__))
        for span in self._entries.values():
            span.end()
        self._current.__exit__(kind, error, traceback)

    def holds(self, pairs: Iterable[tuple[Entry, Event | None]]) -> None:
        """Begin a span for each entry that carries a trace; of a chunk's events there is one for all."""
        events = 0
        for entry, event in pairs:
            events += 1
            if event is None or event.traceparent is None:
                continue
            span = self._entries.get(id(entry))
            if span is None:
                span = self._entries[id(entry)] = self._begin(entry, event, event.traceparent)
            if goes_on := tracing.traceparent(span.get_span_context()):
                self.traceparents[event.id] = goes_on
        self._span.set_attributes({"notify.events": events, "notify.entries_traced": len(self._entries)})

    def became(self, outcomes: Sequence[Outcome]) -> None:
        """Note what becomes of each entry."""
        if not self._entries:
            return
        for outcome in outcomes:
            if span := self._entries.get(id(outcome.entry)):
                _note(span, outcome)

    def _begin(self, entry: Entry, event: Event, traceparent: str) -> Span:
        parent = tracing.parent({tracing.HEADER: traceparent})
        # Many may have come in one request.
        if traceparent not in self._linked:
            self._linked.add(traceparent)
            self._span.add_link(trace.get_current_span(parent).get_span_context())
        return tracing.tracer.start_span(
            "notify.store",
            context=parent,
            kind=SpanKind.CONSUMER,
            links=[Link(self._span.get_span_context())],
            start_time=self._began_ns,
            attributes={
                "notify.id": event.source_id or event.id if entry.is_chunk else event.id,
                "notify.type": event.type,
                "notify.source": event.source,
                "notify.lane": entry.stream.rpartition(b":")[2].decode(),
                "notify.attempt": event.attempts + 1,
                "notify.events": entry.events,
            },
        )


NOT_TRACED: Final = Untraced()


def batch() -> Untraced:
    """What follows a batch through a worker."""
    return Batch() if tracing.is_on() else NOT_TRACED


def delivered(traces: Iterable[Sequence[object]], sockets: Sequence[int], began_ns: int) -> None:
    """Spans of frames that a gateway has handed to its sockets.

    `traces`: pairs of a frame's place and its trace; `sockets`: to how many each frame went; `began_ns`: when it came.
    """
    if not tracing.is_on():
        return
    frames: dict[str, list[int]] = defaultdict(list)
    for place, traceparent in traces:
        if isinstance(place, int) and isinstance(traceparent, str):
            frames[traceparent].append(sockets[place])
    for traceparent, reached in frames.items():
        span = tracing.tracer.start_span(
            "notify.deliver",
            context=tracing.parent({tracing.HEADER: traceparent}),
            kind=SpanKind.CONSUMER,
            start_time=began_ns,
            attributes={"notify.frames": len(reached), "notify.sockets": sum(reached)},
        )
        span.end()


def _note(span: Span, outcome: Outcome) -> None:
    if isinstance(outcome, Again):
        span.set_attributes({"notify.outcome": "retrying", "notify.delay_ms": outcome.delay_ms})
    elif isinstance(outcome, Dead):
        span.set_attributes({"notify.outcome": "dead", "notify.reason": outcome.reason})
        span.set_status(Status(StatusCode.ERROR, outcome.reason))
    elif isinstance(outcome, Spread) and outcome.left:
        span.set_attributes({"notify.outcome": "spread", "notify.failed": len(outcome.left)})
    else:
        span.set_attribute("notify.outcome", "stored")
