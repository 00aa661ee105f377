"""What the web does not let in: too large, too slow, not HTTP. Over real connections, byte by byte where it matters."""

import re
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from notifications.api.base import MAX_BATCH_BYTES, MAX_SINGLE_BYTES
from notifications.live import consumers
from notify_project.gateway import limits
from notify_project.local.children import PROJECT
from tests import doors, raw
from tests.doors import SHORT_TIMES
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

MEGABYTE = 1024 * 1024
JSON = "Content-Type: application/json"
LINES = "Content-Type: application/x-ndjson"
CHUNKED = "Transfer-Encoding: chunked"
CONTINUE = "Expect: 100-continue"
SIZES = [
    ("POST", "/api/notify", JSON, MAX_SINGLE_BYTES),
    ("POST", "/api/notify/batch", JSON, MAX_BATCH_BYTES),
    ("POST", "/api/n%6ftify/batch?x=1", JSON, MAX_BATCH_BYTES),
    ("POST", "/api/bulk", JSON, 10 * MEGABYTE),
    ("PUT", "/api/bulk", LINES, 10 * MEGABYTE),
    ("POST", "/api/schedule", LINES, MAX_SINGLE_BYTES),
    ("PATCH", "/api/nowhere", JSON, MAX_SINGLE_BYTES),
    ("GET", "/api/notifications", JSON, MAX_SINGLE_BYTES),
    ("POST", "/admin/login/", "Content-Type: application/x-www-form-urlencoded", 10 * MEGABYTE),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A web as `up` starts it."""
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        stack.start_web()
        yield stack


@pytest.fixture
def client(servers: Stack) -> Iterator[socket.socket]:
    with raw.connection(servers.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def hasty(servers: Stack) -> str:
    """A web whose times are short."""
    return doors.start(servers, doors.HASTY)[1]


def key(stack: Stack) -> str:
    return f"Authorization: Bearer {stack.api_key}"


@pytest.mark.parametrize(("method", "path", "kind", "limit"), SIZES)
def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(
    client: socket.socket, method: str, path: str, kind: str, limit: int
) -> None:
    client.sendall(raw.request(method, path, kind, CONTINUE, f"Content-Length: {limit + 1}"))
    assert raw.problem(client) == (413, f"The body must be at most {limit} bytes.")
    assert raw.until_closed(client) == b""


@pytest.mark.parametrize(("method", "path", "kind", "limit"), SIZES)
def test_a_body_of_the_very_limit_is_let_in(
    client: socket.socket, method: str, path: str, kind: str, limit: int
) -> None:
    client.sendall(raw.request(method, path, kind, CONTINUE, f"Content-Length: {limit}"))
    assert client.recv(100).startswith(b"HTTP/1.1 100 ")


def test_a_chunked_body_is_cut_where_it_becomes_too_large(client: socket.socket) -> None:
    client.sendall(raw.request("POST", "/api/notify", JSON, CHUNKED))
    send_until_answered(client, chunked=True)
    assert raw.problem(client) == (413, f"The body must be at most {MAX_SINGLE_BYTES} bytes.")


def test_who_sends_all_of_it_all_the_same_reads_why_not(client: socket.socket) -> None:
    client.sendall(raw.request("POST", "/api/notify", JSON, f"Content-Length: {30 * MEGABYTE}") + b" " * 30 * MEGABYTE)
    assert raw.problem(client) == (413, f"The body must be at most {MAX_SINGLE_BYTES} bytes.")
    assert raw.until_closed(client) == b""


@pytest.mark.parametrize("stated", [f"Content-Length: {11 * MEGABYTE}", CHUNKED])
def test_a_list_without_end_is_taken_of_known_callers_only(servers: Stack, stated: str) -> None:
    for headers, status in (
        ((), 401),
        (("Authorization: Bearer nk_of-nobody",), 401),
        (("Authorization: Bearer a.b.c",), 401),
        (("Authorization: Basic YTpi",), 401),
    ):
        with raw.connection(servers.url) as client:
            client.sendall(raw.request("POST", "/api/bulk", LINES, stated, *headers))
            send_until_answered(client, chunked=stated == CHUNKED)
            assert raw.problem(client)[0] == status


def test_a_scope_that_does_not_send_sends_no_list_either(servers: Stack) -> None:
    reading = servers.manage("create_api_key", "reads", "--scope", "read").stdout
    (secret,) = [word for word in reading.split() if word.startswith("nk_")]
    with raw.connection(servers.url) as client:
        stated = (LINES, f"Content-Length: {11 * MEGABYTE}", f"Authorization: Bearer {secret}")
        client.sendall(raw.request("POST", "/api/bulk", *stated))
        assert raw.problem(client) == (403, "This needs the scope 'send'.")


def test_a_disk_that_is_full_is_an_answer_and_no_crash(servers: Stack) -> None:
    process, url = doors.start(servers, doors.CRAMPED)
    for stated in (f"Content-Length: {3 * MEGABYTE}", CHUNKED):
        with raw.connection(url) as client:
            client.sendall(raw.request("POST", "/api/bulk", LINES, stated, key(servers)))
            send_until_answered(client, chunked=stated == CHUNKED)
            assert raw.problem(client)[0] == 507
    with raw.connection(url) as client:
        client.sendall(raw.request("GET", "/healthz"))
        assert raw.answer(client)[0] == 200
    assert "Traceback" not in process.log()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (raw.request("GET", "/" + "a" * limits.MAX_HEAD_BYTES), 414),
        (b"GET /" + b"a" * 2 * limits.MAX_HEAD_BYTES, 414),
        (raw.request("GET", "/healthz", "A: " + "a" * limits.MAX_HEAD_BYTES), 431),
        (raw.request("GET", "/healthz", *[f"A{n}: {'a' * 1000}" for n in range(20)]), 431),
        (raw.request("GET", "/healthz", *["A: b"] * (limits.MAX_HEADERS + 1)), 431),
        (raw.request("GET", "/healthz", CONTINUE.replace("100-continue", "tea")), 417),
        (raw.request("GET", "/healthz", "no header"), 400),
        (raw.request("GET", "/healthz", "Host: localhost"), 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        (raw.request("GET", "/healthz", "A b: c"), 400),
        (raw.request("GET", "/healthz", "A: \0"), 400),
        (raw.request("GET", "/healthz", "A: \x0b"), 400),
        (raw.request("GET", "/h\xe4lthz"), 400),
        (raw.request("GET", "/healthz", "Content-Length: many"), 400),
        (raw.request("GET", "/healthz", "Content-Length: -1"), 400),
        (raw.request("GET", "/healthz", "Content-Length: 1", "Content-Length: 2"), 400),
        (raw.request("POST", "/api/notify", "Content-Length: 1", CHUNKED), 400),
        (raw.request("POST", "/api/notify", "Transfer-Encoding: gzip, chunked"), 400),
        (raw.request("POST", "/api/notify", CHUNKED, body=b"nonsense\r\n"), 400),
        (raw.request("POST", "/api/notify", CHUNKED, body=b"5\r\nabcdefgh\r\n"), 400),
        (raw.request("POST", "/api/notify", CHUNKED, body=b"f" * 9000), 400),
        (raw.handshake("x").replace(b"Upgrade: web", b"Content-Length: 5\r\nUpgrade: web") + b"hello", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 400),
    ],
)
def test_what_is_not_http_or_too_much_of_it_is_answered_as_a_problem(
    client: socket.socket, sent: bytes, status: int
) -> None:
    client.sendall(sent)
    assert raw.problem(client)[0] == status


def test_requests_that_come_at_once_are_answered_in_their_order_on_one_connection(client: socket.socket) -> None:
    body = b'{"type": "ping"}'
    one = raw.request("GET", "/healthz") + raw.request(
        "POST", "/api/notify", JSON, f"Content-Length: {len(body)}", body=body
    )
    client.sendall(2 * one + raw.request("GET", "/nowhere", "Connection: close"))
    received = raw.until_closed(client)
    assert re.findall(rb"HTTP/1.1 (\d+) ", received) == [b"200", b"401", b"200", b"401", b"404"]


def test_a_client_does_not_choose_below_which_address_ours_are(client: socket.socket) -> None:
    client.sendall(raw.request("GET", "/admin/", "Daphne-Root-Path: //evil.example"))
    status, headers, _ = raw.answer(client)
    assert (status, headers["location"]) == (302, "/admin/login/?next=/admin/")


def test_who_is_too_slow_is_told_so_and_who_says_nothing_is_let_go(hasty: str) -> None:
    body = ("POST", "/api/notify", JSON)
    slow = {
        "a head": (b"GET /healthz HTTP/1.1\r\nHost: ", b"a"),
        "a head that stops": (b"G", b""),
        "a body": (raw.request(*body, "Content-Length: 9999"), b"a"),
        "a body that stops": (raw.request(*body, "Content-Length: 9999", body=b"{"), b""),
        "a chunked body": (raw.request(*body, CHUNKED), b"1\r\na\r\n"),
        "a list": (raw.request("POST", "/api/bulk", LINES, CHUNKED), b"1\r\na\r\n"),
        "a second request": (raw.request("GET", "/healthz") + b"G", b"E"),
    }
    silent = {"nothing": (b"", b""), "nothing more": (raw.request("GET", "/healthz"), b"")}
    received = trickled(hasty, slow | silent)
    for name in slow:
        assert b"HTTP/1.1 408 Request Timeout\r\n" in received[name], name
        assert b"The request came too slowly." in received[name], name
    assert received["nothing"] == b""
    assert received["nothing more"].count(b"HTTP/1.1 ") == 1


def test_a_slow_but_steady_body_is_waited_for(hasty: str, servers: Stack) -> None:
    event = b'{"recipient": "alice", "type": "t", "title": "t", "body": "%s"}' % (b"a" * 4000)
    padding = b" " * 1000
    blocks = [event, *[padding] * 15]
    with raw.connection(hasty) as client:
        stated = f"Content-Length: {len(b''.join(blocks))}"
        client.sendall(raw.request("POST", "/api/notify", JSON, stated, key(servers)))
        begin = time.monotonic()
        for number, block in enumerate(blocks):
            # A block each fifth of a second is five times as fast as it must be.
            wait_until(lambda due=begin + number / 5: time.monotonic() >= due)  # type: ignore[misc]
            client.sendall(block)
        assert raw.answer(client)[0] == 202
        assert time.monotonic() - begin > SHORT_TIMES["BODY_IDLE_SECONDS"]


def test_who_does_not_read_answers_is_cut_off_and_holds_little_meanwhile(servers: Stack) -> None:
    process, url = doors.start(servers, doors.HASTY)
    web = psutil.Process(process.pid)
    asked = raw.request("GET", "/static/vendor/tabler-1.6.1/tabler.min.css")
    with raw.connection(url) as client:
        client.sendall(asked)
        size = len(raw.answer(client)[2])
    before = web.memory_info().rss
    with raw.connection(url, receive_buffer=4096) as client:
        client.sendall(asked * 100)
        wait_until(lambda: not doors.is_connected(process, client), message="it was never cut off")
    assert web.memory_info().rss - before < 100 * size / 3


def test_a_web_with_half_requests_in_it_stops_in_order(servers: Stack) -> None:
    process, url = doors.start_command(servers, (sys.executable, "-m", "notify_project.gateway"))
    with raw.connection(url) as head, raw.connection(url) as body, raw.connection(url) as idle:
        head.sendall(b"GET / HTTP/1.1\r\n")
        body.sendall(raw.request("POST", "/api/notify", JSON, "Content-Length: 100", body=b"{"))
        idle.sendall(raw.request("GET", "/healthz"))
        assert raw.answer(idle)[0] == 200
        process.terminate()
        assert process.wait(5) in {0, -15}
    assert process.log() == ""


def test_daphne_by_itself_serves_without_these_limits(servers: Stack) -> None:
    daphne = (sys.executable, "-m", "daphne", "-v", "0", "notify_project.asgi:application")
    _, url = doors.start_command(servers, daphne)
    body = b'{"type": "news", "title": "t"}\n' + b"alice\n" * 50_000
    with raw.connection(url) as client:
        stated = (LINES, f"Content-Length: {len(body)}", key(servers))
        client.sendall(raw.request("POST", "/api/bulk", *stated, body=body))
        assert raw.answer(client)[0] == 202


def test_the_page_of_limits_says_what_is_so() -> None:
    page = (PROJECT / "docs" / "limits.md").read_text()
    sizes = [limit for *_, limit in SIZES]
    sizes += [limits.MAX_HEAD_BYTES, limits.MAX_HEADERS, limits.MIN_BYTES_PER_SECOND]
    sizes += [
        limits.MAX_MESSAGE_BYTES,
        limits.MAX_FRAGMENTS,
        limits.MAX_UNREAD_MESSAGES,
        consumers.MAX_FRAME_CHARACTERS,
    ]
    sizes += [consumers.MAX_WAITING_FRAMES, consumers.MAX_WAITING_CHARACTERS]
    assert [size for size in sizes if not re.search(rf"\b{size}\b", page)] == []
    times = [getattr(limits, name) for name in (*SHORT_TIMES, "CLOSE_SECONDS")]
    assert [seconds for seconds in times if not re.search(rf"\b{seconds:.0f} s\b", page)] == []


def test_no_refusal_was_an_error_of_ours(servers: Stack) -> None:
    """The last of the file: what the web wrote while it refused all of the above."""
    log = (servers.folder / "process-1.log").read_text()
    assert log == ""


def send_until_answered(client: socket.socket, *, chunked: bool) -> None:
    """Send a body without end, for as long as it is taken and not answered."""
    block = b"alice\n" * 10_000
    left = piece = b"%x\r\n%b\r\n" % (len(block), block) if chunked else block
    deadline = time.monotonic() + raw.SECONDS
    while time.monotonic() < deadline:
        readable, writable, _ = select.select([client], [client], [], raw.SECONDS)
        if readable:
            return
        if writable:
            left = left[client.send(left) :] or piece
    raise AssertionError("never answered")


def trickled(url: str, clients: dict[str, tuple[bytes, bytes]]) -> dict[str, bytes]:
    """What each client received until it was closed. It sends its first bytes at once, the others again and again."""
    with ExitStack() as cleanup:
        opened = {name: cleanup.enter_context(raw.connection(url)) for name in clients}
        received = dict.fromkeys(clients, b"")
        for name, (first, _) in clients.items():
            opened[name].sendall(first)
        deadline = time.monotonic() + raw.SECONDS
        while opened:
            assert time.monotonic() < deadline, f"never closed: {list(opened)}"
            readable = select.select(list(opened.values()), [], [], 0.1)[0]
            for name, client in list(opened.items()):
                if client in readable:
                    block = client.recv(65536)
                    received[name] += block
                    if not block:
                        del opened[name]
                elif not received[name].endswith(b"}"):
                    client.sendall(clients[name][1])
    return received
