"""A customer's own web: another origin, with pages that show `<notify-inbox>` and an address that hands out tokens."""

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

HOST: Final = "127.0.0.1"
# As strict as a page can be that has nothing but the element: no style but from scripts, and Trusted Types.
POLICY: Final = (
    "default-src 'none'; script-src {notify} 'nonce-page'; connect-src 'self' {notify} {sockets}; "
    "require-trusted-types-for 'script'; style-src 'nonce-page'; img-src data:"
)
PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>A shop</title><link rel="icon" href="data:,">
<style nonce="page">{style}</style>
<script nonce="page">
  window.told = [];
  for (const name of ["notify-unread", "notify-notification", "notify-click"]) {{
    addEventListener(name, (event) => told.push([name, event.detail]));
  }}
  {script}
</script>
<script type="module" src="{notify}/static/notify/notify-inbox.js"></script>
{body}
"""

Answer = tuple[int, dict[str, Any]]


class Customer:
    """Serves one page, and `/token?of=recipient`, on a free port of loopback."""

    def __init__(self) -> None:
        self.notify = ""
        self.body = self.style = self.script = ""
        # What the address for tokens answers, and whom it was asked for.
        self.token: Callable[[str], Answer] = lambda _recipient: (HTTPStatus.NOT_FOUND, {})
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def shows(self, body: str, *, style: str = "", script: str = "") -> None:
        """What the page has from now on; nobody was asked for a token yet."""
        self.body, self.style, self.script = body, style, script
        self.asked = []

    def page(self) -> tuple[str, str]:
        """The page, and its policy."""
        policy = POLICY.format(notify=self.notify, sockets=self.notify.replace("http", "ws"))
        return PAGE.format(notify=self.notify, body=self.body, style=self.style, script=self.script), policy


def _handler(customer: Customer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            if address.path == "/token":
                recipient = parse_qs(address.query)["of"][0]
                customer.asked.append(recipient)
                status, answer = customer.token(recipient)
                self._answer(status, "application/json", json.dumps(answer))
            else:
                page, policy = customer.page()
                self._answer(HTTPStatus.OK, "text/html", page, policy)

        def _answer(self, status: int, kind: str, text: str, policy: str = "") -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if policy:
                self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Say nothing."""

    return Handler
