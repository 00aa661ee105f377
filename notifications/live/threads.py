"""Synchronous work for sockets: a small pool of threads, each call with a database connection of the pool.

Channels' own default is one thread for all sockets of a process: a thousand that reconnect at once would queue there.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from channels.db import DatabaseSyncToAsync

P = ParamSpec("P")
R = TypeVar("R")

THREADS: Final = 8

_executor = ThreadPoolExecutor(THREADS, thread_name_prefix="notify-gateway")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a synchronous function off the event loop."""
    result: R = await DatabaseSyncToAsync(function, thread_sensitive=False, executor=_executor)(*args, **kwargs)
    return result
