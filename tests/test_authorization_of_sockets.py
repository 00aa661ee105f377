"""Who may open which socket: both of them against everybody who may knock."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from notifications.access import tokens
from tests.authorization import OTHER, OWN, signed, unknown_credentials
from tests.dashboards import COOKIE, session_of
from tests.stack import ADMIN_USER, Stack

pytestmark = [pytest.mark.one_shard_is_enough, pytest.mark.filterwarnings("ignore:The HMAC key")]

ANSWER_SECONDS: Final = 15
EVIL: Final = "https://evil.example"

# A close code, or whose inbox it is; "refused" is a handshake that fails. A foreign page is one of another origin,
# which comes with what would open the socket: alice's token, and a session of staff.
TABLE: Final = """
                  /ws/inbox/   /ws/dashboard/   /ws/nothing
nobody                  4401             4401       refused
unknown                 4401             4401       refused
expired                 4408             4401       refused
key                     4401             4401       refused
own                    alice             4401       refused
other                    bob             4401       refused
staff                   4401             open       refused
visitor                 4401             4401       refused
inactive                4401             4401       refused
a-foreign-page          4403             4403       refused
"""

MAKE_SESSIONS: Final = """
from django.contrib.auth.models import User
from django.test import Client
for name, flags in (("visitor", {}), ("inactive", {"is_staff": True, "is_superuser": True})):
    browser, user = Client(), User.objects.create_user(name, **flags)
    browser.force_login(user)
    print(name, browser.session.session_key)
User.objects.filter(username="inactive").update(is_active=False)
"""


def rows() -> list[tuple[str, dict[str, str]]]:
    """Who knocks, and what each address answers."""
    head, *lines = [line.split() for line in TABLE.strip().splitlines()]
    return [(caller, dict(zip(head, cells, strict=True))) for caller, *cells in lines]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.start_web()
        yield running


@pytest.fixture(scope="module")
def callers(stack: Stack) -> dict[str, list[dict[str, str]]]:
    """The headers of everybody; of those who say nothing true, and of keys, in both ways that a socket takes."""
    printed = stack.manage("shell", "--verbosity=0", "--command", MAKE_SESSIONS).stdout
    sessions = dict(line.split() for line in printed.strip().splitlines())
    staff = session_of(stack, ADMIN_USER)
    unknown = {name: said for name, said in unknown_credentials("nk_" + "a" * 38).items() if name != "an expired token"}
    own = tokens.issue(OWN, 60)[0]
    return {
        "nobody": [{}],
        "unknown": [way for said in unknown.values() for way in _ways(said.removeprefix("Bearer "), said)],
        "expired": _ways(tokens.issue(OWN, -1)[0]),
        "key": _ways(stack.api_key),
        "own": _ways(own),
        "other": _ways(tokens.issue(OTHER, 60)[0]),
        "staff": [{"Cookie": f"{COOKIE}={staff}"}],
        "visitor": [{"Cookie": f"{COOKIE}={sessions['visitor']}"}],
        "inactive": [{"Cookie": f"{COOKIE}={sessions['inactive']}"}],
        "a-foreign-page": [
            {"Origin": origin, "Cookie": f"{COOKIE}={staff}", "Authorization": f"Bearer {own}"}
            for origin in (EVIL, "http://127.0.0.1.evil.example", "http://127.0.0.1:9")
        ],
    }


def _ways(token: str, header: str = "") -> list[dict[str, str]]:
    headers = {"Authorization": header or f"Bearer {token}"}
    return [headers] if " " in token else [headers, {"Sec-WebSocket-Protocol": f"bearer.{token}"}]


def opened(stack: Stack, path: str, headers: Mapping[str, str]) -> str:
    """What a caller gets: a close code, whose inbox it is, "open", or "refused"."""
    sent = dict(headers)
    bearer = sent.pop("Sec-WebSocket-Protocol", "")
    protocols = [Subprotocol(name) for name in ("notify.v1", bearer) if name]
    address = stack.url.replace("http", "ws", 1) + path
    try:
        with connect(address, additional_headers=sent, subprotocols=protocols, proxy=None) as socket:
            hello: dict[str, Any] = json.loads(socket.recv(ANSWER_SECONDS))
            assert hello["type"] == "hello"
            return str(hello.get("recipient", "open"))
    except ConnectionClosed as closed:
        return str(closed.rcvd.code if closed.rcvd else closed)
    except InvalidStatus:
        return "refused"


@pytest.mark.parametrize(("caller", "expected"), rows(), ids=lambda value: str(value)[:30])
def test_everybody_is_let_in_as_the_table_says(
    stack: Stack, callers: dict[str, list[dict[str, str]]], caller: str, expected: dict[str, str]
) -> None:
    found = {path: {opened(stack, path, headers) for headers in callers[caller]} for path in expected}
    assert found == {path: {answer} for path, answer in expected.items()}


def test_a_token_that_is_ours_but_for_nothing_opens(stack: Stack) -> None:
    assert opened(stack, "/ws/inbox/", {"Authorization": f"Bearer {signed()}"}) == OWN
