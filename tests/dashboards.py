"""A dashboard's socket for tests: signs in as people do, and keeps the newest frame of each kind."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Self

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.stack import ADMIN_PASSWORD, ADMIN_USER, Stack

LOGIN: Final = "/admin/login/"
COOKIE: Final = "sessionid"
RECEIVE_SECONDS: Final = 20.0


def session_of(stack: Stack, user: str = ADMIN_USER) -> str:
    """A session's key, for which somebody signed in as people do."""
    with httpx.Client(base_url=stack.url, trust_env=False, timeout=30) as browser:
        browser.get(LOGIN)
        typed = {"username": user, "password": ADMIN_PASSWORD, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        browser.post(LOGIN, data=typed)
        stack.secrets.add(browser.cookies[COOKIE])
        return browser.cookies[COOKIE]


def ask(stack: Stack, session: str, path: str) -> Any:
    """What the dashboard's pages ask for, with a session; the JSON of an answer that has to be 200."""
    answer = httpx.get(f"{stack.url}{path}", headers={"Cookie": f"{COOKIE}={session}"}, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def connected(url: str, session: str) -> ClientConnection:
    """An open socket of that session."""
    address = url.replace("http", "ws", 1) + "/ws/dashboard/"
    return connect(address, additional_headers={"Origin": url, "Cookie": f"{COOKIE}={session}"}, proxy=None)


class Dashboard:
    """One open dashboard. `frames` has the newest frame of each type, `heard` how many of it came, `points` all."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: dict[str, Any] = {}
        self.heard: dict[str, int] = {}
        self.points: list[Any] = []

    @classmethod
    @contextmanager
    def opened(cls, stack: Stack, session: str = "") -> Iterator[Self]:
        """Open one, for the time of a block."""
        with connected(stack.url, session or session_of(stack)) as connection:
            yield cls(connection)

    def stage(self, name: str) -> dict[str, Any]:
        """A stage as it was last told of; one without a state before the first flow."""
        found: dict[str, Any] = self.frames.get("flow", {}).get("stages", {}).get(name, {"state": None})
        return found

    def listen(self, seconds: float) -> None:
        """Take what comes in a time."""
        self._until(lambda: False, seconds)

    def until(self, condition: Callable[[], object], timeout: float = 30.0, message: str = "") -> None:
        """Take frames until a condition is true; fail, with the last flow, when it is not in time."""
        assert self._until(condition, timeout), f"{message or 'it never came'} ({timeout} s): {self.frames}"

    def until_state(self, name: str, state: str, timeout: float = 30.0) -> dict[str, Any]:
        """Take frames until a stage is in a state; the stage."""
        self.until(lambda: self.stage(name)["state"] == state, timeout, f"{name} was never {state}")
        return self.stage(name)

    def _until(self, condition: Callable[[], object], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not (fulfilled := bool(condition())) and (left := deadline - time.monotonic()) > 0:
            with suppress(TimeoutError):
                self._take(json.loads(self.connection.recv(left)))
        return fulfilled

    def _take(self, frame: Any) -> None:
        kind = frame["type"]
        self.frames[kind] = frame
        self.heard[kind] = self.heard.get(kind, 0) + 1
        if kind == "point":
            self.points.append(frame)
