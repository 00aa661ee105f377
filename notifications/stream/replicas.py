"""Answers that wait for replicas: what only one server has is lost with it.

WAIT counts the replicas that have what its own connection wrote, so it goes in one pipeline with the script; and with a
write of its own before it, as a script that finds its work done before (the first answer got lost) writes nothing.
"""

from typing import Any, Final, NamedTuple

import redis
from redis.exceptions import NoScriptError, RedisError

from notifications.stream import keys, scripts

# What says that something was accepted, by this call or by an earlier one.
GRANTED: Final = frozenset({b"accepted", b"replayed", b"pending", b"changed", b"readmitted", b"reserved"})


class NotReplicated(RedisError):
    """It was accepted, but fewer replicas have it than are asked for: it may be lost with the server, or not."""


class Replicas(NamedTuple):
    """How many replicas must have what is accepted, and for how many milliseconds a caller waits for all of it."""

    wanted: int = 0
    patience_ms: int = 0

    def run(self, client: redis.Redis, script: str, names: list[str], arguments: list[str | bytes | int]) -> Any:  # noqa: ANN401 - what a script returns is its own business
        """Run a script that answers a list, the first of which says what became of it. Raises NotReplicated."""
        if not self.wanted:
            return scripts.run(client, script, names, arguments)
        answer, replicas = self._ask(client, script, names, arguments)
        if isinstance(answer, NoScriptError):
            answer, replicas = self._ask(client, script, names, arguments, by_digest=False)
        for one in (answer, replicas):
            if isinstance(one, Exception):
                raise one
        if answer[0] in GRANTED and replicas < self.wanted:
            raise NotReplicated(f"{replicas} of {self.wanted} replicas have it")
        return answer

    def _ask(
        self,
        client: redis.Redis,
        script: str,
        names: list[str],
        arguments: list[str | bytes | int],
        *,
        by_digest: bool = True,
    ) -> tuple[Any, Any]:
        pipe = client.pipeline(transaction=False)
        scripts.stage(pipe, scripts.of(client, script), names, arguments, by_digest=by_digest)
        pipe.set(keys.waited(names[0]), "")
        pipe.wait(self.wanted, max(1, self.patience_ms))
        answer, _, replicas = pipe.execute(raise_on_error=False)
        return answer, replicas


NO_REPLICAS: Final = Replicas()
