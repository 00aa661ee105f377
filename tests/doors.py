"""Webs for tests of the doors: the real one, one whose times are short, one that may write no large file."""

import socket
import sys
from collections.abc import Sequence

import psutil

from notify_project.local.web import Address
from tests.stack import HOST, Process, Stack, free_port, wait_until

# Seconds, in the order of the real ones, and a tenth of them or less.
SHORT_TIMES = {
    "HEAD_SECONDS": 1.0,
    "BODY_IDLE_SECONDS": 2.0,
    "IDLE_SECONDS": 2.5,
    "STALLED_SECONDS": 3.0,
    "LINGER_SECONDS": 1.0,
}
HASTY = f"""
import sys
from daphne import cli
from notify_project import asgi
from notify_project.gateway import limits
for name, seconds in {SHORT_TIMES!r}.items():
    assert getattr(limits, name) > seconds
    setattr(limits, name, seconds)
from notify_project.gateway import command
command.run(sys.argv[1:])
"""
CRAMPED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
from notify_project.gateway import command
command.run(sys.argv[1:])
"""


def start(stack: Stack, source: str, *options: str) -> tuple[Process, str]:
    """Start a web from Python's source; the process and its address."""
    return start_command(stack, (sys.executable, "-c", source), *options)


def start_command(stack: Stack, command: Sequence[str], *options: str) -> tuple[Process, str]:
    """Start a web by a command that takes Daphne's options; the process and its address."""
    address = Address(HOST, free_port())
    process = stack.start((*command, "-b", HOST, "-p", str(address.port), *options))

    def answers() -> bool:
        assert process.returncode is None, process.tail()
        try:
            return address.get("/healthz", HOST)[0] == 200
        except OSError:
            return False

    wait_until(answers, message="no answer from the web")
    return process, address.url


def is_connected(process: Process, client: socket.socket) -> bool:
    """Whether the web still holds a client's connection."""
    held = psutil.Process(process.pid).net_connections("tcp")
    return client.getsockname() in {one.raddr for one in held if one.status == psutil.CONN_ESTABLISHED}
