"""What is broken: two servers and all processes of a deployment, under a supervisor that starts again what ended.

Only what was started here is ever signalled, each through its own handle.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import httpx

from notify_project.local.children import manage
from tests.chaos.members import Member, Program
from tests.chaos.plan import GATEWAYS, SERVERS, drawn
from tests.stack import HOST, Stack, free_port, wait_until, web_command

TICK_SECONDS: Final = 0.05
RETRY_DELAYS: Final = (1, 2, 4)
SETTINGS: Final = {
    "NOTIFY_HEARTBEAT_SECONDS": "2",
    # Short, so that what fails is over when the run is.
    "NOTIFY_RETRY_DELAYS": ",".join(map(str, RETRY_DELAYS)),
}
BACKGROUND: Final = {
    "worker 1": "worker",
    "worker 2": "worker",
    "bulk worker": "bulk_worker",
    "scheduler": "scheduler",
    "dlq worker": "dlq_worker",
}
WEBS: Final = tuple(f"web {number + 1}" for number in range(GATEWAYS))
TARGETS: Final = (*WEBS, *BACKGROUND, *SERVERS)


class Deployment:
    """All members, in a stack of their own."""

    def __init__(self, stack: Stack, seed: int) -> None:
        random = drawn(seed, "restarts")
        self.stack = stack
        ports = {name: free_port() for name in WEBS}
        self.gateways = [f"http://{HOST}:{port}" for port in ports.values()]
        commands = {name: web_command(port) for name, port in ports.items()}
        commands |= {name: manage(command) for name, command in BACKGROUND.items()}
        self._commands = commands
        self._random = random
        self.members: dict[str, Member] = {}

    def __enter__(self) -> Self:
        self.members = {
            "valkey": Member("valkey", self.stack.valkey, self._random),
            "postgresql": Member("postgresql", self.stack.postgresql, self._random),
        }
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
        return all(member.whole for member in self.members.values()) and all(map(is_ready, self.gateways))

    def _end(self) -> None:
        """End the processes; the servers are the stack's to stop."""
        for name in self._commands.keys() & self.members.keys():
            self.members[name].end()


def is_ready(gateway: str) -> bool:
    """Whether a gateway answers and finds its servers."""
    try:
        return httpx.get(f"{gateway}/readyz", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False
