"""Where the time of a notification goes: when it passed each point, as ids, rows, and Valkey itself tell it."""

import re
import socket
import threading
from collections.abc import Iterable, Mapping
from hashlib import sha1
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from benchmarks.schedules import Wrong
from benchmarks.servers import Servers
from notifications import events
from notifications.stream import scripts

PIECE: Final = 1 << 20
END_SECONDS: Final = 5.0
LAST: Final = b"latency-benchmark-ends"
# In the order in which they are passed; each stage is the way to its point from the one before.
POINTS: Final = ("due", "accepted", "in the stream", "picked up", "committed", "announced", "arrived")

TIME: Final = rb"^\+?(\d+\.\d+) \[[^\]]*\] "
ADDED: Final = re.compile(TIME + rb'"XADD" "notify:\{\d+\}:live" "\*" "event" "\{.*?\\"id\\":\\"([0-9a-f-]{36})')
SCRIPT: Final = re.compile(TIME + rb'"EVALSHA" "([0-9a-f]{40})"')
MIRROR: Final = re.compile(rb'"notify:\{\d+\}:inbox:([^"]+)"')
PUBLISHED: Final = re.compile(TIME + rb'"PUBLISH" "notify\.gateway\.')
SHOWN: Final = re.compile(rb'\\"notification\\":\{\\"id\\":\\"([0-9a-f-]{36})')

# When the worker that wrote a row began to: it had read, decoded and checked the event by then.
BEGUN: Final = (
    "SELECT id::text, extract(epoch FROM stored_at)::float FROM notifications_notification WHERE id = ANY(%s)"
)


class Monitor:
    """What Valkey is asked meanwhile, each command with its time; read only when all is over."""

    def __init__(self, servers: Servers) -> None:
        self._valkey = servers.valkey
        self._socket = socket.socket(socket.AF_UNIX)
        self._path = unquote(urlsplit(servers.environment["REDIS_URL"]).path)
        self._pieces: list[bytes] = []
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._socket.connect(self._path)
        self._socket.sendall(b"MONITOR\r\n")
        self._pieces.append(self._socket.recv(PIECE))
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._valkey.echo(LAST)
        self._thread.join(END_SECONDS)
        self._socket.close()

    def lines(self) -> list[bytes]:
        """A command a line."""
        return b"".join(self._pieces).split(b"\r\n")

    def _listen(self) -> None:
        while LAST not in self._pieces[-1] and (piece := self._socket.recv(PIECE)):
            self._pieces.append(piece)


def passed(servers: Servers, lines: Iterable[bytes], told: Mapping[str, Mapping[str, Any]]) -> list[tuple[float, ...]]:
    """When each event passed each of POINTS, in Unix seconds.

    `told`: by id, whom it is for, when it was due and when its frame arrived. Raises Wrong where a point is not known
    of one.
    """
    added, committed, announced = _in_valkey(lines, {event_id: times["recipient"] for event_id, times in told.items()})
    begun = dict(_rows(servers, list(told)))
    found: list[tuple[float, ...]] = []
    for event_id, times in told.items():
        try:
            inner = (added[event_id], begun[event_id], committed[event_id], announced[event_id])
        except KeyError as missing:
            raise Wrong(f"where {event_id} was is not known: {missing}") from None
        # An id has whole milliseconds, the begun one not counted: on average half of one is missing.
        accepted = (events.accepted_ms(event_id) + 0.5) / 1000
        found.append((times["due"], accepted, *inner, times["arrived"]))
    return found


def _rows(servers: Servers, ids: list[str]) -> list[tuple[str, float]]:
    rows: Any = servers.database.execute(BEGUN, [ids]).fetchall()
    return list(rows)


def _in_valkey(
    lines: Iterable[bytes], recipients: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """When each event was added to the stream, its inbox mirrored (the first that follows a commit), and published."""
    digest = sha1((scripts.FOLDER / "announce.lua").read_bytes(), usedforsecurity=False).hexdigest().encode()
    added: dict[str, float] = {}
    committed: dict[str, float] = {}
    announced: dict[str, float] = {}
    mirrored: dict[str, float] = {}
    for line in lines:
        if found := ADDED.search(line):
            added[found[2].decode()] = float(found[1])
        elif (found := SCRIPT.search(line)) and found[2] == digest:
            mirrored |= dict.fromkeys(map(bytes.decode, MIRROR.findall(line)), float(found[1]))
        elif found := PUBLISHED.search(line):
            for event_id in map(bytes.decode, SHOWN.findall(line)):
                if event_id in recipients:
                    committed[event_id] = mirrored[recipients[event_id]]
                    announced[event_id] = float(found[1])
    return added, committed, announced
