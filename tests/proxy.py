"""A TCP proxy before a server's socket that can lose connections without a word, as a firewall or a lost host does."""

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK = 64 * 1024


class Proxy:
    """Forwards connections on a free port of the loopback to a Unix socket.

    with Proxy(path) as proxy:
        ... connect to 127.0.0.1, proxy.port ...
        proxy.forget()   # what is connected now hears nothing any more, and is not told; new connections work
    """

    def __init__(self, target: Path) -> None:
        # Where new connections lead: another server, after a fail-over.
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[_Pair] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        # To the accepting thread, a shut listener is the end; a closed one would be none.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for pair in self._pairs:
            pair.close()
        self._thread.join(timeout=5)

    def forget(self) -> int:
        """Forward nothing more on any connection that is there now; returns how many there are."""
        for pair in self._pairs:
            pair.forgotten.set()
        return len(self._pairs)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._pairs.append(_Pair(client, self.target))


class _Pair:
    """One connection, and the one behind it."""

    def __init__(self, client: socket.socket, target: Path) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(target))
        self.forgotten = threading.Event()
        self._sockets = (client, server)
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def close(self) -> None:
        for end in self._sockets:
            end.close()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if self.forgotten.is_set():
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
