"""Scripts with a deadline: a server that stood still must not accept later what its caller gave up."""

import time
from typing import Any, Final

from notifications.exceptions import Unavailable
from notifications.stream import scripts
from notifications.stream.client import Own
from notifications.stream.clock import ServerClock

RETRY_SECONDS: Final = 5


class Timely:
    """Runs scripts whose first argument is a deadline in the server's own time; they answer `late` after it."""

    def __init__(self, own: Own, clock: ServerClock, *, patience_ms: int) -> None:
        """`patience_ms`: how long the caller waits for an answer."""
        self._own = own
        self._clock = clock
        self._patience_ms = patience_ms

    def latest_ms(self) -> int:
        """The server's time at the latest, Unix ms."""
        return self._clock.latest_ms()

    def earliest_ms(self) -> int:
        """The server's time at the earliest, Unix ms."""
        return self._clock.now_ms()

    def run(
        self,
        script: str,
        names: list[str],
        arguments: list[str | bytes | int],
        *,
        tries: int = 2,
        since: float | None = None,
    ) -> list[Any]:
        """Run a script; its answer. Raises Unavailable where the server's clock jumps.

        `since`: when the caller began to wait, by time.monotonic(), where this is not the first that it waits for.
        """
        for _ in range(tries):
            waited_ms = 0 if since is None else int((time.monotonic() - since) * 1000)
            deadline = self._clock.now_ms() + self._patience_ms - waited_ms
            answer: list[Any] = scripts.run(self._own.client, script, names, [deadline, *arguments])
            if answer[0] != b"late":
                return answer
            # It answered in time, so it is the clock that is off.
            self._clock.refresh()
        raise Unavailable("Redis' clock jumps.", retry_after=RETRY_SECONDS)
