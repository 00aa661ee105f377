"""Each refusal is counted under its reason, and nothing else is."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from conftest import Caller
from notifications import metrics, wiring
from notifications.access import keys
from notifications.api import base
from notifications.exceptions import BacklogFull
from notifications.live import consumers
from notifications.metrics import REFUSED

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

EVENT = {"recipient": "alice", "type": "t", "title": "t"}


def counts() -> dict[str, float]:
    """How many were refused so far, by reason."""
    return {
        reason: metrics.REGISTRY.get_sample_value("notify_refused_total", {"reason": reason}) or 0 for reason in REFUSED
    }


@pytest.fixture
def counted() -> Callable[[], dict[str, float]]:
    """What was counted since the test began."""
    before = counts()
    return lambda: {reason: now - before[reason] for reason, now in counts().items() if now != before[reason]}


def post(caller: Caller, body: Any, path: str = "/api/notify") -> int:
    status: int = caller.post(path, body, content_type="application/json").status_code
    return status


def test_what_is_accepted_is_not_counted(producer: Caller, counted: Any) -> None:
    assert post(producer, EVENT) == 202
    assert producer.get("/api/notifications?recipient=alice").status_code == 200
    assert counted() == {}


def test_every_reason_has_its_count(
    producer: Caller, caller_with: Callable[..., Caller], counted: Any, monkeypatch: Any, settings: Any
) -> None:
    assert post(producer, {**EVENT, "recipient": ""}) == 400
    assert post(producer, {**EVENT, "body": "x" * base.MAX_SINGLE_BYTES}) == 413
    assert post(Caller("nk_nobody"), EVENT) == 401
    assert post(caller_with("read"), EVENT) == 403
    once_a_day = Caller(keys.create("rare", rate="1/d")[1])
    assert [post(once_a_day, EVENT) for _ in range(3)] == [202, 429, 429]
    settings.NOTIFY = msgspec.structs.replace(settings.NOTIFY, recipient_rate="1/d")
    assert [post(producer, {**EVENT, "recipient": "rare"}) for _ in range(2)] == [202, 429]
    for error in (BacklogFull("", retry_after=1), RedisConnectionError()):
        monkeypatch.setattr(wiring.writer(), "add", _raising(error))
        assert post(producer, {**EVENT, "recipient": f"{type(error).__name__}"}) == 503
    assert counted() == {
        "invalid": 1,
        "too_large": 1,
        "unauthenticated": 1,
        "forbidden": 1,
        "rate": 2,
        "recipient_rate": 1,
        "backlog": 1,
        "outage": 1,
    }


def test_events_of_a_batch_are_counted_one_by_one(producer: Caller, counted: Any, settings: Any) -> None:
    settings.NOTIFY = msgspec.structs.replace(settings.NOTIFY, recipient_rate="1/d")
    batch = {"notifications": [EVENT, EVENT, {**EVENT, "recipient": ""}, {"recipient": "bob"}]}
    assert post(producer, batch, "/api/notify/batch") == 202
    assert counted() == {"invalid": 2, "recipient_rate": 1}


def test_a_socket_that_leaves_too_much_unread_is_counted_as_slow() -> None:
    def closed() -> dict[str, float]:
        names = metrics.CLOSED
        values = (metrics.REGISTRY.get_sample_value("notify_sockets_closed_total", {"reason": name}) for name in names)
        return {name: value or 0 for name, value in zip(names, values, strict=True)}

    async def flood() -> list[Any]:
        said: list[Any] = []

        async def send(message: Any) -> None:
            said.append(message)

        socket = consumers.InboxConsumer()
        socket.base_send = send
        for _ in range(consumers.MAX_WAITING_FRAMES + 2):
            socket.deliver("a frame")
        await socket._closing
        return said

    before = closed()
    assert asyncio.run(flood()) == [{"type": "websocket.close", "code": 4429}]
    assert closed() == {**before, "slow": before["slow"] + 1}


def _raising(error: Exception) -> Callable[..., None]:
    def add(*_: object) -> None:
        raise error

    return add
