"""What a cluster is asked: commands, each of one slot, and transactions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError

from notifications.stream.nodes import Link, Node

Answer = Any

KEYLESS: Final = frozenset({"TIME", "PING", "INFO", "WAIT", "ROLE", "CONFIG GET", "CLUSTER INFO", "CLUSTER SLOTS"})


class Command:
    """What one slot is asked: a command, or several in a transaction."""

    def __init__(self, parts: Sequence[tuple[Any, ...]], options: Mapping[str, Any], slot: int | None) -> None:
        self.parts = parts
        self.options = options
        self.slot = slot
        self.answer: Answer = None
        # Where a redirection sends it, whether it is to be asked again, how often it was redirected, or lost with its
        # connection.
        self.ask: Node | None = None
        self.is_again = False
        self.redirected = 0
        self.lost = 0

    @property
    def is_keyless(self) -> bool:
        """Whether it names no key, and goes where others go."""
        return self.parts[0][0] in KEYLESS

    def read(self, client: Any, connection: Link) -> Answer:  # noqa: ANN401 - redis-py's, in part without types
        """Take its answer from a connection. Raises what the server says is wrong."""
        return client.parse_response(connection, self.parts[0][0], **self.options)


class Transaction(Command):
    """Commands of one slot between MULTI and EXEC; their answers as a list."""

    def __init__(self, stack: Sequence[tuple[tuple[Any, ...], dict[str, Any]]], slot: int) -> None:
        super().__init__([("MULTI",), *(args for args, _ in stack), ("EXEC",)], {}, slot)
        self._stack = stack

    def read(self, client: Any, connection: Link) -> Answer:  # noqa: ANN401 - redis-py's, in part without types
        """Take all answers; raises the first that refuses the transaction."""
        refused: ResponseError | None = None
        for _ in self.parts[:-1]:
            try:
                connection.read_response()
            except ResponseError as error:
                refused = refused or error
        try:
            answers: Any = connection.read_response()
        except ResponseError as error:
            raise refused or error from None
        return [_called_back(client, *asked, answer) for asked, answer in zip(self._stack, answers, strict=True)]


def slot_of(key: str | bytes) -> int:
    """The slot of a key."""
    return key_slot(key.encode() if isinstance(key, str) else key)


def slot_in(args: tuple[Any, ...]) -> int | None:
    """The slot of a command by its first key; None where it has none."""
    name = args[0]
    if name in {"EVALSHA", "EVAL"}:
        return slot_of(args[3]) if int(args[2]) else None
    if name == "XREADGROUP":
        return slot_of(args[_streams(args) + 1])
    return None if name in KEYLESS else slot_of(args[1])


def _streams(args: tuple[Any, ...]) -> int:
    return next(place for place, word in enumerate(args) if word in {"STREAMS", b"STREAMS"})


def is_to_wait(command: Command) -> bool:
    """Whether its slot is on its way to another node, and whole a moment later. ASKING is no way for a transaction."""
    error = command.answer
    asked = isinstance(error, AskError) and not isinstance(error, MovedError)
    return isinstance(error, TryAgainError) or (asked and isinstance(command, Transaction))


def words_of(batch: Iterable[Command]) -> list[tuple[Any, ...]]:
    """What goes out for a batch, in order: ASKING before what a redirection sends here."""
    words: list[tuple[Any, ...]] = []
    for command in batch:
        if command.ask is not None:
            words.append(("ASKING",))
        words += command.parts
    return words


def _called_back(client: Any, args: tuple[Any, ...], options: Mapping[str, Any], answer: Answer) -> Answer:  # noqa: ANN401 - see `read`
    callback = client.response_callbacks.get(args[0])
    if callback is None or isinstance(answer, Exception):
        return answer
    # `keys` is for redis-py's cache.
    return callback(answer, **{name: value for name, value in options.items() if name != "keys"})
