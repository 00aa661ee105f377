"""Which schedules carry the trace of the request that made them."""

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from notifications import events, tracing
from notifications.events import Draft
from scheduler import schedule
from scheduler.recurrence import Recurrence
from scheduler.schedule import About

pytestmark = pytest.mark.one_shard_is_enough

DRAFT = Draft(recipient="alice", type="test", title="A title")
SPAN = NonRecordingSpan(SpanContext(10, 11, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)))


ONCE, DAILY = About(at_ms=1), About(recurrence=Recurrence(daily="08:00"))


@pytest.mark.parametrize(("about", "carried"), [(ONCE, f"00-{10:032x}-{11:016x}-01"), (DAILY, None)])
def test_one_that_comes_again_for_years_is_no_part_of_the_request_that_made_it(
    monkeypatch: pytest.MonkeyPatch, about: About, carried: str | None
) -> None:
    monkeypatch.setattr(tracing._Switch, "on", True)
    with use_span(SPAN):
        made = schedule.new(DRAFT, about, 1)
        changed = schedule.changed(made, DRAFT, about, 2)
    for each in (made, changed):
        assert each.event.traceparent == carried
        assert events.decode(schedule.to_kept(each).event) == each.event
