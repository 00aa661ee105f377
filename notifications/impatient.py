"""Connections to PostgreSQL that do not wait for long, for questions that another server can answer.

A server that stands still answers nothing and closes nothing, and no time-out of its own ends that.
"""

from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen

T = TypeVar("T")

# For each step that waits for the server.
SECONDS: Final = 1.0
INTERVAL_SECONDS: Final = 0.1


class Impatient(psycopg.Connection[Any]):
    """A connection that is closed where its server does not answer within SECONDS."""

    def wait(self, gen: PQGen[T], interval: float = INTERVAL_SECONDS, timeout: float | None = None) -> T:
        """Raises psycopg's OperationalError when it takes too long."""
        try:
            return super().wait(gen, interval, timeout or SECONDS)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001 - what psycopg's own wait says of its time-out
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {SECONDS:g} s") from None
