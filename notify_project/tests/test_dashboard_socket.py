"""`/ws/dashboard/`: who may watch, what arrives, and what slow browsers and outages do to it."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisSingleShardConnection
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from notifications.live.dashboard import MAX_UNDER_WAY, Teller, tell
from notify_project.dashboard import socket
from notify_project.dashboard.socket import MAX_WAITING_FRAMES, DashboardConsumer, Gateway, is_staff
from tests.dashboards import COOKIE, session_of
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

RECEIVE_SECONDS = 20
# What the dashboard says by itself (test_dashboard_ticker.py).
OWN = {"flow", "point", "processes"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.start_web()
        yield running


@pytest.fixture
def _telling(stack: Stack, settings: Any) -> None:
    """This process is one of the deployment's, as far as the channel layer goes."""
    layer = settings.CHANNEL_LAYERS["default"]
    hosts = [{**layer["CONFIG"]["hosts"][0], "address": stack.env.get("CHANNEL_REDIS_URL", stack.valkey.url)}]
    settings.CHANNEL_LAYERS = {"default": {**layer, "CONFIG": {**layer["CONFIG"], "hosts": hosts}}}


def watch(stack: Stack, session: str = "", **headers: str) -> AbstractContextManager[ClientConnection]:
    """Open a socket with a session, as a browser does."""
    cookie = {"Cookie": f"other=1; {COOKIE}={session}"} if session else {}
    address = stack.url.replace("http", "ws", 1) + "/ws/dashboard/"
    return connect(address, additional_headers={"Origin": stack.url, **cookie, **headers}, proxy=None)


def receive(socket: ClientConnection, seconds: float = RECEIVE_SECONDS) -> Any:
    """The next frame of those that others tell."""
    deadline = time.monotonic() + seconds
    while (frame := json.loads(socket.recv(max(0.01, deadline - time.monotonic()))))["type"] in OWN:
        pass
    return frame


def close_code(socket: ClientConnection) -> int:
    """The code that the server closes with; frames before it are dropped."""
    deadline = time.monotonic() + RECEIVE_SECONDS
    try:
        while True:
            socket.recv(max(0.01, deadline - time.monotonic()))
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 0


@pytest.mark.usefixtures("_telling")
def test_what_is_told_reaches_every_dashboard_in_its_order(stack: Stack) -> None:
    session = session_of(stack)
    with watch(stack, session) as first, watch(stack, session) as second:
        assert receive(first) == receive(second) == {"type": "hello"}
        frames = [{"type": "bulk", "job": {"id": str(number), "title": "ü <b>"}} for number in range(50)]
        for frame in frames:
            tell(frame)
        for socket in (first, second):
            assert [receive(socket) for _ in frames] == frames


def test_who_brings_no_session_or_somebody_elses_is_refused_with_a_code_that_says_so(stack: Stack) -> None:
    for session in ("", "nonsense", "x" * 32):
        with watch(stack, session) as socket:
            assert close_code(socket) == 4401
    with watch(stack, Authorization=f"Bearer {stack.api_key}") as socket:
        assert close_code(socket) == 4401, "an API key is no session"


def test_a_page_from_elsewhere_is_refused_whoever_its_reader_is(stack: Stack) -> None:
    with watch(stack, session_of(stack), Origin="https://evil.example") as socket:
        assert close_code(socket) == 4403


def test_a_session_that_ends_elsewhere_ends_its_sockets(stack: Stack) -> None:
    ended, other = session_of(stack), session_of(stack)
    with watch(stack, ended) as socket, watch(stack, other) as untouched:
        assert receive(socket) == receive(untouched) == {"type": "hello"}
        stack.sql("DELETE FROM django_session WHERE session_key = %s", [ended])
        assert close_code(socket) == 4401
        untouched.ping().wait(RECEIVE_SECONDS)
        assert untouched.close_code is None


def test_what_a_browser_says_is_no_harm(stack: Stack) -> None:
    with watch(stack, session_of(stack)) as socket:
        receive(socket)
        for said in ("x" * 70_000, b"\x00", "{}"):
            socket.send(said)
        assert socket.ping().wait(RECEIVE_SECONDS)


@pytest.mark.usefixtures("_telling")
@pytest.mark.parametrize("outage", ["killed", "frozen"])
def test_an_outage_of_redis_holds_up_nobody_who_tells_and_frames_flow_again_after_it(stack: Stack, outage: str) -> None:
    with watch(stack, session_of(stack)) as socket:
        receive(socket)
        stack.valkey.kill() if outage == "killed" else stack.valkey.freeze()
        begin = time.monotonic()
        for number in range(10 * MAX_UNDER_WAY):
            tell({"type": "lost", "number": number})
        assert time.monotonic() - begin < 1
        stack.valkey.start() if outage == "killed" else stack.valkey.thaw()

        def arrives() -> bool:
            tell({"type": "after"})
            try:
                while receive(socket, 0.5)["type"] != "after":
                    pass
            except TimeoutError:
                return False
            return True

        wait_until(arrives, message="no frame came after the outage")


@pytest.mark.usefixtures("_telling")
def test_what_cannot_be_told_is_no_harm_to_who_tells_it() -> None:
    for _ in range(2 * MAX_UNDER_WAY):
        tell({"type": "bulk", "job": object()})
    one = Teller()
    for _ in range(2 * MAX_UNDER_WAY):
        with pytest.raises(TypeError):
            one.tell({"type": "bulk", "job": object()})


def test_a_gateway_that_cannot_join_is_told_nothing_meanwhile_and_everything_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else each attempt would take memory for as long as the process lives, and nobody would take its frames."""
    subscribe, attempts = RedisSingleShardConnection.subscribe, list[int]()

    async def lost(self: RedisSingleShardConnection, channel: str) -> None:
        await subscribe(self, channel)
        if "__group__" in channel and len(attempts) < 3:
            attempts.append(sum(map(len, get_channel_layer().groups.values())))
            raise OSError("the answer never came")

    async def members_after_all() -> int:
        layer = get_channel_layer()
        gateway = Gateway.of_this_loop()
        assert Gateway.of_this_loop() is gateway
        await gateway.ready()
        while len(attempts) < 3 or not layer.groups:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
        # Once is not enough: redis-py waits by asyncio.wait_for, which may lose a cancellation in Python 3.11.
        while not gateway._task.done():
            gateway._task.cancel()
            await asyncio.wait([gateway._task], timeout=0.1)
        members = sum(map(len, layer.groups.values()))
        await layer.flush()
        return members

    monkeypatch.setattr(socket, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(RedisSingleShardConnection, "subscribe", lost)
    assert asyncio.run(asyncio.wait_for(members_after_all(), RECEIVE_SECONDS)) == 1
    assert max(attempts) <= 1


def test_a_browser_that_does_not_read_misses_the_oldest_frames_and_takes_no_memory() -> None:
    async def slow() -> list[str]:
        socket, sent, reads = DashboardConsumer(), list[str](), asyncio.Event()

        async def send(message: dict[str, Any]) -> None:
            await reads.wait()
            sent.append(message["text"])

        socket.base_send = send
        for number in range(10 * MAX_WAITING_FRAMES):
            socket.deliver(str(number))
            await asyncio.sleep(0)
        reads.set()
        assert socket._sender
        await asyncio.wait_for(socket._sender, RECEIVE_SECONDS)
        return sent

    sent = asyncio.run(slow())
    assert sent == ["0", *(str(number) for number in range(9 * MAX_WAITING_FRAMES, 10 * MAX_WAITING_FRAMES))]


@pytest.mark.django_db
def test_only_a_session_of_an_active_member_of_staff_counts() -> None:
    user = User.objects.create_superuser("ada", password="one")
    browser = Client()
    browser.force_login(user)
    session = browser.session
    key = str(session.session_key)
    assert is_staff(key)
    for field in ("is_staff", "is_active"):
        User.objects.update(**{field: False})
        assert not is_staff(key), field
        User.objects.update(**{field: True})
    session.set_expiry(timezone.now() - timedelta(seconds=1))
    session.save()
    assert not is_staff(key), "expired"
    session.set_expiry(None)
    session.save()
    assert is_staff(key)
    user.set_password("two")
    user.save()
    assert not is_staff(key), "the password was changed"


@pytest.mark.django_db
def test_a_socket_signs_nobody_out_after_a_change_of_the_secret_key(settings: Any) -> None:
    browser = Client()
    browser.force_login(User.objects.create_superuser("ada"))
    key = str(browser.session.session_key)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret, and long enough to be one"
    assert is_staff(key)
    assert browser.get("/admin/").status_code == 200
