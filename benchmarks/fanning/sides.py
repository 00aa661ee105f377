"""Whose frames are compared: a server with nothing but sockets, and who sends to them, for Notify and for Channels."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Final, NamedTuple

import httpx
import psutil

from benchmarks.schedules import HOST, READY_SECONDS, api_key, until, web
from benchmarks.servers import Servers, consumer
from benchmarks.sockets import Crowd, crowd, holder, tokens_of, told
from notify_project.local.children import PROJECT, manage
from notify_project.local.web import Address

# Channels comes with libraries of its own versions.
THEIR_PYTHON: Final = PROJECT / ".venv-bench" / "bin" / "python"
APPLICATION: Final = "benchmarks.fanning.plain:application"
SENDER: Final = (str(THEIR_PYTHON), "-m", "benchmarks.fanning.groups")
# Each at its best, with no log of requests; nobody asks for compression. Tried with 2000 sockets, µs a frame: uvicorn
# with websockets-sansio 220, websockets 252, wsproto 215, and the first without uvloop 262; granian with uvloop 253,
# without 245, and with several threads of its own beside Python's 180.
SERVERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Daphne": ("-m", "daphne", "-v", "0", "-b", HOST, "-p", "{port}"),
    "uvicorn": (
        *("-m", "uvicorn", "--host", HOST, "--port", "{port}", "--log-level", "warning", "--no-access-log"),
        *("--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio"),
    ),
    "granian": (
        *("-m", "granian", "--interface", "asgi", "--host", HOST, "--port", "{port}", "--log-level", "warning"),
        *("--workers", "1", "--loop", "uvloop", "--runtime-mode", "mt"),
    ),
}
BATCH: Final = 1000
ANSWER_SECONDS: Final = 60.0
NOTIFICATION: Final = {
    "type": "order.shipped",
    "title": "Your order is on its way",
    "body": "Your order left our house this morning and will be with you on the day after tomorrow, between nine"
    " and twelve.",
    "data": {"order": 123456, "url": "/orders/123456"},
}


class Sockets(NamedTuple):
    """A server, clients that are yet to come to it, and a way to send each of their recipients one notification more.

    `send` takes the `seq` that it will have.
    """

    process: psutil.Process
    clients: Crowd
    send: Callable[[int], None]


class Side(NamedTuple):
    """A contender: its name, and how to set it up for some recipients, who have not been there before."""

    name: str
    start: Callable[[Sequence[str]], AbstractContextManager[Sockets]]


def sides(servers: Servers) -> list[Side]:
    """Notify, and Channels under each server that is installed."""
    key = api_key(servers)
    ours = Side("Notify", partial(notify, servers, key))
    if not THEIR_PYTHON.exists():
        print(f"{THEIR_PYTHON} is not there (see README.md): Channels is left out.")
        return [ours]
    return [ours, *(Side(name, partial(channels, servers, command)) for name, command in SERVERS.items())]


@contextmanager
def notify(servers: Servers, key: str, recipients: Sequence[str]) -> Iterator[Sockets]:
    """The gateway, with a worker, and a second web for requests: what it does is not the gateway's work."""
    tokens = tokens_of(servers, list(recipients))
    with (
        web(servers) as url,
        web(servers) as door,
        consumer(servers, "worker", manage("worker")),
        crowd(url, tokens) as clients,
    ):
        yield Sockets(holder(url), clients, lambda _: post(door, key, recipients))


def post(url: str, key: str, recipients: Sequence[str]) -> None:
    """One notification to each, as a producer sends them."""
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=ANSWER_SECONDS
    ) as client:
        for start in range(0, len(recipients), BATCH):
            batch = [{"recipient": name, **NOTIFICATION} for name in recipients[start : start + BATCH]]
            client.post("/api/notify/batch", json={"notifications": batch}).raise_for_status()


@contextmanager
def channels(servers: Servers, command: Sequence[str], recipients: Sequence[str]) -> Iterator[Sockets]:
    """A server with a plain consumer of Channels, and a process that sends to its groups."""
    with Address(HOST, 0).listener() as listener:
        address = Address(HOST, listener.getsockname()[1])
    started = (str(THEIR_PYTHON), *(part.format(port=address.port) for part in command), APPLICATION)
    with consumer(servers, "channels", started) as server:
        until(partial(listens, address), READY_SECONDS)
        names = list(recipients)
        with crowd(address.url, names) as clients, told(SENDER, names, servers.environment) as sender:
            yield Sockets(psutil.Process(server.pid), clients, lambda seq: _say(sender, seq, names[0]))


def _say(sender: Crowd, seq: int, recipient: str) -> None:
    sender.tell("send", frame(seq, recipient))
    sender.answer()


def frame(seq: int, recipient: str) -> str:
    """The text of a frame, as Notify's own are."""
    shown = {
        "id": "01a2f3c4-5678-7abc-8def-0123456789ab",
        "recipient": recipient,
        "seq": seq,
        **NOTIFICATION,
        "accepted_at": "2026-01-31T08:15:00.250Z",
        "stored_at": "2026-01-31T08:15:00.250Z",
        "read_at": None,
        "source": "api",
        "source_id": None,
    }
    return json.dumps({"type": "notification", "notification": shown, "unread": seq}, separators=(",", ":"))


def listens(address: Address) -> bool:
    """Whether somebody does at an address."""
    try:
        socket.create_connection((address.host, address.port), 1.0).close()
    except OSError:
        return False
    return True
