"""The short way past Django says what Django says, and hands on to it whatever is not for it to say."""

import time
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any

import httpx
import msgspec
import pytest
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from redis.exceptions import TimeoutError as RedisTimeoutError

from notifications import metrics, tracing
from notifications.access import keys
from notifications.api import accepting, base
from notifications.stream import keys as names
from notifications.stream import scripts
from notifications.stream.client import Shards
from notify_project import short_way
from notify_project.configuration import networks
from notify_project.metrics import middleware
from notify_project.short_way import ShortWay
from notify_project.wsgi import Handler

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.one_shard_is_enough,
    pytest.mark.not_on_a_cluster("the short way past Django is that of one server"),
]

EVENT: dict[str, Any] = {"recipient": "alice", "type": "t", "title": "t"}
BODIES: dict[str, Any] = {"/api/notify": EVENT, "/api/notify/batch": {"notifications": [EVENT, EVENT]}}
# What differs from one answer to the next, whoever gives it.
OF_EACH = {"location", "ratelimit", "x-request-id"}
HOST = "http://testserver"
PROXY = "10.0.0.7"


# What Django reads of a request.
SEEN_TO_BEFORE = {"CONTENT_LENGTH", "HTTP_COOKIE", "HTTP_ORIGIN", "REQUEST_METHOD"}
NAMES_THE_SCRIPT = {"REDIRECT_URL", "SCRIPT_NAME", "SCRIPT_URL"}
READ_ON_BOTH_WAYS = {"CONTENT_TYPE", "HTTP_AUTHORIZATION", "HTTP_IDEMPOTENCY_KEY", "HTTP_X_REQUEST_ID", "wsgi.input"}
# Whom a proxy asks for is of interest to /metrics alone, and no user agent is refused.
OF_NO_CONSEQUENCE = {"HTTP_FORWARDED", "HTTP_USER_AGENT", "HTTP_VIA", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP"}
ITS_OWN = {accepting.TRIED, middleware.BEGAN, "CSRF_COOKIE_NEEDS_UPDATE"}


class Django:
    """Django as the short way has it behind itself, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self._handler = Handler()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.asked += 1
        response: Iterable[bytes] = self._handler(environ, start_response)
        return response


class Web:
    """The short way with Django behind it, and a program with a key that asks them."""

    def __init__(self) -> None:
        self.key, self.secret = keys.create("shop", ["send"], "20/d")
        self.django = Django()
        self.short_way = ShortWay(self.django)

    def post(self, body: Any = EVENT, path: str = "/api/notify", **more: Any) -> httpx.Response:
        """The answer to a request that comes to the short way first."""
        self.django.asked = 0
        return self._post(self.short_way, body, path, **more)

    def ask_django(self, body: Any = EVENT, path: str = "/api/notify", **more: Any) -> httpx.Response:
        """The answer of Django alone, which has never seen the key."""
        keys._remembered.clear()
        return self._post(self.django, body, path, **more)

    def _post(
        self, application: Any, body: Any, path: str, url: str = HOST, peer: str = "127.0.0.1", **headers: str
    ) -> httpx.Response:
        given = {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json", **headers}
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        with httpx.Client(transport=httpx.WSGITransport(application, remote_addr=peer)) as client:
            return client.post(url + path, content=content, headers=given)


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """A test is one transaction, so no request ends its connection; Django's own test client sees to the same."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def web() -> Web:
    """One that knows the key, and what Django says at each address."""
    web = Web()
    for path, body in BODIES.items():
        assert web.post(body, path).status_code == 202
        assert web.django.asked == 1
        assert web.post(body, path).status_code == 202
        assert web.django.asked == 0
    return web


@pytest.fixture
def behind_a_proxy(settings: Any) -> Web:
    """One that takes requests by https only, as a trusted proxy says."""
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.NOTIFY_TRUSTED_PROXIES = networks("trusted_proxies", PROXY)
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS = True, 60
    return Web()


def accepted(shards: Shards) -> int:
    return sum(int(shards.client.xlen(names.lane(shard, "live"))) for shard in shards.each())


def said(answer: httpx.Response) -> tuple[int, dict[str, str], int]:
    """What an answer says that is not of itself alone."""
    told = {name: "" if name in OF_EACH else value for name, value in answer.headers.items()}
    return answer.status_code, told, len(answer.content)


@pytest.mark.parametrize("path", BODIES)
def test_an_answer_has_djangos_very_headers(path: str, web: Web) -> None:
    theirs = web.ask_django(BODIES[path], path)
    ours = web.post(BODIES[path], path)
    assert web.django.asked == 0
    assert said(ours) == said(theirs)
    assert ours.headers.get("location", "").removeprefix("/api/notifications/") == ours.json().get("id", "")
    assert len(ours.headers["x-request-id"]) == len(theirs.headers["x-request-id"])
    assert ours.headers["ratelimit"] < theirs.headers["ratelimit"]


@pytest.mark.parametrize("path", BODIES)
def test_an_answer_that_is_given_again_is_the_same_on_either_way(path: str, web: Web) -> None:
    answers = [ask(BODIES[path], path, **{"Idempotency-Key": "k", "X-Request-ID": "mine"})
               for ask in (web.post, web.post, web.ask_django)]  # fmt: skip
    first, *again = ({**answer.headers, "body": answer.text} for answer in answers)
    assert again == [{**first, "idempotency-replayed": "true"}] * 2
    assert first["x-request-id"] == "mine"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (EVENT, {"Cookie": "theme=dark"}),
        (EVENT, {"Origin": "https://shop.example"}),
        (EVENT, {"Authorization": "Basic bmF0"}),
        (EVENT, {"Authorization": "Bearer nk_unknown"}),
        (EVENT, {"Authorization": "Bearer a.token"}),
        (EVENT, {"Host": "elsewhere.example"}),
        (EVENT, {"Content-Type": "text/plain"}),
        (EVENT, {"Content-Length": "1e3"}),
        (EVENT, {"Idempotency-Key": ""}),
        (EVENT, {"Idempotency-Key": "used"}),
        ({}, {}),
        (b"{", {}),
        (b"", {}),
        ({**EVENT, "body": "x" * base.MAX_SINGLE_BYTES}, {}),
        ({"notifications": [EVENT]}, {}),
    ],
    ids=str,
)
def test_what_is_not_for_it_to_answer_is_handed_on(body: Any, headers: dict[str, str], web: Web) -> None:
    assert web.post({**EVENT, "title": "another"}, **{"Idempotency-Key": "used"}).status_code == 202
    ours = web.post(body, **headers)
    assert web.django.asked == 1
    theirs = web.ask_django(body, **headers)
    assert said(ours) == said(theirs)
    assert ours.status_code == 202 or ours.content == theirs.content


@pytest.mark.parametrize("name", ["access_log", "tracing"])
def test_who_follows_requests_is_told_of_each_by_django(name: str, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(name, monkeypatch)
    assert web.post().status_code == 202
    assert web.django.asked == 1


def follow(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "tracing":
        monkeypatch.setattr(tracing, "is_on", lambda: True)
    else:
        monkeypatch.setattr(settings, "NOTIFY", msgspec.structs.replace(settings.NOTIFY, access_log=True))


class Environ(dict[str, Any]):
    """A request as a server hands it over, which notes what is read of it."""

    def __init__(self, web: Web, **changed: Any) -> None:
        body = msgspec.json.encode(EVENT)
        super().__init__(
            {
                "REQUEST_METHOD": "POST",
                "PATH_INFO": "/api/notify",
                "SCRIPT_NAME": "",
                "CONTENT_TYPE": "application/json",
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_AUTHORIZATION": f"Bearer {web.secret}",
                "HTTP_HOST": "testserver",
                "REMOTE_ADDR": "127.0.0.1",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "wsgi.url_scheme": "http",
                "wsgi.input": OpenBody(body),
                **changed,
            }
        )
        self.read = set[str]()

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.read.add(str(name))
        return super().__contains__(name)


class OpenBody(BytesIO):
    """A body on a connection that stays open: who asks for more than there is would wait for ever."""

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 <= size <= len(self.getvalue())
        return super().read(size)


@pytest.mark.parametrize(
    "changed",
    [{"REQUEST_METHOD": "GET"}, {"CONTENT_LENGTH": ""}, {"SCRIPT_NAME": "/below"}, {"SCRIPT_URL": "/below/api/notify"}],
)
def test_a_request_of_another_kind_is_djangos(changed: dict[str, str], web: Web) -> None:
    for more in ({}, changed):
        asked = web.django.asked
        list(web.short_way(Environ(web, **more), lambda *_: None))
        assert web.django.asked == asked + bool(more)


def test_django_reads_no_more_of_a_request_than_is_seen_to_here(behind_a_proxy: Web) -> None:
    """Who adds middleware that looks at more has to have it looked at before (LOOKED_AT), or handed on (_is_plain)."""
    web = behind_a_proxy
    environ = Environ(web, REMOTE_ADDR=PROXY, HTTP_X_FORWARDED_PROTO="https")
    keys._remembered.clear()
    (answer,) = web.django(environ, lambda *_: None)
    assert b'"queued"' in answer
    known = SEEN_TO_BEFORE | NAMES_THE_SCRIPT | READ_ON_BOTH_WAYS | OF_NO_CONSEQUENCE | ITS_OWN
    assert environ.read - known <= set(short_way.LOOKED_AT)


def test_a_revoked_key_opens_nothing(web: Web, shards: Shards) -> None:
    before = accepted(shards)
    keys.revoke(web.key)
    assert [web.post().status_code for _ in range(2)] == [401, 401]
    assert accepted(shards) == before


def test_a_key_that_redis_lost_is_looked_up_and_the_request_goes_on_with_its_body(web: Web, shards: Shards) -> None:
    shards.client.flushall()
    assert web.post().status_code == 202
    assert web.django.asked == 1
    assert web.post().status_code == 202
    assert (web.django.asked, accepted(shards)) == (0, 2)


def test_a_refusal_is_djangos_and_redis_is_not_asked_again(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    assert web.post({"notifications": [EVENT] * 14}, "/api/notify/batch").status_code == 202
    run, asked = scripts.run, list[str]()

    def noted(client: Any, name: str, *arguments: Any) -> Any:
        asked.append(name)
        return run(client, name, *arguments)

    monkeypatch.setattr(scripts, "run", noted)
    ours = web.post()
    assert asked == ["admit"]
    theirs = web.ask_django()
    assert ours.status_code == theirs.status_code == 429
    assert ours.headers.keys() == theirs.headers.keys()


def test_an_outage_is_waited_for_once_and_counted_with_the_wait(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    def time_out(_: object, name: str, *__: object) -> None:
        asked.append(name)
        time.sleep(0.05)
        raise RedisTimeoutError

    monkeypatch.setattr(scripts, "run", time_out)
    before = counted("503")
    answer = web.post()
    assert (answer.status_code, answer.headers["Retry-After"], asked) == (503, "2", ["admit"])
    assert counted("503")[0] == before[0] + 1
    assert counted("503")[1] >= before[1] + 0.05


def test_each_answer_is_counted_once(web: Web) -> None:
    before = counted("202")
    for path, body in BODIES.items():
        web.post(body, path)
        web.ask_django(body, path)
    assert counted("202")[0] == before[0] + 2
    assert counted("202")[1] > before[1]


def counted(status: str) -> tuple[float, float]:
    """Answers at /api/notify with this status; and the seconds that answers there took."""
    labels = {"route": "notify", "method": "POST", "status": status}
    requests = metrics.REGISTRY.get_sample_value("notify_http_requests_total", labels) or 0
    return requests, metrics.REGISTRY.get_sample_value("notify_http_request_seconds_sum", {"route": "notify"}) or 0


def test_each_host_and_peer_is_let_in_by_django_first(behind_a_proxy: Web, shards: Shards) -> None:
    web, by_https = behind_a_proxy, {"X-Forwarded-Proto": "https"}
    ours = [web.post(peer=PROXY, **by_https) for _ in range(3)]
    assert web.django.asked == 0
    assert {answer.headers["Strict-Transport-Security"] for answer in ours} == {"max-age=60"}
    for _ in range(2):
        assert web.post(peer=PROXY).status_code == 301
        assert web.post(peer="10.0.0.8", **by_https).status_code == 301
        assert web.post(peer=PROXY, **by_https, Host="elsewhere").status_code == 400
    assert accepted(shards) == 3


def test_of_more_kinds_of_requests_than_it_knows_none_is_refused(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_way, "MOST_KNOWN", 2)
    assert [web.post(peer=f"10.0.0.{number}").status_code for number in range(5)] == [202] * 5
    assert len(web.short_way._heads) <= 2


def test_an_error_of_ours_is_told_once_and_accepts_nothing_twice(
    web: Web, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = accepted(shards)
    monkeypatch.setattr("notifications.api.accepting._receipt", lambda *_: 1 / 0)
    assert web.post().status_code == 500
    assert accepted(shards) == before + 1
