"""Everybody who may knock, and what there is to knock at: what tests/test_authorization.py makes its table of."""

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.test.client import ClientHandler
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.crypto import salted_hmac

from dlq import replay
from dlq.tests.letters import event, record
from notifications import store
from notifications.access import keys, tokens
from notifications.access.principal import Scope

OWN: Final = "alice"
OTHER: Final = "bob"
CSRF: Final = "c" * 32
# One for all: each of its own would look through all static files first.
HANDLER: Final = ClientHandler(enforce_csrf_checks=True)
EVENT: Final = {"recipient": OWN, "type": "test", "title": "A title"}
LATER: Final = {**EVENT, "delay": 3600}
CROWD: Final = {"recipients": [OWN], "notification": {"type": "test", "title": "A title"}}

# What has to be sent to get past the first look at it, by how an address ends.
BODIES: Final[Mapping[str, Any]] = {
    "/notify": EVENT,
    "/notify/batch": {"notifications": [EVENT]},
    "/recipients/alice/read": {"all": True},
    "/schedule": LATER,
    "/bulk": CROWD,
    "PATCH /api/schedule": {"title": "Another title"},
    "PATCH /api/bulk": {"rate": "100/s"},
    "/dlq/replay": {"all": True},
}


def claims(**changes: Any) -> dict[str, Any]:
    """What a token of alice's says; a change to None leaves that out."""
    said = {"sub": OWN, "aud": tokens.AUDIENCE, "exp": int(time.time()) + 60, **changes}
    return {name: value for name, value in said.items() if value is not None}


def signed(algorithm: str = "HS256", key: str | bytes | None = None, **changes: Any) -> str:
    """A token that is ours, but for one thing."""
    ours = tokens._signing_key(settings.SECRET_KEY)
    return jwt.encode(claims(**changes), ours if key is None else key, algorithm=algorithm)


def relabelled(token: str, algorithm: str) -> str:
    """A token whose header names another algorithm than the one that signed it."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "typ": "JWT"}).encode()).decode().rstrip("=")
    return ".".join([header, *token.split(".")[1:]])


def bottomless() -> str:
    """A token with a header of nothing but brackets, as many as a server lets in."""
    return base64.urlsafe_b64encode(b"[" * 9000).decode() + ".e30.e30"


def unknown_credentials(revoked: str) -> dict[str, str]:
    """Every Authorization header that says nothing true, by what is wrong with it."""
    session_key = salted_hmac("django.contrib.sessions.SessionStore", "signer").digest()
    bearer = {
        "a malformed key": "nk_nonsense",
        "a key with a wrong check": "nk_" + "a" * 38,
        "a key that nobody made": keys.new_secret(),
        "a revoked key": revoked,
        "no token at all": "not.a.token",
        "an expired token": tokens.issue(OWN, -1)[0],
        "alg none": jwt.encode(claims(), "", algorithm="none"),
        "alg none, with our signature": relabelled(signed(), "none"),
        "signed with another secret": signed(key="x" * 32),
        "signed with the secret itself": signed(key=settings.SECRET_KEY),
        "signed with what signs sessions": signed(key=session_key),
        "HS512, with our key": signed("HS512"),
        "HS512, called HS256": relabelled(signed("HS512"), "HS256"),
        "HS256, called HS512": relabelled(signed(), "HS512"),
        "without exp": signed(exp=None),
        "without sub": signed(sub=None),
        "without aud": signed(aud=None),
        "for somebody else": signed(aud="another.service"),
        "from the future": signed(nbf=int(time.time()) + 3600),
        "a number as sub": signed(sub=7),
        "a header without a bottom": bottomless(),
    }
    schemes = {"another scheme": "Basic YTpi", "a scheme alone": "Bearer", "a key alone": keys.new_secret()}
    return schemes | {name: f"Bearer {token}" for name, token in bearer.items()}


@dataclass(frozen=True)
class Callers:
    """A caller, or many that must be answered alike, for each column of the table."""

    columns: Mapping[str, Mapping[str, Client]]

    @classmethod
    def all(cls) -> "Callers":
        """Make everybody known to this deployment who is."""
        revoked, secret = keys.create("revoked")
        keys.revoke(revoked)
        clerk, root = people("clerk", is_staff=True), people("root", is_staff=True, is_superuser=True)
        one: dict[str, Client] = {
            "nobody": _client({}),
            "guest": _with_csrf(_client({"X-CSRFToken": CSRF})),
            **{scope: _bearer(f"Bearer {keys.create(scope, [scope])[1]}") for scope in _scopes()},
            "own": _bearer(f"Bearer {tokens.issue(OWN, 60)[0]}"),
            "other": _bearer(f"Bearer {tokens.issue(OTHER, 60)[0]}"),
            "staff": _session(clerk),
            "forged": _session(clerk, csrf=False),
            "visitor": _session(people("visitor")),
            "inactive": _session(people("inactive", is_staff=True, is_superuser=True), then_inactive=True),
            "root": _session(root),
        }
        unknown = {name: _bearer(header) for name, header in unknown_credentials(secret).items()}
        return cls({name: {name: client} for name, client in one.items()} | {"unknown": unknown})

    def __getitem__(self, column: str) -> Client:
        """The only caller of a column."""
        (client,) = self.columns[column].values()
        return client

    def outsiders(self) -> Iterator[tuple[str, Client]]:
        """Everybody without a session of staff, and what they come with."""
        for column, callers in self.columns.items():
            if column not in {"staff", "forged", "root"}:
                yield from callers.items()


@dataclass
class World:
    """What there is. Whatever an address names is made anew for each request: many of them change it."""

    producer: Client = field(default_factory=lambda: _bearer(f"Bearer {keys.create('producer')[1]}"))

    def address(self, pattern: str) -> str:
        """An address of the table with ids for its names."""
        for name, make in self._makers().items():
            if f"{{{name}}}" in pattern:
                pattern = pattern.replace(f"{{{name}}}", make())
        return pattern

    def _makers(self) -> dict[str, Callable[[], str]]:
        return {
            "notification": lambda: self._made("/api/notify", EVENT),
            "schedule": lambda: self._made("/api/schedule", LATER),
            "job": lambda: self._made("/api/bulk", CROWD),
            "paused": self._paused,
            "letter": lambda: str(record(event(OWN)).pk),
            "order": lambda: str(replay.order_one(record(event(OWN)).pk, "tests").pk),
            "absent": lambda: str(uuid.uuid4()),
            "row": self._stored,
            "inbox": lambda: OWN if self._stored() else "",
            "key": lambda: str(keys.create("another")[0].pk),
            "user": lambda: str(people(f"user-{uuid.uuid4()}").pk),
            "group": lambda: str(Group.objects.create(name=str(uuid.uuid4())).pk),
            "type": lambda: str(ContentType.objects.get_for_model(User).pk),
        }

    def _made(self, path: str, body: Mapping[str, Any]) -> str:
        answer = self.producer.post(path, body, content_type="application/json")
        assert answer.status_code in {201, 202}, answer.content
        return str(answer.json()["id"])

    def _stored(self) -> str:
        stored = event(OWN)
        store.store([stored])
        return stored.id

    def _paused(self) -> str:
        job = self._made("/api/bulk", CROWD)
        assert self.producer.post(f"/api/bulk/{job}/pause").status_code == 200
        return job


def call(client: Client, method: str, address: str) -> Any:
    """An answer; what the address needs for a body goes with it."""
    path = address.partition("?")[0]
    stem = f"{method} {path.rsplit('/', 1)[0]}"
    body: Any = BODIES.get(stem) or next((BODIES[end] for end in BODIES if path.endswith(end)), {})
    if method in {"GET", "HEAD"}:
        return client.generic(method, address)
    return client.generic(method, address, json.dumps(body), "application/json")


def routes() -> list[str]:
    """Every address that the resolver knows, as it is written in the urls.py files put together."""
    return [route for route, _ in _walk(get_resolver(), "")]


def people(name: str, **flags: bool) -> User:
    """A user, without a password."""
    return User.objects.create(username=name, **flags)


def _walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for found in resolver.url_patterns:
        # As the resolver puts them together (django.urls.resolvers._join_route).
        route = prefix + str(found.pattern).removeprefix("^" if prefix else "")
        if isinstance(found, URLResolver):
            yield from _walk(found, route)
        else:
            yield route, found


def _scopes() -> tuple[Scope, ...]:
    return ("send", "read", "manage")


def _client(headers: Mapping[str, str]) -> Client:
    client = Client(headers=headers, raise_request_exception=False)
    client.handler = HANDLER
    return client


def _bearer(header: str) -> Client:
    return _client({"Authorization": header})


def _session(user: User, *, csrf: bool = True, then_inactive: bool = False) -> Client:
    browser = _client({"X-CSRFToken": CSRF} if csrf else {})
    browser.force_login(user)
    _with_csrf(browser)
    if then_inactive:
        User.objects.filter(pk=user.pk).update(is_active=False)
    return browser


def _with_csrf(client: Client) -> Client:
    client.cookies[settings.CSRF_COOKIE_NAME] = CSRF
    return client
