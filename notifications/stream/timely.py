"""Scripts with a deadline: a server that stood still must not accept later what its caller gave up."""

import time
from collections.abc import Sequence
from typing import Any, Final

from notifications.exceptions import Unavailable
from notifications.stream import scripts
from notifications.stream.client import Own
from notifications.stream.clock import ServerClock
from notifications.stream.replicas import Replicas

RETRY_SECONDS: Final = 5


class Timely:
    """Runs scripts whose first argument is a deadline in the server's own time; they answer `late` after it."""

    def __init__(self, own: Own, clock: ServerClock, *, patience_ms: int, replicas: int = 0) -> None:
        """`patience_ms`: how long the caller waits for an answer. `replicas`: so many must have what is accepted."""
        self._own = own
        self._clock = clock
        self._patience_ms = patience_ms
        self._replicas = replicas

    def latest_ms(self, key: str = "") -> int:
        """The server's time at the latest, Unix ms; in a cluster that of the node with this key."""
        return self._clock.latest_ms(key)

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
        """Run a script; its answer. Raises Unavailable where the server's clock jumps; and NotReplicated.

        `since`: when the caller began to wait, by time.monotonic(), where this is not the first that it waits for.
        """
        for _ in range(tries):
            waited_ms = _waited_ms(since)
            replicas = Replicas(self._replicas, self._patience_ms - waited_ms)
            timed = [self._deadline(names, waited_ms), *arguments]
            answer: list[Any] = replicas.run(self._own.client, script, names, timed)
            if answer[0] != b"late":
                return answer
            # It answered in time, so it is the clock that is off.
            self._clock.refresh(names[0])
        raise Unavailable("Redis' clock jumps.", retry_after=RETRY_SECONDS)

    def run_each(
        self, script: str, calls: Sequence[tuple[list[str], list[str | bytes | int]]], since: float | None = None
    ) -> list[list[Any]]:
        """Run a script over several shards, all at once where no replica is waited for; their answers.

        Raises what `run` does, when all were asked.
        """
        if self._replicas or len(calls) < 2:
            return [self.run(script, *call, since=since) for call in calls]
        waited_ms = _waited_ms(since)
        timed = [(names, [self._deadline(names, waited_ms), *arguments]) for names, arguments in calls]
        answers = scripts.run_each(self._own.client, script, timed)
        return [
            self.run(script, *call, since=since) if answer[0] == b"late" else answer
            for call, answer in zip(calls, answers, strict=True)
        ]

    def _deadline(self, names: Sequence[str], waited_ms: int) -> int:
        return self._clock.now_ms(names[0]) + self._patience_ms - waited_ms


def _waited_ms(since: float | None) -> int:
    return 0 if since is None else int((time.monotonic() - since) * 1000)
