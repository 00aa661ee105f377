"""Sockets whose clients do not read, say too much, or are gone: each is ended, in little memory, and no other minds."""

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import psutil
import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.tcp import Server

from notifications.live.consumers import MAX_WAITING_CHARACTERS, MAX_WAITING_FRAMES, InboxConsumer
from notify_project.gateway import limits
from notify_project.gateway.room import at_once
from tests import doors, raw
from tests.api import Api
from tests.sockets import Socket
from tests.stack import Process, Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

MEGABYTE = 1024 * 1024
BIG = {"x": "y" * 16_000}
COUNT = 2000
BATCH = 250
# Twice as many are sent to who reads late: less than may wait for one client.
LATE = 100
# Long enough for the busiest machine; what is measured is whether something comes at all.
PROMPT_SECONDS = 20
SAMPLE_SECONDS = 0.02
GATEWAY = (sys.executable, "-m", "notify_project.gateway")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A web to send by, and a worker."""
    with Stack(tmp_path_factory.mktemp("stack"), NOTIFY_HEARTBEAT_SECONDS="2") as stack:
        stack.start_web()
        stack.start_worker()
        yield stack


@pytest.fixture(scope="module")
def gateway(servers: Stack) -> tuple[Process, str]:
    """A web for sockets, so that its memory is theirs; it asks soon whether a client is still there."""
    return doors.start_command(servers, GATEWAY, "--ping-interval", "1", "--ping-timeout", "3")


@pytest.fixture
def api(servers: Stack) -> Iterator[Api]:
    with Api(servers) as client:
        yield client


@contextmanager
def opened(url: str, token: str, receive_buffer: int = 0) -> Iterator[socket.socket]:
    """A socket of a client that answers nothing by itself, after its handshake and its hello."""
    with raw.connection(url, receive_buffer) as client:
        client.sendall(raw.handshake(token))
        received = b""
        while b'"hello"' not in received:
            block = client.recv(1024)
            assert block, received
            received += block
        yield client


def test_who_does_not_read_is_let_go_in_bounded_memory_and_others_are_served_meanwhile(
    servers: Stack, api: Api
) -> None:
    process, url = doors.start_command(servers, GATEWAY)
    with ExitStack() as cleanup:
        deaf = [cleanup.enter_context(opened(url, api.token("deaf"), 4096)) for _ in range(6)]
        reader = cleanup.enter_context(Socket(url, api.token("reader")))
        reader.expect("hello")
        with Growth(process.pid) as growth:
            for _ in range(COUNT // BATCH):
                send_big(api, "deaf")
                api.notify("reader", title="a frame in between")
                assert reader.expect("notification", PROMPT_SECONDS)
            for client in deaf:
                wait_until(lambda one=client: not doors.is_connected(process, one), message="it was never let go")  # type: ignore[misc]
    # Six times 32 MB were sent.
    assert growth.most < 50 * MEGABYTE, f"{growth.most / MEGABYTE:.0f} MiB"
    assert process.log() == ""


def test_who_reads_late_gets_every_frame_in_its_order(servers: Stack, api: Api) -> None:
    # Some wait in the kernel, some in the gateway's transport, some in the socket's own queue; more come meanwhile.
    with opened(servers.url, api.token("late"), 4096) as client, ThreadPoolExecutor(1) as beside:
        send_big(api, "late", LATE)
        wait_until(lambda: api.get("/api/recipients/late/unread")["unread"] == LATE)
        sending = [beside.submit(send_big, api, "late", LATE // 20) for _ in range(20)]
        received = bytearray()
        # To take frames apart takes a while, so first it is looked whether the last one has begun.
        while f'"seq":{2 * LATE},'.encode() not in received[-65_536:] or seqs_in(bytes(received))[-1] < 2 * LATE:
            block = client.recv(65_536)
            assert block, received[-500:]
            received += block
        for sent in sending:
            sent.result()
    assert seqs_in(bytes(received)) == list(range(1, 2 * LATE + 1))


def test_nothing_overtakes_what_waits() -> None:
    async def late() -> list[str]:
        consumer, sent, free = InboxConsumer(), list[str](), asyncio.Event()
        has_room = False

        async def send(message: dict[str, Any]) -> None:
            await free.wait()
            sent.append(message["text"])

        def say(text: str) -> bool:
            if has_room:
                sent.append(text)
            return has_room

        consumer.base_send, consumer._open, consumer._say_at_once = send, True, say
        consumer.deliver("first")
        has_room = True
        consumer.deliver("second")
        assert consumer._sender
        free.set()
        await consumer._sender
        consumer.deliver("third")
        return sent

    assert asyncio.run(late()) == ["first", "second", "third"]


@pytest.mark.parametrize(
    ("waiting", "taken", "written", "left"),
    [
        (0, 5, b"frame", b""),
        (0, 2, b"frame", b"ame"),
        (0, 0, b"frame", b"frame"),
        (0, ConnectionLost(), b"frame", b"frame"),
        (1, 5, b"", b"frame"),
    ],
    ids=["all", "a part", "nothing", "lost", "what waits is first"],
)
def test_what_the_kernel_does_not_take_at_once_is_left_to_the_transport(
    waiting: int, taken: int | ConnectionLost, written: bytes, left: bytes
) -> None:
    transport = Transport(waiting, taken)
    at_once(transport, b"frame")
    assert (transport.written, transport.left) == (written, left)


@pytest.mark.parametrize("characters", [10, 100_000])
def test_who_leaves_too_much_unread_is_told_so_by_the_code(characters: int) -> None:
    async def overflow() -> tuple[int, list[dict[str, Any]]]:
        consumer, sent = InboxConsumer(), list[dict[str, Any]]()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if message["type"] == "websocket.send":
                await asyncio.Event().wait()

        consumer.base_send, consumer._open = send, True
        waiting = 0
        while not consumer._ending:
            consumer.deliver("x" * characters)
            waiting += 1
            await asyncio.sleep(0)
        for _ in range(3):
            consumer.deliver("x" * characters)
        await consumer._closing
        assert consumer._sender
        consumer._sender.cancel()
        return waiting, sent

    waiting, sent = asyncio.run(overflow())
    assert waiting - 2 == min(MAX_WAITING_FRAMES, MAX_WAITING_CHARACTERS // characters)
    assert [message["type"] for message in sent] == ["websocket.send", "websocket.close"]
    assert sent[-1]["code"] == 4429


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (raw.frame(b"a" * (limits.MAX_MESSAGE_BYTES + 1)), 1009),
        (raw.frame(b"a" * 200_000, fin=False) + raw.frame(b"a" * 200_000, 0), 1009),
        (raw.frame(b"", fin=False) + raw.frame(b"", 0, fin=False) * (2 * limits.MAX_FRAGMENTS), 1009),
        (raw.frame(b"{", fin=False) + raw.frame(b"", raw.TEXT), 1002),
        (raw.frame(b"", 0), 1002),
        (raw.frame(b"", 3), 1002),
        (raw.frame(b"", 11), 1002),
        (raw.frame(b"a" * 126, raw.PING), 1002),
        (raw.frame(b"", raw.PING, fin=False), 1002),
        (b"\xc1\x80\0\0\0\0", 1002),
        (b"\x81\x02{}", 1002),
        (b"\x81\xff" + b"\xff" * 8 + bytes(4), 1002),
        (raw.frame(b"\xff\xfe"), 1007),
        (raw.frame(b"\xe2\x82"), 1007),
    ],
)
def test_a_frame_that_breaks_the_protocol_closes_the_socket_with_the_code_for_it(
    servers: Stack, api: Api, sent: bytes, code: int
) -> None:
    with opened(servers.url, api.token("rude")) as client:
        client.sendall(sent)
        received = b""
        while raw.close_code(received) is None:
            block = client.recv(65536)
            assert block, received
            received += block
        assert raw.close_code(received) == code


def test_a_client_that_is_gone_without_a_word_is_noticed_by_its_silence(gateway: tuple[Process, str], api: Api) -> None:
    process, url = gateway
    with opened(url, api.token("gone")) as gone, Socket(url, api.token("there")) as there:
        # Its kernel would take what is sent for a long time; what it misses are the answers to pings.
        wait_until(lambda: not doors.is_connected(process, gone), message="it was never missed")
        there.send(type="ping")
        assert there.expect("pong")


@pytest.mark.parametrize(
    "said",
    [raw.frame(b"p" * 125, raw.PING), raw.frame(b'{"type":"ping"}'), raw.frame(b"x" * 60_000), raw.frame(b"")],
    ids=["pings", "frames", "large nonsense", "empty"],
)
def test_who_talks_on_and_never_reads_is_ended_in_bounded_memory(
    gateway: tuple[Process, str], api: Api, said: bytes
) -> None:
    process, url = gateway
    with opened(url, api.token("talks"), 4096) as client, Socket(url, api.token("quiet")) as quiet:
        client.settimeout(1)
        with Growth(process.pid) as growth, Talking(client, said):
            for _ in range(5):
                quiet.send(type="ping")
                assert quiet.expect("pong", PROMPT_SECONDS)
            wait_until(lambda: not doors.is_connected(process, client), message="it was never ended")
    assert growth.most < 40 * MEGABYTE, f"{growth.most / MEGABYTE:.0f} MiB"
    assert process.log() == ""


class Transport(Server):  # type: ignore[misc]  # skipped, see pyproject.toml
    """A connection whose kernel takes so many bytes, and which keeps what else it is given."""

    connected = True

    def __init__(self, waiting: int, taken: int | ConnectionLost) -> None:
        self._tempDataLen = waiting
        self._taken = taken
        self.written = self.left = b""

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:  # noqa: N802 - Twisted's
        self.written += data
        return self._taken

    def write(self, data: bytes) -> None:
        self.left += data


def send_big(api: Api, recipient: str, number: int = BATCH) -> None:
    """Send a recipient many large notifications; a rate that is passed is waited for."""
    event = {"recipient": recipient, "type": "t", "title": "t", "data": BIG}

    def accepted() -> bool:
        answer = api.post("/api/notify/batch", {"notifications": [event] * number})
        assert answer.status_code in {202, 429}, answer.text
        return answer.status_code == 202

    wait_until(accepted, message="never accepted")


def seqs_in(received: bytes) -> list[int]:
    """The `seq` of each notification in what a socket was sent."""
    shown = [json.loads(payload) for opcode, payload in raw.frames(received) if opcode == raw.TEXT]
    return [frame["notification"]["seq"] for frame in shown if frame["type"] == "notification"]


class Talking(threading.Thread):
    """Sends the same again and again, for as long as somebody takes it."""

    def __init__(self, client: socket.socket, said: bytes) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._said = said * (65536 // len(said) + 1)
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self._client.sendall(self._said)
            except TimeoutError:
                continue
            except OSError:
                return


class Growth(threading.Thread):
    """By how many bytes a process' memory grew at most."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._before = self._process.memory_info().rss
        self._over = threading.Event()
        self.most = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self.most = max(self.most, self._process.memory_info().rss - self._before)
