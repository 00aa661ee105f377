"""What records spans and sends them by OTLP. Loaded by tracing.py alone: it takes packages that need not be there.

Where to, how many and under which name is OpenTelemetry's own configuration, the variables OTEL_*.
"""

import os
import threading
from collections.abc import Sequence
from multiprocessing.util import Finalize
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

log = structlog.get_logger("notify.tracing")

# A process that ends has other things to do than to wait for a collector.
LAST_SECONDS: Final = 1.0


class Exporter(SpanExporter):
    """Sends spans, from the thread that keeps them. What cannot be sent is dropped, and said once an outage."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._dropping = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some."""
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed is not self._dropping:
            self._dropping = failed
            if failed:
                log.warning("tracing.dropping", spans=len(spans))
            else:
                log.info("tracing.flowing")
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._exporter.shutdown()


def start(kind: str, name: str) -> None:
    """Record from now on; what another has set up to record already, `opentelemetry-instrument` for one, goes on."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    provider = TracerProvider(resource=_resource(kind, name), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Exporter(OTLPSpanExporter())))
    trace.set_tracer_provider(provider)
    # Not atexit, which a worker that multiprocessing has started, granian's for one, does not come to.
    Finalize(None, _end, args=(provider,), exitpriority=0)


def _resource(kind: str, name: str) -> Resource:
    about = {"service.instance.id": name, "notify.process": kind}
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create(about if named else {"service.name": f"notify-{kind}", **about})


def _end(provider: TracerProvider) -> None:
    """Send what there is, for as long as there is time for that."""
    ending = threading.Thread(target=provider.shutdown, daemon=True)
    ending.start()
    ending.join(LAST_SECONDS)
