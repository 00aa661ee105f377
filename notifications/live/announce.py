"""The sender's side of live frames: mirrors first, then one message a gateway.

A frame is a hint. It may get lost, come twice or out of order; `seq`, `sync` and `resume` make it whole. What must
not be missed is the mirror, so an error of Redis there is the caller's to see, and an error of a send is not.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from notifications import failpoints, representation, unread
from notifications.live.outbox import Outbox
from notifications.store import InboxState, Stored
from notifications.stream import keys, scripts
from notifications.stream.client import Shards

# Each with whom it is for, its text, and where the trace goes on of what it tells, if that is followed.
Frames = list[tuple[str, str, str | None]]

# A gateway's Pub/Sub buffer in Redis is bounded (8 MB by default), so a batch of large ones goes in parts.
MESSAGE_CHARACTERS: Final = 512 * 1024


class Announcer:
    """Tells mirrors, and the gateways that hold a recipient's sockets, what was committed."""

    def __init__(self, shards: Shards, outbox: Outbox) -> None:
        self._shards = shards
        self._outbox = outbox

    def stored(self, batch: Stored, traceparents: Mapping[str, str] = MappingProxyType({})) -> None:
        """Announce a stored batch; only readers that are online cost more than their share of one script.

        `traceparents`: of events that are traced, by their ids.
        """
        gateways = self.reflect(batch.inboxes)
        failpoints.reach("worker.mirrored")
        if not gateways:
            return
        frames: dict[str, Frames] = defaultdict(list)
        for row in batch.rows:
            recipient = row.event.recipient
            if recipient in gateways:
                count = batch.inboxes[recipient].unread
                text = representation.notification_frame(representation.shown_event(row), count)
                frame = recipient, text, traceparents.get(row.event.id)
                for gateway in gateways[recipient]:
                    frames[gateway].append(frame)
        self._send(frames)

    def read(self, recipient: str, ids: list[object] | None, state: InboxState) -> None:
        """Announce a mark-read to every socket of the recipient, the asking one too."""
        text = representation.read_frame(ids, state.unread)
        gateways = self.reflect({recipient: state})
        self._send({gateway: [(recipient, text, None)] for gateway in gateways.get(recipient, ())})

    def counted(self, inboxes: dict[str, InboxState]) -> None:
        """Announce inboxes from which rows were removed: mirrors, then a `sync` to every socket of theirs."""
        frames: dict[str, Frames] = defaultdict(list)
        for recipient, gateways in self.reflect(inboxes).items():
            text = representation.sync_frame(inboxes[recipient].unread, inboxes[recipient].seq)
            for gateway in gateways:
                frames[gateway].append((recipient, text, None))
        self._send(frames)

    def reflect(self, inboxes: dict[str, InboxState]) -> dict[str, list[str]]:
        """Bring the mirrors of committed inboxes up to date; returns the gateways of those who are online."""
        groups = self._shards.group(inboxes, str)
        calls = []
        for shard, recipients in groups.items():
            names = [keys.inbox(shard, recipient) for recipient in recipients]
            names += [keys.online(shard, recipient) for recipient in recipients]
            calls.append((names, [",".join([unread.pack(inboxes[recipient]) for recipient in recipients])]))
        gateways: dict[str, list[str]] = {}
        for recipients, reached in zip(
            groups.values(), scripts.run_each(self._shards.client, "announce", calls), strict=True
        ):
            gateways |= _by_recipient(recipients, reached)
        return gateways

    def _send(self, frames: dict[str, Frames]) -> None:
        self._outbox.send(
            [(gateway, _message(part)) for gateway, gateway_frames in frames.items() for part in _parts(gateway_frames)]
        )


def _by_recipient(recipients: list[str], reached: list[int | bytes]) -> dict[str, list[str]]:
    """announce.lua's flat answer as gateways by recipient."""
    gateways: dict[str, list[str]] = {}
    current: list[str] = []
    for item in reached:
        if isinstance(item, int):
            current = gateways.setdefault(recipients[item - 1], [])
        elif item:
            current.append(item.decode())
    return gateways


def _message(part: Frames) -> dict[str, Any]:
    """What a hub takes: pairs of recipient and text; beside them where traces go on, each with its frame's place."""
    message: dict[str, Any] = {"type": "frames", "frames": [(recipient, text) for recipient, text, _ in part]}
    if traces := [(place, traceparent) for place, (_, _, traceparent) in enumerate(part) if traceparent]:
        message["traces"] = traces
    return message


def _parts(frames: Frames) -> Iterator[Frames]:
    part: Frames = []
    characters = 0
    for frame in frames:
        if part and characters + len(frame[1]) > MESSAGE_CHARACTERS:
            yield part
            part, characters = [], 0
        part.append(frame)
        characters += len(frame[1])
    if part:
        yield part
