"""What must be right in a request's headers, before anybody works with them."""

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from twisted.web.http_headers import Headers

from notify_project.gateway import refusals
from notify_project.gateway.refusals import Refusal

# As Django has it, where nobody says what this server is called.
LOCAL = [".localhost", "127.0.0.1", "[::1]"]


def check(headers: Headers, version: bytes, *, bodiless: bool) -> None:
    """Raise Refusal for headers that cannot be, and take out what is not a client's to say."""
    # Daphne would put every address of ours below it, whoever asks. A prefix is set by `--root-path`.
    headers.removeHeader(b"Daphne-Root-Path")
    _check_host(headers.getRawHeaders(b"Host", []), version)
    if any(value.lower() != b"100-continue" for value in headers.getRawHeaders(b"Expect", [])):
        raise Refusal(417, refusals.EXPECTED)
    if headers.hasHeader(b"Upgrade"):
        if not bodiless:
            raise Refusal(400, refusals.NO_BODY)
        if not all(value.isascii() for value in headers.getRawHeaders(b"Sec-WebSocket-Protocol", [])):
            raise Refusal(400, refusals.PROTOCOLS)


def _check_host(hosts: list[bytes], version: bytes) -> None:
    """Django would refuse it too, with a traceback in the log each time that somebody tries."""
    if len(hosts) > 1 or (not hosts and version != b"HTTP/1.0"):
        raise Refusal(400, refusals.ONE_HOST)
    for host in hosts:
        domain, _ = split_domain_port(host.decode("latin-1"))
        if not domain or not validate_host(domain, settings.ALLOWED_HOSTS or LOCAL):
            raise Refusal(400, refusals.FOREIGN_HOST)
