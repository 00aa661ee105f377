"""No secret is in a log or an error, whatever is asked, in whatever place of a request, and whatever breaks.

Every other test looks for the usual ones, too, when its stack ends (stack.py).
"""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from notifications.access import tokens
from notifications.access.keys import new_secret
from tests.authorization import signed
from tests.dashboards import COOKIE, LOGIN, session_of
from tests.stack import ADMIN_USER, Stack, wait_until

pytestmark = [pytest.mark.one_shard_is_enough, pytest.mark.filterwarnings("ignore:The HMAC key")]

DATABASE_PASSWORD: Final = "the-password-of-the-database"
REDIS_PASSWORD: Final = "the-password-of-redis"
METRICS_TOKEN: Final = "the-token-of-the-metrics"
WRONG_PASSWORD: Final = "a wrong password, typed by hand"
EVENT: Final = {"recipient": "alice", "type": "test", "title": "A title"}
CSRF: Final = "c" * 32
JSON: Final = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything runs, at the log's most talkative, with passwords in the addresses of both servers."""
    with Stack(
        tmp_path_factory.mktemp("stack"),
        NOTIFY_LOG_LEVEL="DEBUG",
        NOTIFY_ACCESS_LOG="1",
        NOTIFY_METRICS_TOKEN=METRICS_TOKEN,
    ) as running:
        with running.redis() as client:
            client.config_set("requirepass", REDIS_PASSWORD)
        running.env["REDIS_URL"] += f"?password={REDIS_PASSWORD}"
        running.env["DATABASE_URL"] = running.env["DATABASE_URL"].replace("@", f":{DATABASE_PASSWORD}@", 1)
        running.secrets |= {DATABASE_PASSWORD, REDIS_PASSWORD, WRONG_PASSWORD, METRICS_TOKEN}
        running.start_web()
        running.start_worker()
        running.start_scheduler()
        yield running


class Asker:
    """Asks for the right things and the wrong ones, with secrets in every place; keeps what it was answered."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.heard: list[str] = []
        self.session = session_of(stack, ADMIN_USER)
        self.token = tokens.issue("alice", 600)[0]
        self.others = [new_secret(), tokens.issue("alice", -1)[0], signed("HS512"), signed(key="x" * 32)]
        stack.secrets |= {self.token, *self.others}

    def ask_everything(self) -> None:
        """Each secret in each place."""
        with httpx.Client(base_url=self._stack.url, trust_env=False, timeout=30) as client:
            for secret in (self._stack.api_key, self.token, self.session, METRICS_TOKEN, *self.others):
                self._put_everywhere(client, secret)
        for secret in (self.token, *self.others):
            self._open("/ws/inbox/", secret)
        self._open("/ws/dashboard/", self.token)
        self._garbage()
        self.ask_the_usual()

    def ask_the_usual(self) -> None:
        """What fails while a server is away, with everything that a request brings."""
        with httpx.Client(base_url=self._stack.url, trust_env=False, timeout=30) as client:
            key, own = ({"Authorization": f"Bearer {secret}"} for secret in (self._stack.api_key, self.token))
            self._hear(client, "POST", "/api/notify", json=EVENT, headers=key)
            self._hear(client, "GET", "/api/dlq", headers=key)
            self._hear(client, "GET", "/api/recipients/alice/unread", headers=own)
            self._hear(client, "GET", "/", headers={"Cookie": f"{COOKIE}={self.session}"})
            client.cookies.set("csrftoken", CSRF)
            for user, password in ((ADMIN_USER, WRONG_PASSWORD), (WRONG_PASSWORD, "x")):
                typed = {"username": user, "password": password, "csrfmiddlewaretoken": CSRF}
                with suppress(httpx.HTTPError):
                    client.post(LOGIN, data=typed)
        self._open("/ws/inbox/", self.token)

    def _put_everywhere(self, client: httpx.Client, secret: str) -> None:
        bearer = {"Authorization": f"Bearer {secret}"}
        cookies = {"Cookie": f"{COOKIE}={secret}; csrftoken={secret}"}
        for body in (EVENT, secret, {secret: 1}, {**EVENT, "data": {secret: secret}, "title": ""}, [secret]):
            self._hear(client, "POST", "/api/notify", json=body, headers=bearer)
        self._hear(client, "POST", "/api/notify", content="{" + secret, headers=bearer | JSON)
        self._hear(client, "POST", "/api/notify", json=EVENT, headers=bearer | {"Idempotency-Key": secret})
        self._hear(client, "POST", "/api/notify", json=EVENT, headers=cookies)
        self._hear(client, "POST", "/api/schedule", json={**EVENT, "at": secret}, headers=bearer)
        self._hear(client, "GET", f"/api/notifications?recipient=alice&token={secret}&cursor={secret}", headers=bearer)
        self._hear(client, "GET", f"/api/stats?api_key={secret}", headers={"Authorization": secret})
        self._hear(client, "GET", "/api/dlq", headers={"Authorization": f"Bearer {secret} {secret}"})
        self._hear(client, "GET", f"/?next={secret}", headers=cookies)
        self._hear(client, "GET", f"/metrics?token={secret}", headers=bearer)
        self._hear(client, "POST", "/admin/logout/", data={"csrfmiddlewaretoken": secret}, headers={"Referer": secret})

    def _hear(self, client: httpx.Client, method: str, path: str, **sent: Any) -> None:
        with suppress(httpx.HTTPError):
            answer = client.request(method, path, **sent)
            self.heard.append(f"{answer.status_code} {answer.text}")

    def _open(self, path: str, secret: str) -> None:
        address = self._stack.url.replace("http", "ws", 1) + path
        offered = [Subprotocol("notify.v1"), Subprotocol(f"bearer.{secret}")]
        headers = {"Authorization": f"Bearer {secret}", "Cookie": f"{COOKIE}={self.session}"}
        with (
            suppress(WebSocketException, OSError, TimeoutError, EOFError),
            connect(
                f"{address}?token={secret}", subprotocols=offered, additional_headers=headers, proxy=None
            ) as opened,
        ):
            opened.recv(5)
            for said in (secret, json.dumps({"type": secret}), json.dumps({"type": "read", "ids": [secret]})):
                opened.send(said)
            opened.send(secret.encode())
            opened.recv(5)

    def _garbage(self) -> None:
        """What is no HTTP, with a key in it."""
        address = urlsplit(self._stack.url)
        key = self._stack.api_key
        for sent in (f"{key}\r\n\r\n", f"GET /?k={key} HTTP/9.9\r\nX: {self.token}\r\n\r\n"):
            with socket.create_connection((address.hostname, address.port), 5) as connection, suppress(OSError):
                connection.sendall(sent.encode())
                connection.settimeout(2)
                connection.recv(1000)


def logs(stack: Stack) -> dict[Path, str]:
    """What the processes wrote, and the servers."""
    return {path: path.read_text(errors="replace") for path in stack.folder.glob("*.log")}


def test_no_secret_is_written_down_whatever_is_asked_and_whatever_breaks(stack: Stack) -> None:
    asker = Asker(stack)
    asker.ask_everything()

    stack.postgresql.kill()
    asker.ask_the_usual()
    stack.postgresql.start()

    stack.valkey.kill()
    asker.ask_the_usual()
    # It comes back without its password, and says what it thinks of who brings one.
    stack.valkey.start()
    asker.ask_the_usual()

    written = logs(stack)
    wait_until(lambda: sum(map(len, logs(stack).values())) > 1000, message="nothing was logged")
    assert len(written) >= 5
    leaked = {(path.name, secret) for path, text in written.items() for secret in stack.secrets if secret in text}
    assert leaked == set()
    passwords = {DATABASE_PASSWORD, REDIS_PASSWORD, WRONG_PASSWORD}
    assert [answer for answer in asker.heard if any(password in answer for password in passwords)] == []
    statuses = {answer[:3] for answer in asker.heard}
    assert {"202", "200", "400", "401", "403", "503"} <= statuses
