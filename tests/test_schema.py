"""The API's description: complete, valid, and true of every example that it shows."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema
from rest_framework.status import is_success
from rest_framework.views import APIView

from bulk.api import listing as bulks
from bulk.api import making
from bulk.tests.helpers import make_job
from conftest import Caller
from dlq.api import listing as letters
from dlq.tests.letters import event, record
from notifications.access import keys
from notifications.api import reading
from notifications.api.query import Bounds
from notifications.api.schema import document as description
from notifications.api.schema import inspector
from notifications.api.schema.document import document
from notifications.api.schema.operation import JSON
from scheduler.api import listing as schedules
from scheduler.api import views
from tests import documented
from tests.documented import STRICT, Example, deviations

pytestmark = pytest.mark.one_shard_is_enough

SENT = documented.sent(STRICT)
OBJECTS = [example for example in SENT if example.media_type == JSON]
WITHOUT_BODY = {
    (method, path) for method, path, operation in documented.operations(STRICT) if "requestBody" not in operation
}
INBOX = "/api/notifications"
BOUNDS: dict[tuple[str, str], Bounds] = {
    ("get", INBOX): reading.BOUNDS,
    ("get", "/api/schedule"): schedules.BOUNDS,
    ("post", "/api/schedule"): views.PREVIEW,
    ("get", "/api/schedule/{schedule_id}"): views.PREVIEW,
    ("get", "/api/bulk"): bulks.BOUNDS,
    ("post", "/api/bulk"): making.STRICT,
    ("get", "/api/dlq"): letters.BOUNDS,
    ("get", "/api/schema/"): description.BOUNDS,
}
EVENT = {"recipient": "alice", "type": "order.shipped", "title": "It is on its way"}


def routes(patterns: list[Any], prefix: str = "/") -> Iterator[tuple[str, type[APIView]]]:
    """Every address of a DRF view, as drf-spectacular writes it."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern) and (view := getattr(pattern.callback, "cls", None)):
            yield "".join(_named(part) for part in route.split("<")), view


def _named(part: str) -> str:
    name, bracket, rest = part.partition(">")
    return f"{{{name.rpartition(':')[2]}}}{rest}" if bracket else part


def test_the_description_is_valid_openapi_3_1() -> None:
    validate: Any = validate_schema
    validate(document())
    assert document()["openapi"].startswith("3.1")


def test_drf_spectacular_has_no_complaint() -> None:
    document()
    assert not GENERATOR_STATS._warn_cache, dict(GENERATOR_STATS._warn_cache)
    assert not GENERATOR_STATS._error_cache, dict(GENERATOR_STATS._error_cache)


def test_every_method_of_every_address_is_described_and_nothing_else() -> None:
    described = {(method, path) for method, path, _ in documented.operations(document())}
    there = {
        (method, path)
        for path, view in routes(get_resolver().url_patterns)
        if path.startswith("/api/")
        for method in documented.METHODS
        if hasattr(view, method)
    }
    assert described == there | {("get", "/healthz"), ("get", "/readyz")}
    assert {f"{method.upper()} {path}" for method, path in described} == inspector.operations().keys()


@pytest.mark.parametrize(("method", "path"), sorted(BOUNDS))
def test_every_parameter_that_an_address_takes_is_described_and_no_other(method: str, path: str) -> None:
    described = {one["name"] for one in STRICT["paths"][path][method]["parameters"] if one["in"] == "query"}
    assert described == BOUNDS[method, path].keys()


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, _, operation in documented.operations(document())]
    assert len(set(names)) == len(names)


def test_every_answer_that_is_shown_fits_what_is_said_of_it() -> None:
    shown = list(documented.answers(STRICT))
    assert len(shown) > 100
    wrong = {where: faults for where, schema, value in shown if (faults := documented.faults(STRICT, schema, value))}
    assert not wrong


def test_every_body_that_is_shown_fits_what_is_said_of_it() -> None:
    for example in SENT:
        content = STRICT["paths"][example.path][example.method]["requestBody"]["content"][example.media_type]
        assert not documented.faults(STRICT, content["schema"], example.value), str(example)


def test_the_description_is_there_for_everybody_as_json_and_as_yaml(client: Client) -> None:
    plain, asked = client.get("/api/schema/"), client.get("/api/schema/?format=yaml")
    accepting = client.get("/api/schema/", headers={"Accept": "application/yaml"})
    assert plain["Content-Type"] == "application/json"
    assert asked["Content-Type"] == accepting["Content-Type"] == "application/yaml"
    assert plain.json() == yaml.safe_load(asked.content) == yaml.safe_load(accepting.content) == document()
    assert client.get("/api/schema/?format=xml").status_code == 400


def test_the_page_of_the_api_is_there_for_everybody_and_keeps_to_itself(client: Client) -> None:
    page = client.get("/api/docs/")
    assert page.status_code == 200
    assert "unsafe" not in page["Content-Security-Policy"]
    assert "http:" not in page.content.decode()
    assert "https:" not in page.content.decode()


@pytest.fixture
def targets(producer: Caller) -> dict[str, str]:
    """Something behind every parameter of a path."""
    made = producer.post("/api/schedule", {**EVENT, "daily": "08:30"}, content_type=JSON).json()
    return {
        "recipient": "alice",
        "event_id": producer.post("/api/notify", EVENT, content_type=JSON).json()["id"],
        "schedule_id": made["id"],
        "job_id": str(make_job().pk),
        "letter_id": str(record(event("alice")).pk),
    }


@pytest.mark.parametrize("example", SENT, ids=str)
def test_a_body_that_is_shown_is_taken_and_answered_as_is_said(
    example: Example, producer: Caller, targets: dict[str, str]
) -> None:
    response = send(producer, example, targets)
    assert is_success(response.status_code), response.content
    assert not told_otherwise(example.method, example.path, response)


@pytest.mark.parametrize(("method", "path"), sorted(WITHOUT_BODY))
def test_what_takes_no_body_answers_as_is_said(
    method: str, path: str, producer: Caller, targets: dict[str, str]
) -> None:
    if path.endswith("/resume"):
        producer.generic("POST", path.replace("resume", "pause").format(**targets))
    query = "recipient=alice" if path == INBOX else ""
    response = producer.generic(method.upper(), path.format(**targets), QUERY_STRING=query)
    assert is_success(response.status_code), response.content
    assert not told_otherwise(method, path, response)


@pytest.mark.parametrize("example", OBJECTS, ids=str)
def test_a_field_that_is_not_described_is_refused(example: Example, producer: Caller, targets: dict[str, str]) -> None:
    response = send(producer, example._replace(value={**example.value, "surplus": 1}), targets)
    assert response.status_code == 400
    assert not told_otherwise(example.method, example.path, response)


@pytest.mark.parametrize("example", OBJECTS, ids=str)
def test_a_body_that_is_too_large_is_refused_with_the_limit_that_is_described(
    example: Example, producer: Caller, targets: dict[str, str]
) -> None:
    operation = STRICT["paths"][example.path][example.method]
    (limit,) = re.findall(r"[Aa]t most (\d+) bytes", operation["requestBody"]["description"])
    ask = getattr(producer, example.method)
    response = ask(example.path.format(**targets), b" " * (int(limit) + 1), content_type=JSON)
    assert response.status_code == 413
    assert limit in response.json()["detail"]
    assert limit in operation["responses"]["413"]["description"]
    assert not told_otherwise(example.method, example.path, response)


@pytest.mark.parametrize("path", ["/api/notify", "/api/notify/batch", "/api/schedule", "/api/bulk"])
def test_a_key_used_twice_and_a_rate_used_up_are_answered_as_is_said(path: str, db: None) -> None:
    example = next(one for one in SENT if one.path == path)
    slow, once = Caller(keys.create("tests", rate="1/d")[1]), {"Idempotency-Key": "one"}
    taken = slow.post(path, example.value, content_type=JSON, headers=once)
    replayed = slow.post(path, example.value, content_type=JSON, headers=once)
    # The same to a reader, and another body.
    conflict = slow.post(path, json.dumps(example.value) + " ", content_type=JSON, headers=once)
    over = slow.post(path, example.value, content_type=JSON)
    answers = (taken, replayed, conflict, over)
    assert [response.status_code for response in answers] == [taken.status_code, taken.status_code, 422, 429]
    assert is_success(taken.status_code)
    assert replayed["Idempotency-Replayed"] == "true"
    assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= over.headers.keys()
    assert not [fault for response in answers for fault in told_otherwise("post", path, response)]


def send(caller: Client, example: Example, targets: dict[str, str]) -> Any:
    """Call an operation with a body; a path's parameters are filled in."""
    body = json.dumps(example.value) if example.media_type == JSON else example.value
    ask = getattr(caller, example.method)
    return ask(example.path.format(**targets), body, content_type=example.media_type)


def told_otherwise(method: str, path: str, response: Any) -> list[str]:
    """How an answer differs from what is said of the operation."""
    content = b"".join(response) if response.streaming else response.content
    is_json = response.headers.get("Content-Type", "").endswith(("/json", "+json"))
    body = (json.loads(content) if is_json else content.decode()) if content else None
    operation = STRICT["paths"][path][method]
    return deviations(STRICT, operation, response.status_code, response.headers, body)
