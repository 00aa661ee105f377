"""What an event carries of its trace, and what it does not; the whole way is in tests/test_tracing.py."""

import re
from collections.abc import Sequence

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from structlog.testing import capture_logs

from notifications import events, following, retries, telemetry, tracing
from notifications.events import Draft, Event
from notifications.live.announce import MESSAGE_CHARACTERS, _message, _parts

pytestmark = pytest.mark.one_shard_is_enough

DRAFT = Draft(recipient="alice", type="test", title="A title")
CARRIED = "00-0000000000000000000000000000000a-000000000000000b-01"


def event(traceparent: str | None = None) -> Event:
    return events.accept(DRAFT, events.new_id("alice"), traceparent=traceparent)


def span(flags: int = TraceFlags.SAMPLED, trace_id: int = 10) -> NonRecordingSpan:
    return NonRecordingSpan(SpanContext(trace_id, 11, is_remote=False, trace_flags=TraceFlags(flags)))


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing._Switch, "on", True)


def test_an_event_that_nobody_follows_has_not_a_byte_more() -> None:
    with use_span(span()):
        assert tracing.carried() is None
    encoded = events.encode(event())
    assert b"trace" not in encoded
    assert set(re.findall(rb'"(\w+)":', encoded)) == {b"v", b"id", b"recipient", b"type", b"title", b"data"}


@pytest.mark.usefixtures("recording")
def test_what_an_event_carries_is_w3c_trace_context() -> None:
    with use_span(span()):
        assert tracing.carried() == CARRIED
    assert len(CARRIED) == 55


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("under_way", [span(flags=0), span(trace_id=0)])
def test_a_span_that_is_not_recorded_is_not_carried(under_way: NonRecordingSpan) -> None:
    assert tracing.carried() is None
    with use_span(under_way):
        assert tracing.carried() is None


def test_a_trace_outlives_the_stream_attempts_and_the_copies_of_a_bulk() -> None:
    traced = event(CARRIED)
    assert events.decode(events.encode(traced)) == traced
    assert retries.after_failure(traced, "hot").traceparent == CARRIED
    template = events.template(DRAFT, events.new_id(""), CARRIED)
    assert [copy.traceparent for copy in events.copies(template, ["bob", "carol"])] == [CARRIED, CARRIED]


def test_an_event_of_an_earlier_release_is_read_and_one_of_a_later_as_far_as_it_is_known() -> None:
    encoded = events.encode(event(CARRIED))
    assert events.decode(encoded.replace(b'"traceparent"', b'"of_the_future"')).traceparent is None
    assert events.decode(events.encode(event())).traceparent is None


@pytest.mark.usefixtures("recording")
def test_a_line_tells_the_trace_of_its_event() -> None:
    assert tracing.ids(events.encode(event(CARRIED))) == {"trace_id": "0" * 31 + "a"}
    for payload in (events.encode(event()), events.encode(event("nonsense")), b"\xff", b"[]", b'{"traceparent":7}'):
        assert tracing.ids(payload) == {}


def test_a_message_to_a_gateway_tells_traces_beside_its_frames_and_only_where_there_are_any() -> None:
    assert _message([("alice", "text", None)]) == {"type": "frames", "frames": [("alice", "text")]}
    long = "x" * (MESSAGE_CHARACTERS // 2 + 1)
    parts = _parts([("alice", long, None), ("bob", long, CARRIED), ("carol", "text", None), ("dave", "text", CARRIED)])
    first, second = map(_message, parts)
    assert "traces" not in first
    assert second["traces"] == [(0, CARRIED), (2, CARRIED)]


@pytest.mark.usefixtures("recording")
def test_traces_that_make_no_sense_harm_no_gateway() -> None:
    following.delivered([(0, "nonsense"), (0, 7), ("0", CARRIED)], [1], 0)


class Unsteady(SpanExporter):
    """Sends, and fails to send, as it is told."""

    def __init__(self, *results: SpanExportResult) -> None:
        self._results = iter(results)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - its signature
        return next(self._results)


def test_an_outage_of_the_collector_is_one_line_and_its_end_another(monkeypatch: pytest.MonkeyPatch) -> None:
    sent, failed = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    results = (sent, failed, failed, failed, sent, sent, failed)
    exporter = telemetry.Exporter(Unsteady(*results))
    monkeypatch.setattr(telemetry, "log", structlog.get_logger("tests"))
    with capture_logs() as lines:
        assert tuple(exporter.export([]) for _ in results) == results
    assert [line["event"] for line in lines] == ["tracing.dropping", "tracing.flowing", "tracing.dropping"]
