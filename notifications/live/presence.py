"""Presence: which gateway holds a recipient's sockets. It expires by itself, so a gateway that dies is forgotten."""

from collections.abc import Mapping
from typing import Final

from notifications.stream import keys, scripts
from notifications.stream.client import Shards
from notifications.stream.scripts import Call

PRESENCE_MS: Final = 90_000
CHUNK: Final = 500


def join(shards: Shards, recipient: str, gateway: str, *, limit: int) -> bool:
    """Count one more socket of a recipient at a gateway; False when all gateways together hold `limit` already."""
    name = keys.online(shards.of(recipient), recipient)
    return bool(scripts.run(shards.client, "join", [name], [gateway, PRESENCE_MS, limit]))


def renew(shards: Shards, gateway: str, sockets: Mapping[str, int]) -> None:
    """State how many sockets of each recipient a gateway holds, for another 90 s; 0 takes it out.

    Those whose node is away are left out: a beat later is time enough.
    """
    calls: list[Call] = []
    for shard, recipients in shards.group(sockets, str).items():
        for start in range(0, len(recipients), CHUNK):
            chunk = recipients[start : start + CHUNK]
            names = [keys.online(shard, recipient) for recipient in chunk]
            counts = [sockets[recipient] for recipient in chunk]
            calls.append((names, [gateway, PRESENCE_MS, *counts]))
    scripts.run_where_possible(shards.client, "renew", calls)
