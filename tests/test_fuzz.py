"""Bytes that make no sense, in hundreds of ways that are the same each time, against the real web.

Whatever comes: no 500, no traceback, no memory that stays, and the next client is served as if nothing had been.
"""

import random
import re
import select
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest

from tests import raw
from tests.api import Api
from tests.sockets import Socket
from tests.stack import Process, Stack

pytestmark = pytest.mark.one_shard_is_enough

SEED = 20_260_131
# As many clients at once as one recipient may have sockets.
CLIENTS = 20
ROUNDS = 8
# When none of them hears anything for so long, what is not answered waits for more.
QUIET_SECONDS = 0.3
MEGABYTE = 1024 * 1024
PATHS = (
    "/",
    "/healthz",
    "/api/notify",
    "/api/notify/batch",
    "/api/bulk",
    "/api/notifications",
    "/api/recipients/alice/unread",
    "/api/schedule",
    "/ws/inbox/",
    "/admin/login/",
    "/static/notify/inbox.js",
)
EVENT = b'{"recipient": "alice", "type": "t", "title": "t", "data": {"a": [1, 2.5, null, "\\u00e9"]}}'
ODD = (
    b"\0",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"%",
    b"%00",
    b"%ff",
    b"..",
    b"//",
    b"\x85",
)
ODD_HEADERS = (
    b"Content-Length: 18446744073709551616",
    b"Content-Length: +5",
    b"Content-Length: 5, 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: \x0bchunked",
    b"Expect: 100-continue",
    b"Connection: upgrade, close",
    b"Upgrade: h2c",
    b"Upgrade: websocket",
    b"Host: [::1",
    b"Host: a b",
    b"Cookie: sessionid=\xff; csrftoken=;;;=",
    b"Authorization: Bearer \xe9",
    b"Authorization: Bearer " + b"nk_" * 1000,
    b"Idempotency-Key: \xe9",
    b"Content-Type: application/x-ndjson; charset=\xff",
    b"Content-Type: multipart/form-data; boundary=",
    b"Content-Encoding: gzip",
    b"Range: bytes=5-1,--",
    b"If-Modified-Since: yesterday",
    b'If-None-Match: W/"',
    b"Accept: */*;q=2",
    b"X-Forwarded-For: ::, \xff",
    b"Origin: http://[",
    b"Referer: \xe9://",
    b"traceparent: 00-zz-1-1",
    b"Daphne-Root-Path: /%ff",
    b" folded",
)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Process]]:
    """A web as `up` starts it."""
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack, stack.start_web()


def shuffled(chance: random.Random, text: bytes) -> bytes:
    """Some bytes with a few of them changed, lost, doubled or moved, or odd ones put between."""
    for _ in range(chance.randint(1, 4)):
        at, to = sorted(chance.choices(range(len(text) + 1), k=2))
        text = chance.choice(
            (
                text[:at] + chance.randbytes(chance.randint(1, 3)) + text[at:],
                text[:at] + chance.choice(ODD) + text[at:],
                text[:at] + text[at + 1 :],
                text[:to] + text[at:],
                text[:at] + text[at:to] * chance.randint(2, 9) + text[to:],
                text[:at],
            )
        )
    return text


def heads(chance: random.Random, stack: Stack) -> bytes:
    """A request whose line or headers are broken."""
    known = f"Authorization: Bearer {stack.api_key}"
    method = chance.choice(("GET", "POST", "PUT", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get"))
    sent = raw.request(method, chance.choice(PATHS), known, f"Content-Length: {len(EVENT)}", body=EVENT)
    head, _, body = sent.partition(b"\r\n\r\n")
    head = b"\r\n".join([head, *chance.choices(ODD_HEADERS, k=chance.randint(0, 3))])
    return (shuffled(chance, head) if chance.random() < 0.7 else head) + b"\r\n\r\n" + body


def bodies(chance: random.Random, stack: Stack) -> bytes:
    """A request with a broken body, whose length is right or not, whole or in pieces."""
    kind = chance.choice(("json", "json", "x-ndjson", "octet-stream"))
    body = shuffled(chance, chance.choice((EVENT, b'{"notifications": [' + EVENT + b"]}", EVENT + b"\nalice\nbob")))
    headers = [f"Authorization: Bearer {stack.api_key}", f"Content-Type: application/{kind}"]
    path = chance.choice([path for path in PATHS if path.startswith("/api/")])
    if chance.random() < 0.5:
        pieces = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) + chance.choice((0, 0, -1, 1, 2**70)), body)
        return raw.request("POST", path, *headers, "Transfer-Encoding: chunked", body=shuffled(chance, pieces))
    stated = f"Content-Length: {max(0, len(body) + chance.choice((0, 0, 0, -3, 3)))}"
    return raw.request("POST", path, *headers, stated, body=body)


def handshakes(chance: random.Random, stack: Stack) -> bytes:
    """A broken request for a WebSocket, and a frame."""
    sent = raw.handshake(
        chance.choice(("", "a.b.c", stack.api_key, "\xe9")), chance.choice(("/ws/inbox/", "/ws/x", "/ws/%ff"))
    )
    head, _, _ = sent.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if chance.random() < 0.5:
        lines.remove(chance.choice(lines[1:]))
    lines += chance.choices(
        (
            *ODD_HEADERS,
            b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99",
            b"Sec-WebSocket-Extensions: =;,",
        ),
        k=chance.randint(0, 2),
    )
    lines[-1] = shuffled(chance, lines[-1])
    return b"\r\n".join(lines) + b"\r\n\r\n" + raw.frame(b"{}")


def frames(chance: random.Random, stack: Stack) -> bytes:
    """Broken frames, after a handshake that is not."""
    sent = b""
    for _ in range(chance.randint(1, 6)):
        said = chance.choice(
            (b'{"type":"ping"}', b'{"type":"resume","after":0}', b'{"type":"read","ids":[]}', b"\xff", b"")
        )
        kind, length = chance.randrange(256), chance.choice((len(said), 0, 125, 126, 127))
        whole = raw.frame(shuffled(chance, said), chance.choice((0, 1, 1, 2, 8, 9, 10)), fin=chance.random() < 0.7)
        sent += chance.choice(
            (whole, shuffled(chance, whole), bytes((kind, length)) + said, struct.pack("!BBQ", kind, 255, 2**62))
        )
    return sent


def answers(url: str, nonsense: list[bytes], opening: bytes) -> list[bytes]:
    """What comes back to each of many clients at once, until it is closed or nobody hears any more."""
    received = dict.fromkeys(range(len(nonsense)), b"")
    with ExitStack() as cleanup:
        clients = {cleanup.enter_context(raw.connection(url)): number for number in received}
        for client, number in clients.items():
            if opening:
                client.sendall(opening)
                while b'"hello"' not in received[number]:
                    received[number] += client.recv(1000)
            with suppress(ConnectionError):
                client.sendall(nonsense[number])
        while clients and (ready := select.select(list(clients), [], [], QUIET_SECONDS)[0]):
            for client in ready:
                try:
                    block = client.recv(65536)
                except ConnectionError:
                    block = b""
                received[clients[client]] += block
                if not block:
                    del clients[client]
    return list(received.values())


@pytest.mark.parametrize("kind", [heads, bodies, handshakes, frames])
def test_nonsense_is_answered_or_cut_and_harms_nobody(
    web: tuple[Stack, Process], kind: Callable[[random.Random, Stack], bytes]
) -> None:
    stack, process = web
    chance = random.Random(f"{SEED} {kind.__name__}")  # noqa: S311 - the same each time
    with Api(stack) as api:
        opening = raw.handshake(api.token("fuzz")) if kind is frames else b""
        before = psutil.Process(process.pid).memory_info().rss
        answered = 0
        for _ in range(ROUNDS):
            nonsense = [kind(chance, stack) for _ in range(CLIENTS)]
            for sent, received in zip(nonsense, answers(stack.url, nonsense, opening), strict=True):
                statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", received)]
                answered += any(statuses)
                assert not [status for status in statuses if status >= 500], (sent, received)
                assert process.returncode is None, sent
        assert answered > ROUNDS * CLIENTS / 2
        assert api.get("/healthz") == {"status": "ok"}
        assert api.notify("afterwards")
        with Socket(stack.url, api.token("afterwards")) as after:
            assert after.receive()["type"] == "hello"
        grown = psutil.Process(process.pid).memory_info().rss - before
        assert grown < 40 * MEGABYTE, f"{grown / MEGABYTE:.0f} MiB"
    assert "Traceback" not in process.log()
    assert "gateway.failed" not in process.log()
    assert "api.failed" not in process.log(), process.log()
