"""The run's clock, and a caller of the deployment whom lost answers do not surprise."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

import httpx

ANSWER_SECONDS: Final = 5.0


class Timed(Protocol):
    """Something of the plan."""

    @property
    def at(self) -> float:
        """When, in seconds since the start."""


T = TypeVar("T", bound=Timed)


class Clock:
    """Seconds since the start of the run, and whether it is over."""

    def __init__(self) -> None:
        self.begun_unix = time.time()
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._ended = 0.0

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    def wait_until(self, at: float) -> bool:
        """Wait for a time of the plan; False when the run is over before."""
        return not self._over.wait(max(0.0, at - self.now()))

    def through(self, plan: Iterable[T]) -> Iterator[T]:
        """Each part of a plan at its time, until the run is over."""
        for part in plan:
            if not self.wait_until(part.at):
                return
            yield part

    def end(self) -> None:
        """The run is over: nothing new is begun."""
        self._ended = self.now()
        self._over.set()

    def wait_for_calm(self, seconds: float) -> None:
        """Wait until the run has been over for so many seconds."""
        self._over.wait()
        time.sleep(max(0.0, seconds - self.since_end()))

    def since_end(self) -> float:
        """Seconds since the run was over."""
        return self.now() - self._ended


class Part(threading.Thread):
    """A thread with a part in the run. Where it fails, the run is worth nothing, and `failure` says why."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.failure: Exception | None = None

    def run(self) -> None:
        """Play, and keep what ended it before its time."""
        try:
            self.play()
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has to know
            self.failure = error

    def play(self) -> None:
        """What it does, to the end."""
        raise NotImplementedError


class Caller:
    """A client with a key, who asks one gateway or another."""

    def __init__(self, gateways: Sequence[str], api_key: str) -> None:
        self._gateways = gateways
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {api_key}"}, timeout=ANSWER_SECONDS, trust_env=False
        )

    def call(self, gateway: int, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Ask a gateway. Raises httpx.TransportError when no answer comes."""
        url = self._gateways[gateway % len(self._gateways)] + path
        return self._client.request(method, url, json=body, headers=headers)
