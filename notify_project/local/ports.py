"""Free ports on this machine, for servers that others reach by address."""

import socket
from collections.abc import Iterator
from random import SystemRandom

from notify_project.local.exceptions import StartError
from notify_project.local.web import Address

LOOPBACK = "127.0.0.1"
# Below those that the kernel gives to clients, so that none of them takes one while its server is away.
LOWEST, BEYOND = 10_000, 20_000
# Where Valkey's nodes talk to each other, unless they are told otherwise.
BUS_OFFSET = 10_000
ATTEMPTS = 200


def free_ports(count: int, *, host: str = LOOPBACK, bus: bool = False) -> tuple[int, ...]:
    """So many different ports that nobody listens on just now; with `bus`, each with a free one `BUS_OFFSET` higher."""
    found: set[int] = set()
    for port in _drawn():
        if len(found) == count:
            break
        if all(is_free(host, number) for number in ((port, port + BUS_OFFSET) if bus else (port,))):
            found.add(port)
    else:
        raise StartError(f"no {count} free ports were found from {LOWEST} to {BEYOND} in {ATTEMPTS} attempts")
    return tuple(found)


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens there just now."""
    try:
        listener: socket.socket = Address(host, port).listener()
    except OSError:
        return False
    listener.close()
    return True


def _drawn() -> Iterator[int]:
    """Ports at random, because several who look from the bottom up would find the same."""
    random = SystemRandom()
    return (random.randrange(LOWEST, BEYOND) for _ in range(ATTEMPTS))
