"""The port on which a process without a web says how it is: /healthz, /readyz and /metrics.

One small server in threads of its own, so that it answers while the work hangs. It is for whoever looks after the
process, on this machine or in its network, and not for the world.
"""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import structlog

from notifications import dependencies, scrape

log = structlog.get_logger("notify.process")

# For a client's part of a request.
PATIENCE_SECONDS: Final = 5.0
MAX_CLIENTS: Final = 16
JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"

Answer = tuple[int, bytes, str]


class HealthPort:
    """The server. `work` names each duty and says `ok`, or what keeps it."""

    def __init__(self, host: str, port: int, work: Callable[[], Mapping[str, str]]) -> None:
        """Take the port. Raises SystemExit, with one line, where that is not possible."""
        try:
            self._server = _Server((host, port), _Handler)
        except OSError as error:
            reason = error.strerror or error
            raise SystemExit(f"notify: NOTIFY_HEALTH_PORT: cannot listen on {host}:{port}: {reason}") from None
        self._server.work = work

    def start(self) -> None:
        """Begin to answer; until the process ends."""
        threading.Thread(target=self._server.serve_forever, name="notify-health", daemon=True).start()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    work: Callable[[], Mapping[str, str]]

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - http.server's
        super().__init__(*args)
        self._free = threading.Semaphore(MAX_CLIENTS)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002
        # Who asked and went is nobody's fault.
        if not isinstance(error := sys.exception(), OSError):
            log.error("health.failed", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE_SECONDS
    server_version = "notify"
    sys_version = ""

    def do_GET(self) -> None:
        paths = {"/healthz": self._alive, "/readyz": self._ready, "/metrics": self._metrics}
        found = paths.get(self.path.partition("?")[0], self._nothing)
        # Who asked may be gone.
        with suppress(OSError):
            self._send(*found())

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *_: Any) -> None:  # noqa: ANN401
        """Not a line for every look."""

    def _alive(self) -> Answer:
        return 200, _json({"status": "ok"}), JSON

    def _ready(self) -> Answer:
        checks = {**dependencies.look(), **self.server.work()}
        ready = all(answer == dependencies.OK for answer in checks.values())
        shown = {"status": "ok" if ready else "unavailable", "checks": checks}
        return 200 if ready else 503, _json(shown), JSON

    def _metrics(self) -> Answer:
        refusal = scrape.refusal(self.client_address[0], self.headers.get("Authorization", ""))
        if refusal:
            return _problem(*refusal)
        return 200, *scrape.text(self.headers.get("Accept", ""))

    def _nothing(self) -> Answer:
        return _problem(404, "There are /healthz, /readyz and /metrics.")

    def _send(self, status: int, body: bytes, media_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _problem(status: int, detail: str) -> Answer:
    title = BaseHTTPRequestHandler.responses[status][0]
    return status, _json({"type": "about:blank", "title": title, "status": status, "detail": detail}), PROBLEM


def _json(shown: Mapping[str, object]) -> bytes:
    return json.dumps(shown).encode()
