"""Slots that move from primary to primary under load, as when a cluster gets another node."""

import threading
import time
from random import Random
from typing import Final

from redis.crc import key_slot
from redis.exceptions import RedisError

from notifications.stream import keys
from notify_project.local.cluster import Cluster, Node
from tests.chaos.breaking import Action

SHARDS_AT_A_TIME: Final = 4
# What was begun has to come to an end: a slot that is half here and half there serves nobody well.
PATIENCE_SECONDS: Final = 90.0
RETRY_SECONDS: Final = 0.5


class Mover:
    """Moves the slots of some shards when it is told to: each at once, as the older way (key by key) may leave a slot
    that nobody serves where a node dies in the middle of it. That way is tried while no node dies, in tests/.
    """

    def __init__(self, cluster: Cluster, shards: int, random: Random) -> None:
        self._cluster = cluster
        self._shards = shards
        self._random = random
        self._thread: threading.Thread | None = None
        self.moved = 0
        self.complaints: list[str] = []

    @property
    def whole(self) -> bool:
        """Whether nothing is on its way."""
        return self._thread is None or not self._thread.is_alive()

    def suffer(self, _action: Action, _seconds: float) -> bool:
        """Begin to move some; False while others are on their way."""
        if not self.whole:
            return False
        shards = self._random.sample(range(self._shards), SHARDS_AT_A_TIME)
        slots = [key_slot(keys.inflight(shard).encode()) for shard in shards]
        orders = [(slot, self._random.random()) for slot in slots]
        self._thread = threading.Thread(target=self._move, args=(orders,), daemon=True)
        self._thread.start()
        return True

    def _move(self, orders: list[tuple[int, float]]) -> None:
        for slot, place in orders:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not self._tried(slot, place):
                if time.monotonic() > deadline:
                    self.complaints.append(f"slot {slot} could not be moved")
                    break
                time.sleep(RETRY_SECONDS)

    def _tried(self, slot: int, place: float) -> bool:
        """Whether the slot is where it should be; a node that is away, or no primary any more, is no reason to fail."""
        try:
            self._cluster.hand_over(slot, self._target(slot, place))
        except (RedisError, OSError, LookupError):
            return False
        self.moved += 1
        return True

    def _target(self, slot: int, place: float) -> Node:
        """One of the other primaries, as the owner knows them: one that has just come back may take itself for one."""
        owner = self._cluster.owner(slot)
        others = [node for node in self._cluster.primaries_as_told(owner) if node is not owner]
        return others[int(place * len(others))]
