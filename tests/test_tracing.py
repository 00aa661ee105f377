"""One trace over three processes: from a producer's request, over the worker, to a socket of another web."""

import json
import secrets
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings

from tests import doors
from tests.api import Api
from tests.collector import Collector, Span
from tests.sockets import Socket
from tests.stack import Stack, wait_until
from tests.test_configuration import start

pytestmark = pytest.mark.one_shard_is_enough

MARK = "payload-that-no-span-may-tell"
GATEWAY = (sys.executable, "-m", "notify_project.gateway")
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_EXPORTER_OTLP_TIMEOUT": "1", "NO_PROXY": "127.0.0.1"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    """All kinds of processes, which record."""
    with Stack(tmp_path_factory.mktemp("stack"), NOTIFY_TRACING="1", NOTIFY_RETRY_DELAYS="0.1") as running:
        running.env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **QUICK}
        running.start_worker()
        running.start_scheduler()
        running.start_bulk_worker()
        running.start_dlq_worker()
        running.start_web()
        yield running


def traceparent(trace: str, *, sampled: bool = True) -> str:
    return f"00-{trace}-{secrets.token_hex(8)}-{'01' if sampled else '00'}"


def event(recipient: str, **fields: Any) -> dict[str, Any]:
    return {"recipient": recipient, "type": "test", "title": MARK, "body": MARK, "data": {"of": MARK}, **fields}


def send(api: Api, path: str, body: Any, *, sampled: bool = True) -> tuple[str, Any]:
    """POST in a trace of one's own; its id, and what is answered."""
    trace = secrets.token_hex(16)
    answer = api.post(path, body, traceparent=traceparent(trace, sampled=sampled))
    assert answer.status_code in {201, 202}, answer.text
    return trace, answer.json()


def spans(collector: Collector, trace: str, name: str, count: int = 1) -> list[Span]:
    """So many spans of a trace and a name, once they have come."""
    wait_until(lambda: len(collector.of(trace, name)) >= count, message=f"no {name} in {collector.of(trace)}")
    found = collector.of(trace, name)
    assert len(found) == count, found
    return found


def outcomes(found: list[Span]) -> list[tuple[int, str]]:
    return [(span.attributes["notify.attempt"], span.attributes["notify.outcome"]) for span in found]


def test_one_trace_spans_the_request_the_worker_and_a_socket_of_another_web(
    stack: Stack, api: Api, collector: Collector
) -> None:
    _, url = doors.start_command(stack, GATEWAY)
    trace, given = secrets.token_hex(16), secrets.token_hex(8)
    with Socket(url, api.token("alice")) as socket, Socket(url, api.token("alice")) as second:
        socket.expect("hello")
        second.expect("hello")
        answer = api.post("/api/notify", event("alice"), traceparent=f"00-{trace}-{given}-01", tracestate="vendor=1")
        frame = socket.expect("notification")
    (request,), (store,), (deliver,) = (
        spans(collector, trace, name) for name in ("POST /api/notify", "notify.store", "notify.deliver")
    )
    assert [request.parent, store.parent, deliver.parent] == [given, request.id, store.id]
    assert [request.kind, store.kind, deliver.kind] == ["notify-web", "notify-worker", "notify-web"]
    assert len({request.process, store.process, deliver.process}) == 3
    assert request.began_ns <= store.began_ns <= deliver.began_ns
    assert request.attributes["http.response.status_code"] == 202
    told = {"notify.lane": "live", "notify.source": "api", "notify.type": "test", "notify.events": 1}
    assert store.attributes.items() >= {"notify.id": answer.json()["id"], "notify.attempt": 1, **told}.items()
    assert deliver.attributes == {"notify.frames": 1, "notify.sockets": 2}
    assert trace not in json.dumps(frame)


def test_the_events_of_a_batch_are_spans_of_its_request_and_linked_from_the_workers_batch(
    api: Api, collector: Collector
) -> None:
    trace, _ = send(api, "/api/notify/batch", {"notifications": [event(f"batch-{n}") for n in range(3)]})
    (request,) = spans(collector, trace, "POST /api/notify/batch")
    stored = spans(collector, trace, "notify.store", 3)
    assert {span.parent for span in stored} == {request.id}
    assert len({span.attributes["notify.id"] for span in stored}) == 3
    batches = {link for span in stored for link in span.links}
    wait_until(lambda: all(collector.of(batch, "notify.batch") for batch in batches))
    assert all(collector.of(batch, "notify.batch")[0].links == [trace] for batch in batches)


def test_each_attempt_is_a_span_of_the_same_request(api: Api, collector: Collector) -> None:
    trace, _ = send(api, "/api/notify", event("retried", data={"fault": {"fail": 1}}))
    attempts = spans(collector, trace, "notify.store", 2)
    assert outcomes(attempts) == [(1, "retrying"), (2, "stored")]
    assert len({span.parent for span in attempts}) == 1


def test_a_dead_letter_keeps_its_trace_and_a_replay_goes_on_in_it(stack: Stack, api: Api, collector: Collector) -> None:
    trace, answer = send(api, "/api/notify", event("dies", data={"fault": {"invalid": True}}))
    (died,) = spans(collector, trace, "notify.store")
    assert died.attributes["notify.outcome"] == "dead"
    written = "".join(log.read_text() for log in stack.folder.glob("process-*.log")).splitlines()
    assert [line for line in written if "event.dead" in line and f"trace_id={trace}" in line]
    letter = f"/api/dlq/{answer['id']}"
    wait_until(lambda: api.request(letter).status_code == 200, message="no letter")
    corrected = {"recipient": "dies", "type": "test", "title": MARK}
    assert api.post(f"{letter}/replay", {"notification": corrected}).status_code == 202
    assert outcomes(spans(collector, trace, "notify.store", 2)) == [(1, "dead"), (1, "stored")]


def test_what_waits_for_its_time_keeps_its_trace(api: Api, collector: Collector) -> None:
    trace, answer = send(api, "/api/schedule", {**event("later"), "delay": 1})
    (request,) = spans(collector, trace, "POST /api/schedule")
    (stored,) = spans(collector, trace, "notify.store")
    assert (stored.parent, stored.attributes["notify.id"]) == (request.id, answer["id"])


def test_a_bulk_is_a_span_for_each_of_its_chunks(api: Api, collector: Collector) -> None:
    notification = {name: value for name, value in event("").items() if name != "recipient"}
    recipients = [f"bulk-{n}" for n in range(150)]
    trace, answer = send(api, "/api/bulk", {"recipients": recipients, "notification": notification})
    (request,) = spans(collector, trace, "POST /api/bulk")
    wait_until(lambda: api.get(f"/api/bulk/{answer['id']}")["stored"] == 150)
    wait_until(lambda: sum(span.attributes["notify.events"] for span in collector.of(trace, "notify.store")) == 150)
    chunks = collector.of(trace, "notify.store")
    assert {(span.parent, span.attributes["notify.lane"]) for span in chunks} == {(request.id, "bulk")}
    assert len(chunks) <= max(4, settings.NOTIFY.shards)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "00",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "1" * 16 + "-01-more",
        "00-" + "X" * 32 + "-" + "1" * 16 + "-01",
        "x" * 5000,
    ],
)
def test_a_traceparent_that_is_none_is_ignored(api: Api, collector: Collector, given: str) -> None:
    answer = api.post("/api/notify", event("ignored"), traceparent=given)
    event_id = answer.json()["id"]

    def found() -> list[Span]:
        return [span for span in collector.spans if span.attributes.get("notify.id") == event_id]

    wait_until(found, message="the event has no trace of its own")
    (request,) = spans(collector, found()[0].trace, "POST /api/notify")
    assert (request.parent, request.id) == ("", found()[0].parent)


def test_what_its_producer_does_not_record_is_not_recorded_here(api: Api, collector: Collector) -> None:
    unseen, _ = send(api, "/api/notify", event("unseen"), sampled=False)
    seen, _ = send(api, "/api/notify", event("unseen"))
    spans(collector, seen, "notify.store")
    assert collector.of(unseen) == []


def test_no_span_tells_of_a_payload_or_of_who_looks_after_the_process(api: Api, collector: Collector) -> None:
    """The last but one of this stack's: what all the spans above told."""
    api.get("/healthz")
    trace, _ = send(api, "/api/notify", event("quiet"))
    spans(collector, trace, "notify.store")
    assert MARK not in str(collector.spans)
    assert "quiet" not in str(collector.spans)
    assert not [span for span in collector.spans if "healthz" in str(span)]


def test_a_collector_that_is_away_costs_one_line_and_no_event(stack: Stack, api: Api, collector: Collector) -> None:
    """The last of this stack's, which it ends."""
    web, worker = stack.start_web(), stack.start_worker()
    collector.stop()
    api.notify_all([f"away-{n}" for n in range(1000)])
    away = "SELECT count(*) FROM notifications_notification WHERE recipient LIKE 'away-%'"
    wait_until(lambda: stack.sql(away) == [(1000,)], message="some are lost")
    with Api(stack) as beside:
        wait_until(lambda: beside.notify("alice") and "tracing.dropping" in web.log(), message="nobody says so")
    collector.start()
    with Api(stack) as beside:
        wait_until(lambda: beside.notify("alice") and "tracing.flowing" in web.log(), message="nobody says so")
    assert web.log().count("tracing.dropping") == 1
    collector.stop()
    for process in (web, worker):
        assert "Traceback" not in process.log()
        process.terminate()
        assert process.wait(10) in {0, -15}
    collector.start()


def test_missing_packages_are_one_line_that_says_what_to_install() -> None:
    hidden = "import sys; sys.modules['opentelemetry.sdk'] = None; "
    worker = f"{hidden}sys.argv = ['manage.py', 'worker']; import manage; manage.main()"
    servers = {"DATABASE_URL": "postgresql://x/y", "REDIS_URL": "redis://x"}
    ended = start("-c", worker, NOTIFY_TRACING="1", **servers)
    assert ended.returncode == 1
    assert "pip install -r requirements-tracing.txt" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
