"""What a reader waits for in a large table: one with 10 notifications, and one with a hundred thousand, in turn.

Everything is asked of one web, as `make up` starts it, over connections that stay open. Both are given the same number
of notifications by each call, and ask in ten places each in turn: ten small inboxes, ten depths of the large one.
"""

import base64
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

import httpx
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from benchmarks.growing.tables import LARGE, MILLION, RECIPIENTS, Table
from benchmarks.schedules import Wrong, api_key, web
from benchmarks.sockets import tokens_of
from notifications.stream import keys

CALLS: Final = 200
PLACES: Final = 10
# So many notifications there are at least in a small inbox, so the same number is shown of both.
SHOWN: Final = 5
ANSWER_SECONDS: Final = 60.0
SHARD: Final = 0

# Takes the number of the call.
Call = Callable[[int], object]


class Inbox(NamedTuple):
    """A recipient, and the newest `seq` when its socket was opened."""

    recipient: str
    seq: int
    socket: ClientConnection


class Reader:
    """A client of the web: what it asks of inboxes, and whether the answers are right."""

    def __init__(self, table: Table, client: httpx.Client) -> None:
        self._valkey = table.servers.valkey
        self._client = client

    def page(self, inbox: Inbox, before: int | None) -> None:
        """A page of an inbox: the first, or what is below a `seq`."""
        query: dict[str, str | int] = {"recipient": inbox.recipient, "limit": SHOWN}
        if before is not None:
            query["cursor"] = base64.urlsafe_b64encode(f"s{before}".encode()).decode().rstrip("=")
        found = self._asked("/api/notifications", query)["results"]
        first = inbox.seq if before is None else before - 1
        _expect([row["seq"] for row in found], list(range(first, first - SHOWN, -1)))

    def unread(self, inbox: Inbox) -> None:
        """The unread count, from its mirror in Redis."""
        _expect(self._asked(f"/api/recipients/{inbox.recipient}/unread")["unread"], inbox.seq)

    def unread_anew(self, inbox: Inbox) -> None:
        """The unread count of who was not looked at for a day: there is no mirror."""
        self._valkey.delete(keys.inbox(SHARD, inbox.recipient))
        self.unread(inbox)

    def resume(self, inbox: Inbox) -> None:
        """What a client missed that was away for the newest few."""
        inbox.socket.send(json.dumps({"type": "resume", "after": inbox.seq - SHOWN}))
        seqs = []
        # Between them may be a `sync`, which comes now and then.
        while (frame := json.loads(inbox.socket.recv(ANSWER_SECONDS)))["type"] not in {"resumed", "error"}:
            if frame["type"] == "notification":
                seqs.append(frame["notification"]["seq"])
        _expect(seqs, list(range(inbox.seq - SHOWN + 1, inbox.seq + 1)))
        _expect((frame["type"], frame.get("complete")), ("resumed", True))

    def _asked(self, path: str, query: dict[str, str | int] | None = None) -> Any:  # noqa: ANN401 - any JSON
        return self._client.get(path, params=query).raise_for_status().json()


class Readers:
    """Both kinds of inboxes, and the calls that are timed."""

    def __init__(self, reader: Reader, small: Sequence[Inbox], large: Inbox) -> None:
        chance = random.Random(1)
        depths = [chance.randrange(large.seq // 4, large.seq * 3 // 4) for _ in range(PLACES)]

        def of(call: Callable[[Inbox], None]) -> tuple[Call, Call]:
            return lambda _: call(large), lambda number: call(small[number % PLACES])

        self.calls: dict[str, tuple[Call, Call]] = {
            "list, first page": of(lambda inbox: reader.page(inbox, None)),
            "list, a page in its depth": (
                lambda number: reader.page(large, depths[number % PLACES]),
                lambda number: reader.page(small[number % PLACES], SHOWN + 1),
            ),
            "unread count": of(reader.unread),
            "unread count, not mirrored": of(reader.unread_anew),
            "resume": of(reader.resume),
        }

    def round(self) -> dict[str, tuple[list[float], list[float]]]:
        """Each call so many times of both, in turn: ms of the large one and of the small ones."""
        found = {}
        for what, (large, small) in self.calls.items():
            took: tuple[list[float], list[float]] = [], []
            for number in range(CALLS):
                order = ((0, large), (1, small)) if number % 2 else ((1, small), (0, large))
                for side, call in order:
                    began = time.perf_counter()
                    call(number)
                    took[side].append((time.perf_counter() - began) * 1000)
            found[what] = took
        return found


@contextmanager
def readers(table: Table) -> Iterator[Readers]:
    """Clients of a web on a filled table."""
    small = [f"user-{number * (RECIPIENTS // PLACES):07d}" for number in range(PLACES)]
    with ExitStack() as cleanup:
        url = cleanup.enter_context(web(table.servers))
        headers = {"Authorization": f"Bearer {api_key(table.servers)}"}
        client = cleanup.enter_context(
            httpx.Client(base_url=url, headers=headers, timeout=ANSWER_SECONDS, trust_env=False)
        )
        tokens = tokens_of(table.servers, [LARGE, *small])
        large, *others = (
            _opened(cleanup, url, recipient, token) for recipient, token in zip([LARGE, *small], tokens, strict=True)
        )
        _expect(large.seq, table.rows // 100)
        if min(inbox.seq for inbox in others) < SHOWN:
            raise Wrong(f"a table of {table.rows // MILLION} million rows has small inboxes of fewer than {SHOWN}")
        yield Readers(Reader(table, client), others, large)


def _opened(cleanup: ExitStack, url: str, recipient: str, token: str) -> Inbox:
    offered = [Subprotocol("notify.v1"), Subprotocol(f"bearer.{token}")]
    address = url.replace("http", "ws", 1) + "/ws/inbox/"
    socket = cleanup.enter_context(connect(address, subprotocols=offered, proxy=None))
    hello = json.loads(socket.recv(ANSWER_SECONDS))
    return Inbox(recipient, hello["seq"], socket)


def _expect(found: object, expected: object) -> None:
    if found != expected:
        raise Wrong(f"expected {expected}, found {found}")
