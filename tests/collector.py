"""A collector of spans, as OpenTelemetry's is: OTLP over HTTP, protobuf, on a free port of the loopback."""

import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.stack import HOST, free_port


class Span(NamedTuple):
    """A span as it came. `process` is the instance that recorded it; ids are hexadecimal, `parent` empty for a root."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    links: list[str]
    kind: str
    process: str
    began_ns: int
    ended_ns: int


class Collector:
    """Takes spans while it is entered."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.spans += _spans(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._handler = Handler
        self._port = free_port()
        self.url = f"http://{HOST}:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Take spans."""
        self._server = ThreadingHTTPServer((HOST, self._port), self._handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Take none until it is started again, at the same address."""
        self._server.shutdown()
        self._server.server_close()

    def of(self, trace: str, name: str = "") -> list[Span]:
        """What has come of a trace, of one name or all, in the order in which it began."""
        found = [span for span in tuple(self.spans) if span.trace == trace and name in {"", span.name}]
        return sorted(found, key=lambda span: span.began_ns)


def _spans(request: ExportTraceServiceRequest) -> Iterable[Span]:
    for resource in request.resource_spans:
        about = _values(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    attributes=_values(span.attributes),
                    links=[link.trace_id.hex() for link in span.links],
                    kind=about["service.name"],
                    process=about["service.instance.id"],
                    began_ns=span.start_time_unix_nano,
                    ended_ns=span.end_time_unix_nano,
                )


def _values(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in attributes}
