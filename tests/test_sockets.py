"""`/ws/inbox/` as the contract words it (section 3), against a real gateway and a real worker."""

import json
import time
import uuid
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.api import Api
from tests.sockets import Socket
from tests.stack import Stack, wait_until


@pytest.fixture
def who() -> str:
    """A recipient of the test's own."""
    return f"reader-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def socket(stack: Stack, api: Api, who: str) -> Any:
    with Socket(stack.url, api.token(who)) as opened:
        yield opened


def store(api: Api, who: str, count: int) -> list[str]:
    """Notifications that are rows already."""
    ids = api.notify_all([who] * count)
    wait_until(lambda: api.get(f"/api/recipients/{who}/unread")["unread"] == count, message="never stored")
    return ids


def test_hello_comes_first_and_says_where_the_inbox_stands(stack: Stack, api: Api, who: str) -> None:
    token = api.token(who)
    with Socket(stack.url, token) as empty:
        assert empty.connection.subprotocol == "notify.v1"
        assert empty.receive() == {"type": "hello", "recipient": who, "unread": 0, "seq": 0, "heartbeat": 2}
    store(api, who, 3)
    with Socket(stack.url, token) as filled:
        assert filled.receive() == {"type": "hello", "recipient": who, "unread": 3, "seq": 3, "heartbeat": 2}


def test_a_token_may_come_in_the_header(stack: Stack, api: Api, who: str) -> None:
    with Socket(stack.url, None, Authorization=f"Bearer {api.token(who)}") as opened:
        assert opened.receive()["recipient"] == who


def test_a_new_notification_arrives_with_its_seq_and_the_count(socket: Socket, api: Api, who: str) -> None:
    data = {"nested": [1, {"ü": "<b>"}]}
    event_id = api.notify(who, "Hello <script>", body="b", data=data)
    frame = socket.expect("notification")
    shown = frame["notification"]
    assert frame["unread"] == 1
    assert (shown["id"], shown["seq"], shown["title"], shown["data"]) == (event_id, 1, "Hello <script>", data)
    listed = api.get(f"/api/notifications?recipient={who}")["results"]
    assert listed == [shown]


def test_frames_reach_every_tab_and_nobody_else(stack: Stack, api: Api, who: str) -> None:
    token = api.token(who)
    others_token = api.token(f"{who}-other")
    with (
        Socket(stack.url, token) as first,
        Socket(stack.url, token) as second,
        Socket(stack.url, others_token) as other,
    ):
        for opened in (first, second, other):
            opened.expect("hello")
        api.notify(who)
        assert first.expect("notification") == second.expect("notification")
        other.send(type="ping")
        assert other.receive()["type"] in {"pong", "sync"}


def test_marking_read_in_one_tab_tells_the_others_and_the_api(stack: Stack, api: Api, who: str) -> None:
    ids = store(api, who, 3)
    token = api.token(who)
    with Socket(stack.url, token) as first, Socket(stack.url, token) as second:
        for opened in (first, second):
            opened.expect("hello")
        first.send(type="read", ids=[ids[0]])
        for opened in (first, second):
            assert opened.expect("read") == {"type": "read", "ids": [ids[0]], "unread": 2}
        assert api.get(f"/api/recipients/{who}/unread") == {"unread": 2}
        second.send(type="read", all=True)
        for opened in (first, second):
            assert opened.expect("read") == {"type": "read", "ids": "all", "unread": 0}
        assert api.get(f"/api/recipients/{who}/unread") == {"unread": 0}


def test_marking_read_over_the_api_tells_the_tabs(socket: Socket, api: Api, who: str) -> None:
    (event_id,) = store(api, who, 1)
    assert api.post(f"/api/recipients/{who}/read", {"ids": [event_id]}).json() == {"updated": 1, "unread": 0}
    assert socket.expect("read") == {"type": "read", "ids": [event_id], "unread": 0}


def test_marking_read_what_is_read_is_answered_too(socket: Socket, api: Api, who: str) -> None:
    socket.send(type="read", all=True)
    assert socket.expect("read") == {"type": "read", "ids": "all", "unread": 0}
    socket.send(type="read", ids=[str(uuid.uuid4())])
    assert socket.expect("read") == {"type": "read", "ids": [], "unread": 0}


def test_sync_comes_with_every_heartbeat(socket: Socket, api: Api, who: str) -> None:
    store(api, who, 2)
    deadline = time.monotonic() + 15
    while socket.expect("sync") != {"type": "sync", "unread": 2, "seq": 2}:
        assert time.monotonic() < deadline


def test_resume_sends_what_is_after_a_seq_oldest_first_500_at_a_time(stack: Stack, api: Api, who: str) -> None:
    ids = store(api, who, 1203)
    got: list[dict[str, Any]] = []
    with Socket(stack.url, api.token(who)) as socket:
        after = 3
        ends: list[dict[str, Any]] = []
        while not ends or not ends[-1]["complete"]:
            socket.send(type="resume", after=after)
            while (frame := socket.receive())["type"] != "resumed":
                if frame["type"] == "notification":
                    got.append(frame)
            ends.append(frame)
            after = frame["seq"]
    assert [(end["count"], end["seq"], end["complete"]) for end in ends] == [
        (500, 503, False),
        (500, 1003, False),
        (200, 1203, True),
    ]
    assert [frame["notification"]["seq"] for frame in got] == list(range(4, 1204))
    assert {frame["notification"]["id"] for frame in got} <= set(ids)
    assert {frame["unread"] for frame in got} == {1203}


def test_resume_of_a_client_that_has_all_sends_nothing(socket: Socket, api: Api, who: str) -> None:
    store(api, who, 2)
    for after in (2, 99, 2**70):
        socket.send(type="resume", after=after)
        assert socket.expect("resumed") == {"type": "resumed", "count": 0, "seq": 2, "complete": True}


def test_ping_is_answered(socket: Socket) -> None:
    socket.send(type="ping")
    assert socket.expect("pong") == {"type": "pong"}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("nonsense", "invalid_json"),
        ("[]", "invalid_frame"),
        ('{"type":7}', "invalid_frame"),
        ("{}", "unknown_type"),
        ('{"type":"shout"}', "unknown_type"),
        ('{"type":"resume"}', "invalid_frame"),
        ('{"type":"resume","after":-1}', "invalid_frame"),
        ('{"type":"resume","after":"1"}', "invalid_frame"),
        ('{"type":"resume","after":true}', "invalid_frame"),
        ('{"type":"read"}', "invalid_frame"),
        ('{"type":"read","all":false}', "invalid_frame"),
        ('{"type":"read","ids":[]}', "invalid_frame"),
        ('{"type":"read","ids":["x"]}', "invalid_frame"),
        ('{"type":"read","ids":[7]}', "invalid_frame"),
        ('{"type":"read","all":true,"ids":[]}', "invalid_frame"),
        ("[" * 5000, "invalid_json"),
        ('{"type":"ping","padding":"' + "x" * 70_000 + '"}', "invalid_frame"),
        (b"\x00\x01", "invalid_frame"),
    ],
)
@pytest.mark.one_shard_is_enough
def test_a_frame_that_is_not_understood_is_answered_and_the_socket_stays(
    socket: Socket, frame: str | bytes, code: str
) -> None:
    socket.connection.send(frame)
    answer = socket.expect("error")
    assert answer["code"] == code
    assert answer["detail"]
    socket.send(type="ping")
    assert socket.expect("pong")


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize("token", [None, "nonsense", "a.b.c"])
def test_no_token_or_a_bad_one_closes_with_4401(stack: Stack, token: str | None) -> None:
    with Socket(stack.url, token) as refused:
        assert refused.close_code() == 4401


@pytest.mark.one_shard_is_enough
def test_an_address_without_a_socket_refuses_the_handshake_and_nothing_more(stack: Stack) -> None:
    address = stack.url.replace("http", "ws", 1) + "/ws/nothing/"
    with pytest.raises(InvalidStatus) as refused, connect(address, proxy=None):
        pass
    assert refused.value.response.status_code == 403


@pytest.mark.one_shard_is_enough
def test_an_api_key_opens_no_socket(stack: Stack) -> None:
    with Socket(stack.url, stack.api_key) as refused:
        assert refused.close_code() == 4401


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_somebody_else_is_closed_with_4403(stack: Stack, api: Api, who: str, origin: str) -> None:
    with Socket(stack.url, api.token(who), Origin=origin) as refused:
        assert refused.close_code() == 4403


@pytest.mark.one_shard_is_enough
def test_our_own_page_is_let_in(stack: Stack, api: Api, who: str) -> None:
    with Socket(stack.url, api.token(who), Origin=stack.url) as opened:
        assert opened.receive()["type"] == "hello"


@pytest.mark.one_shard_is_enough
def test_a_token_that_expires_while_connected_closes_with_4408(stack: Stack, api: Api, who: str) -> None:
    token = api.token(who, ttl=2)
    for frames in (["hello"], []):
        with Socket(stack.url, token) as opened:
            assert [opened.receive()["type"] for _ in frames] == frames
            assert opened.close_code() == 4408


@pytest.mark.one_shard_is_enough
def test_a_recipient_has_twenty_sockets_and_the_next_is_closed_with_4429(stack: Stack, api: Api, who: str) -> None:
    token = api.token(who)
    with ExitStack() as opened:
        sockets = [opened.enter_context(Socket(stack.url, token)) for _ in range(20)]
        for socket in sockets:
            socket.expect("hello")
        with Socket(stack.url, token) as one_too_many:
            assert one_too_many.close_code() == 4429
        sockets[0].connection.close()

        def let_in() -> bool:
            with Socket(stack.url, token) as another:
                try:
                    return bool(another.receive()["type"] == "hello")
                except ConnectionClosed:
                    return False

        wait_until(let_in, message="a place that became free was not given")


def test_a_socket_is_one_frame_behind_nothing_that_was_stored_while_it_opened(stack: Stack, api: Api, who: str) -> None:
    """What is stored while a socket opens is in its hello or comes as a frame: never neither."""
    token = api.token(who)
    for number in range(1, 21):
        api.notify(who)
        with Socket(stack.url, token) as socket:
            seq = socket.expect("hello")["seq"]
            while seq < number:
                frame = socket.receive()
                if frame["type"] == "notification":
                    assert frame["notification"]["seq"] <= seq + 1
                    seq = max(seq, frame["notification"]["seq"])


def test_large_notifications_arrive_whole(socket: Socket, api: Api, who: str) -> None:
    events = [
        {"recipient": who, "type": "t", "title": f"{number}", "body": "😀" * 4096, "data": {"x": "y" * 16_000}}
        for number in range(100)
    ]
    answer = api.post("/api/notify/batch", {"notifications": events})
    assert answer.json()["accepted"] == 100
    titles = [socket.expect("notification")["notification"]["title"] for _ in range(100)]
    assert titles == [str(number) for number in range(100)]


@pytest.mark.one_shard_is_enough
def test_frames_are_text_without_compression(socket: Socket) -> None:
    """permessage-deflate doubles what a socket costs in memory."""
    assert socket.connection.response is not None
    assert "Sec-WebSocket-Extensions" not in socket.connection.response.headers
    assert isinstance(json.dumps(socket.receive()), str)
