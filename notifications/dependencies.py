"""What a process stands on: does it answer?"""

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Final

from django.db import connection

from notifications import wiring

OK: Final = "ok"


def look() -> dict[str, str]:
    """Each server by name: `ok`, or the kind of error that it is not."""
    return {name: answer(ask) for name, ask in ASK.items()}


def answer(ask: Callable[[], object]) -> str:
    """`ok`, or the kind of error only: an address or a user name in its text is nobody's business here."""
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - whatever it is, the dependency is not ready
        return type(error).__name__
    return OK


def _ask_redis() -> object:
    return wiring.shards().client.ping()


def _ask_postgresql() -> object:
    # A connection of its own: the pool's would answer late, once it has given up waiting for one.
    probe = connection.copy()
    probe.settings_dict["OPTIONS"].pop("pool", None)
    with closing(probe), probe.cursor() as cursor:
        return cursor.execute("SELECT 1")


ASK: Final[Mapping[str, Callable[[], object]]] = {"redis": _ask_redis, "postgresql": _ask_postgresql}
