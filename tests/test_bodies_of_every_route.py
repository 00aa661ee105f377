"""Every address that takes a body, as Django knows them: deep JSON is answered, and the door has the view's limit."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from conftest import Caller
from notify_project.gateway import limits

pytestmark = [pytest.mark.one_shard_is_enough, pytest.mark.django_db]

METHODS = ("post", "put", "patch", "delete")
SOME_ID = "01900000-0000-7000-8000-000000000000"
DEEP = [
    b"[" * 100_000,
    b'{"a":' * 40_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    b'{"data":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
    b'{"notifications":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
    b'{"recipient":"a","type":"t","title":"t","data":' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}",
]


def routes(patterns: list[Any], before: str = "/") -> Iterator[tuple[str, str]]:
    """The method and the address of every view of the API, and of the dashboard's, that takes a body."""
    for pattern in patterns:
        place = before + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, place)
        elif isinstance(pattern, URLPattern) and (view := getattr(pattern.callback, "view_class", None)):
            filled = re.sub(r"<uuid:\w+>", SOME_ID, re.sub(r"<(path|str):\w+>", "alice", place))
            yield from ((method, filled) for method in METHODS if hasattr(view, method))


ROUTES = sorted({route for route in routes(get_resolver().url_patterns) if route[1].startswith(limits.OF_PROGRAMS)})
WITH_BODIES = [(method, path) for method, path in ROUTES if method != "delete"]


def test_the_routes_were_found() -> None:
    assert {("post", "/api/notify"), ("post", "/api/bulk"), ("patch", f"/api/schedule/{SOME_ID}")} <= set(ROUTES)
    assert len(WITH_BODIES) > 12
    assert not [path for _, path in ROUTES if "<" in path]


@pytest.mark.parametrize(("method", "path"), WITH_BODIES)
def test_deep_json_is_refused_and_the_rule_named(producer: Caller, method: str, path: str) -> None:
    for body in DEEP:
        answer = producer.generic(method.upper(), path, body, content_type="application/json")
        # An order without a body does not look at one.
        assert answer.status_code in {400, 404, 409}, (body[:60], answer.content)
        if answer.status_code == 400:
            assert answer.json()["errors"], body[:60]
            assert answer.json()["errors"][0]["detail"]


@pytest.mark.parametrize(("method", "path"), WITH_BODIES)
def test_the_door_lets_in_what_the_view_takes_and_no_more(producer: Caller, method: str, path: str) -> None:
    limit = limits.body_bytes(path.encode())
    kept = producer.generic(method.upper(), path, b" " * limit, content_type="application/json")
    refused = producer.generic(method.upper(), path, b" " * (limit + 1), content_type="application/json")
    assert kept.status_code in {400, 404, 409, 200}, kept.content
    if refused.status_code == 413:
        assert str(limit) in refused.json()["detail"]
    else:
        assert refused.status_code == kept.status_code, "a view that looks at no body"
