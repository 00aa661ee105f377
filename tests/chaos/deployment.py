"""What is broken: the servers and all processes of a deployment, under a supervisor that starts again what ended.

Only what was started here is ever signalled, each through its own handle.
"""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

import httpx

from notify_project.local.postgresql import PostgreSQL
from notify_project.local.standby import Standby
from tests.chaos.breaking import Action
from tests.chaos.chance import drawn
from tests.chaos.layout import REPLICA, Layout
from tests.chaos.members import Engine, Member, Program
from tests.chaos.moving import Mover
from tests.handles import ClusterHandle, ServerHandle
from tests.stack import Stack, wait_until, web_command

TICK_SECONDS: Final = 0.05


class Deployment:
    """All members, in a stack of their own."""

    def __init__(self, stack: Stack, layout: Layout, seed: int) -> None:
        random = drawn(seed, "restarts")
        self.stack = stack
        self.mover = Mover(stack.cluster, layout.shards, drawn(seed, "moves")) if stack.cluster else None
        webs = layout.webs()
        self.gateways = [address.url for address in webs.values()]
        commands = {name: web_command(address.port, address.host) for name, address in webs.items()}
        self._commands = {
            name: layout.placed(name, command) for name, command in {**commands, **layout.background()}.items()
        }
        self._layout = layout
        self._random = random
        self.members: dict[str, Member] = {}

    def __enter__(self) -> Self:
        servers = servers_of(self.stack)
        if REPLICA in self._layout.targets.servers:
            servers[REPLICA] = start_replica(self.stack)
        engines: Mapping[str, Engine] = {**servers, **self._layout.hosts}
        self.members = {name: Member(name, engine, self._random) for name, engine in engines.items()}
        try:
            for name, command in self._commands.items():
                program = Program(command, self.stack.env, self.stack.folder / f"{name.replace(' ', '-')}.log")
                self.members[name] = Member(name, program, self._random)
            for gateway in self.gateways:
                wait_until(lambda url=gateway: is_ready(url), message=f"{gateway} is not ready")  # type: ignore[misc]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end()

    def suffer(self, target: str, action: Action, seconds: float) -> bool:
        """Break something, for so long; False where it is broken already."""
        if action is Action.MOVE:
            return self.mover is not None and self.mover.suffer(action, seconds)
        return self.members[target].suffer(action, seconds)

    def look(self) -> None:
        """Look at everybody once."""
        for member in self.members.values():
            member.look()

    def watch_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Look after everybody until the condition holds; False when it did not within `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.look()
            time.sleep(TICK_SECONDS)
        return True

    def mend(self) -> None:
        """End every fault that lasts."""
        for member in self.members.values():
            member.mend()

    def whole(self) -> bool:
        """Whether everything runs and answers."""
        moved = self.mover is None or self.mover.whole
        return moved and all(member.whole for member in self.members.values()) and all(map(is_ready, self.gateways))

    def _end(self) -> None:
        """End the processes and the replica; the servers are the stack's to stop."""
        for name in {*self._commands, REPLICA} & self.members.keys():
            self.members[name].end()


def servers_of(stack: Stack) -> dict[str, ServerHandle]:
    """The servers of a stack by name, each of which may break alone."""
    redis = stack.valkey
    nodes = redis.by_name() if isinstance(redis, ClusterHandle) else {"valkey": redis}
    return {**nodes, "postgresql": stack.postgresql}


def start_replica(stack: Stack) -> ServerHandle:
    """A replica of the stack's PostgreSQL, which its processes are told of from now on."""
    replica = ServerHandle(Standby(stack.folder / "replica", PostgreSQL(stack.folder / "postgresql")))
    replica.start()
    stack.env["DATABASE_REPLICA_URL"] = replica.url
    return replica


def is_ready(gateway: str) -> bool:
    """Whether a gateway answers and finds its servers."""
    try:
        return httpx.get(f"{gateway}/readyz", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False
