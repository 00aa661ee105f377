"""An operation as OpenAPI 3.1 writes it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from drf_spectacular.plumbing import ComponentRegistry

from notifications.api import problems
from notifications.api.schema import parts
from notifications.api.schema.components import Schema, schema_of
from notifications.api.schema.operation import Answer, Body, Content, Operation, Parameter

API_KEY: Final = "apiKey"
RECIPIENT_TOKEN: Final = "recipientToken"  # noqa: S105 - a name
SESSION: Final = "session"


def written(operation: Operation, registry: ComponentRegistry) -> Schema:
    """The operation as an object of the document."""
    parameters = [*operation.parameters, *([parts.IDEMPOTENCY_KEY] if operation.once else [])]
    return {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        **({"parameters": [_parameter(one, registry) for one in parameters]} if parameters else {}),
        **({"requestBody": _body(operation.body, registry)} if operation.body else {}),
        "security": _security(operation),
        "responses": {
            **{str(status): _answer(operation, one, registry) for status, one in operation.answers.items()},
            **{str(status): problem_ref(status, meaning) for status, meaning in sorted(_problems(operation).items())},
        },
    }


def problem_ref(status: int, meaning: str = "") -> Schema:
    """A problem among an operation's responses, with what it means there."""
    described = {"description": meaning} if meaning else {}
    return {"$ref": f"#/components/responses/{parts.PROBLEMS[status][0]}", **described}


def problem_response(status: int, registry: ComponentRegistry) -> Schema:
    """A problem, as all operations share it."""
    _, meaning, detail = parts.PROBLEMS[status]
    example = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if status == HTTPStatus.BAD_REQUEST:
        example["errors"] = parts.EXAMPLE_ERRORS
    return {
        "description": meaning,
        "headers": {name: _header_ref(name) for name in parts.PROBLEM_HEADERS.get(status, ())},
        "content": {problems.MEDIA_TYPE: {"schema": schema_of(parts.Problem, registry), "example": example}},
    }


def _problems(operation: Operation) -> dict[int, str]:
    """The statuses that follow from what an operation is, and those that it names."""
    of = {
        400: operation.body or operation.once or any(one.where == "query" for one in operation.parameters),
        401: operation.scope,
        403: operation.scope,
        404: any(one.where == "path" for one in operation.parameters),
        413: operation.body,
        415: operation.body,
        422: operation.once,
        429: operation.rated,
        503: operation.scope,
    }
    meanings = {status: "" for status, applies in of.items() if applies}
    if operation.body and operation.body.limit:
        meanings[413] = f"The body has more than {operation.body.limit} bytes."
    return {**meanings, **operation.problems}


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    if operation.scope is None:
        return []
    recipient: list[dict[str, list[str]]] = [{RECIPIENT_TOKEN: []}] if operation.recipient else []
    return [{API_KEY: [operation.scope]}, *recipient, {SESSION: []}]


def _parameter(parameter: Parameter, registry: ComponentRegistry) -> Schema:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        **({"required": True} if parameter.required else {}),
        # As `asked` reads a query: `type=` asks for nothing.
        **({"allowEmptyValue": True} if parameter.where == "query" else {}),
        "schema": schema_of(parameter.kind, registry),
        **({} if parameter.example is None else {"example": parameter.example}),
    }


def _body(body: Body, registry: ComponentRegistry) -> Schema:
    limit = f"At most {body.limit} bytes." if body.limit else ""
    return {
        "description": f"{body.description} {limit}".strip(),
        "required": body.required,
        "content": {media: _content(content, registry) for media, content in body.contents.items()},
    }


def _content(content: Content, registry: ComponentRegistry) -> Schema:
    examples = {"examples": _examples(content.examples)} if content.examples else {}
    return {"schema": schema_of(content.kind, registry), **examples}


def _answer(operation: Operation, answer: Answer, registry: ComponentRegistry) -> Schema:
    headers = [
        *answer.headers,
        *(["Idempotency-Replayed"] if operation.once else []),
        *(parts.RATE_HEADERS if operation.rated else []),
    ]
    content = Content(answer.kind, answer.examples)
    media_types = () if answer.kind is None else answer.media_types
    return {
        "description": answer.description,
        **({"headers": {name: _header_ref(name) for name in headers}} if headers else {}),
        **({"content": {media: _content(content, registry) for media in media_types}} if media_types else {}),
    }


def _examples(examples: Mapping[str, Any]) -> Schema:
    return {name: {"summary": name.replace("_", " "), "value": value} for name, value in examples.items()}


def _header_ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}
