"""A client of Valkey Cluster or Redis Cluster that takes every command that the client of one server takes.

It keeps three promises that redis-py's own cluster client does not: a pipeline is one round trip to each node at the
same time, scripts and all; a node that is away costs the commands for its own slots an error, at once, and no others;
and whatever goes wrong is a RedisError.

It follows MOVED and ASK, waits out TRYAGAIN, and asks again once over a new connection where the old one was lost, all
within the time-out. What timed out is not asked again.
"""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import redis
from redis.client import Pipeline
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MaxConnectionsError,
    MovedError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from notifications.stream.addresses import Place
from notifications.stream.commands import Answer, Command, Transaction, is_to_wait, slot_in, slot_of, words_of
from notifications.stream.nodes import Link, Node, NodeAway, Nodes, NotServed

REDIRECTS: Final = 8
TRY_AGAIN_SECONDS: Final = 0.02
# A command without a key is asked where this one is, as long as that node answers.
HOME: Final = "notify:{stats}:"

EVERYWHERE: Final = frozenset(
    {"BGREWRITEAOF", "FLUSHALL", "FLUSHDB", "SCRIPT FLUSH", "SCRIPT LOAD", "CONFIG SET", "DBSIZE", "KEYS"}
)
# What becomes of a command whose server cannot be reached: of a cluster, one node may be so alone.
AWAY: Final = (RedisConnectionError, RedisTimeoutError)
LOST: Final = (RedisConnectionError, RedisTimeoutError, OSError)


class Cluster(redis.Redis):
    """The client. Connects when it is first asked something."""

    def __init__(self, nodes: Nodes, options: Mapping[str, Any], *, patience_seconds: float) -> None:
        """`patience_seconds`: for how long redirections are followed."""
        first = nodes.seeds[0]
        super().__init__(connection_pool=redis.ConnectionPool(host=first.host, port=first.port, **options))
        self.nodes = nodes
        self._options = options
        self._patience = patience_seconds
        # Connections that are kept, where this client is one thread's own.
        self._kept: dict[Node, Link] | None = None

    def own(self) -> "Cluster":
        """The same for one thread, with a connection to each node that it keeps."""
        other = Cluster(self.nodes, self._options, patience_seconds=self._patience)
        other._kept = {}
        return other

    def place_of(self, key: str) -> Node:
        """The node that serves a key; that is asked what has none, where it is empty. Raises NodeAway or NotServed."""
        return self.nodes.of(slot_of(key)) if key else self.nodes.answering(slot_of(HOME))

    def time_at(self, key: str) -> Answer:
        """TIME of the same node."""
        command = Command([("TIME",)], {}, slot_of(key) if key else None)
        self.run([command])
        if isinstance(command.answer, Exception):
            raise command.answer
        return command.answer

    def runs(self) -> list[str]:
        """The run of each node; in its place the address of one that is away. Raises NodeAway where all are."""
        told = []
        for node in sorted(self.nodes.primaries(), key=str):
            command = Command([("INFO", "server")], {}, None)
            self._ask_there(command, node)
            told.append(str(node) if isinstance(command.answer, Exception) else str(command.answer["run_id"]))
        if not any(":" not in run for run in told):
            raise NodeAway("no node of the cluster answers")
        return told

    def execute_command(self, *args: Any, **options: Any) -> Answer:  # noqa: ANN401 - redis-py's own signature
        """The answer to one command, of whichever node can tell it."""
        if args[0] == "SCAN":
            return self._scan(*args, **options)
        if args[0] in EVERYWHERE:
            return self._everywhere(args, options)
        command = Command([args], options, slot_in(args))
        self.run([command])
        if isinstance(command.answer, Exception):
            raise command.answer
        return command.answer

    def pipeline(self, transaction: bool = True, shard_hint: object = None) -> Pipeline:  # noqa: ARG002, FBT001, FBT002 - redis-py's own
        """Commands for any slots, in one round trip to each node; for one slot, where it is a transaction."""
        return ClusterPipeline(self, transaction=transaction)

    def run(self, commands: Sequence[Command]) -> None:
        """Ask all of it, and give each its answer, which may be an exception."""
        deadline = time.monotonic() + self._patience
        waiting = commands
        while waiting:
            version = self.nodes.version
            self._ask(waiting)
            waiting = self._once_more(waiting, version) if time.monotonic() < deadline else ()
        for command in commands:
            if isinstance(command.answer, AskError | TryAgainError | ClusterDownError):
                command.answer = NotServed(str(command.answer))

    def close(self) -> None:
        """Close every connection."""
        if self._kept is None:
            self.nodes.close()
        else:
            for node, connection in self._kept.items():
                node.pool.release(connection)
            self._kept = {}
        super().close()

    def _ask(self, commands: Sequence[Command]) -> None:
        """One round trip to each node that is concerned, all at the same time."""
        batches: dict[Node, list[Command]] = {}
        for command in commands:
            try:
                batches.setdefault(self._node(command), []).append(command)
            except RedisError as error:
                command.answer = error
        asked: deque[tuple[Node, list[Command], Link | None]] = deque()
        try:
            for node, batch in batches.items():
                asked.append((node, batch, self._send(node, batch)))
            while asked:
                self._receive(*asked[0])
                asked.popleft()
        except BaseException:
            # What is not read now would be taken for the answer to what is asked next.
            for node, _, connection in asked:
                self._drop(node, connection)
            raise

    def _node(self, command: Command) -> Node:
        if command.ask is not None:
            return command.ask
        if command.slot is None:
            return self.nodes.answering(slot_of(HOME))
        return self.nodes.of(command.slot)

    def _send(self, node: Node, batch: Sequence[Command]) -> Link | None:
        """The connection that the batch went out by; None where it did not, which is then each one's answer."""
        connection: Link | None = None
        try:
            connection = self._connection(node)
            connection.send_packed_command(connection.pack_commands(words_of(batch)))
        except LOST as error:
            self._lose(node, batch, error)
            self._drop(node, connection)
            return None
        except BaseException:
            self._drop(node, connection)
            raise
        return connection

    def _receive(self, node: Node, batch: Sequence[Command], connection: Link | None) -> None:
        if connection is None:
            return
        for number, command in enumerate(batch):
            try:
                if command.ask is not None:
                    connection.read_response()
                command.answer = command.read(self, connection)
            except LOST as error:
                self._lose(node, batch[number:], error)
                self._drop(node, connection)
                return
            except RedisError as error:
                command.answer = error
        self._give_back(node, connection)

    def _lose(self, node: Node, batch: Sequence[Command], error: Exception) -> None:
        """The connection is lost. The second time that happens to a command, the node is away."""
        for command in batch:
            command.answer = error if isinstance(error, RedisError) else RedisConnectionError(str(error))
            command.lost += 1
        final = isinstance(error, RedisTimeoutError) or any(command.lost > 1 for command in batch)
        if final and not isinstance(error, MaxConnectionsError):
            self.nodes.failed(node)

    def _once_more(self, commands: Sequence[Command], version: int) -> list[Command]:
        """Those that are to be asked again: redirected, told to wait, or lost for the first time."""
        if any(is_to_wait(command) for command in commands):
            time.sleep(TRY_AGAIN_SECONDS)
        again = {command.slot: command for command in commands if self._is_to_be_asked_again(command, version)}
        waiting = []
        for command in commands:
            if command.is_again:
                waiting.append(command)
            elif command.slot in again and command.is_keyless:
                # It belongs to what has a key, before it: WAIT to a write.
                command.ask = again[command.slot].ask
                waiting.append(command)
        return waiting

    def _is_to_be_asked_again(self, command: Command, version: int) -> bool:
        command.ask = None
        command.is_again = self._follow(command, version)
        return command.is_again

    def _follow(self, command: Command, version: int) -> bool:
        """Whether there is use in asking again; if so, the table says where, or the command itself."""
        error = command.answer
        if not isinstance(error, Exception) or isinstance(error, NodeAway | NotServed | MaxConnectionsError):
            return False
        if is_to_wait(command):
            return True
        if isinstance(error, AskError):
            command.redirected += 1
            return command.redirected <= REDIRECTS and self._redirect(command, error)
        if isinstance(error, RedisConnectionError | ClusterDownError) and command.lost <= 1 and not command.redirected:
            # A fail-over may be over by now, and nobody told us.
            with suppress(NodeAway):
                self.nodes.refresh(version)
            command.redirected += isinstance(error, ClusterDownError)
            return True
        return False

    def _redirect(self, command: Command, error: AskError) -> bool:
        place = Place(error.host or self._node(command).place.host, error.port)
        if isinstance(error, MovedError):
            self.nodes.moved(error.slot_id, place)
        else:
            command.ask = self.nodes.at(place)
        return True

    def _connection(self, node: Node) -> Link:
        if self._kept is None:
            return node.pool.get_connection()
        if node not in self._kept:
            self._kept[node] = node.pool.get_connection()
        return self._kept[node]

    def _give_back(self, node: Node, connection: Link) -> None:
        if self._kept is None:
            node.pool.release(connection)

    def _drop(self, node: Node, connection: Link | None) -> None:
        """Give a connection back on which an answer may still come: closed."""
        if connection is not None:
            connection.disconnect()
            self._give_back(node, connection)

    def _everywhere(self, args: tuple[Any, ...], options: dict[str, Any]) -> Answer:
        """The answers of every node as one: lists and numbers added up, else the first. Raises the first error."""
        answers = []
        for node in self.nodes.primaries():
            command = Command([args], options, None)
            self._ask_there(command, node)
            answers.append(command.answer)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        if isinstance(answers[0], list):
            return [item for answer in answers for item in answer]
        return sum(answers) if type(answers[0]) is int else answers[0]

    def _ask_there(self, command: Command, node: Node) -> None:
        """Ask a node that is named, once more where the connection was lost. ASKING goes before it and does no harm."""
        for _ in range(2):
            command.ask = node
            self._ask([command])
            if not isinstance(command.answer, RedisConnectionError):
                return

    def _scan(self, name: str, cursor: int, *rest: Any, **options: Any) -> Answer:  # noqa: ANN401 - redis-py's own
        """SCAN one node after the other; the cursor tells which. A change of nodes meanwhile may leave keys out."""
        nodes = self.nodes.primaries()
        there, number = divmod(int(cursor), len(nodes))
        command = Command([(name, there, *rest)], options, None)
        self._ask_there(command, nodes[number])
        if isinstance(command.answer, Exception):
            raise command.answer
        following, names = command.answer
        if following:
            return following * len(nodes) + number, names
        return (number + 1) % len(nodes), names


def is_gone(client: redis.Redis) -> bool:
    """Whether Redis as a whole is away, where some commands found their server to be so."""
    return not isinstance(client, Cluster) or not client.nodes.any_answers()


class ClusterPipeline(Pipeline):
    """Commands for any slots. One without a key is asked where the first one with a key is, in its turn."""

    def __init__(self, cluster: Cluster, *, transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, transaction, None)
        self._cluster = cluster
        self._in_transaction = transaction

    def execute(self, raise_on_error: bool = True) -> list[Answer]:  # noqa: FBT001, FBT002 - redis-py's own
        """Every answer, in order. Raises the first error, unless errors are answers, too."""
        stack, self.command_stack = self.command_stack, []
        if not stack:
            return []
        slots = [slot_in(args) for args, _ in stack]
        first = next((slot for slot in slots if slot is not None), slot_of(HOME))
        if self._in_transaction:
            return self._at_once(Transaction(stack, first))
        commands = [
            Command([args], options, first if slot is None else slot)
            for (args, options), slot in zip(stack, slots, strict=True)
        ]
        self._cluster.run(commands)
        answers = [command.answer for command in commands]
        if raise_on_error:
            _raise_first(answers)
        return answers

    def _at_once(self, transaction: Transaction) -> list[Answer]:
        self._cluster.run([transaction])
        _raise_first([transaction.answer])
        _raise_first(transaction.answer)
        answers: list[Answer] = transaction.answer
        return answers


def _raise_first(answers: Iterable[Answer]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
