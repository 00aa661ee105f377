"""How long PostgreSQL may take for what a page asks: one time for all of its statements."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Final

from django.db import OperationalError, connection, transaction

QUERY_CANCELED: Final = "57014"


class TooSlow(OperationalError):
    """PostgreSQL did not answer in the time there was. To who can do without its answer, that is an outage."""


@contextmanager
def limited(timeout_ms: int) -> Iterator[None]:
    """Each statement gets what the ones before left of `timeout_ms`. Raises TooSlow; with nothing left, unasked.

    A statement costs a few more round trips. To connect is not in the time: the pool has a limit of its own.
    """
    ends = time.monotonic() + timeout_ms / 1000
    with connection.execute_wrapper(partial(_in_time, ends)):
        yield


def _in_time(ends: float, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: ANN401, FBT001 - Django's hook
    """A statement and its limit in one transaction, with which that ends: whoever has the connection next has none."""
    left_ms = round((ends - time.monotonic()) * 1000)
    if left_ms <= 0:
        raise TooSlow
    try:
        with nullcontext() if connection.in_atomic_block else transaction.atomic():
            execute(f"SET LOCAL statement_timeout = {left_ms}", None, False, context)
            return execute(sql, params, many, context)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != QUERY_CANCELED:
            raise
        raise TooSlow from error
