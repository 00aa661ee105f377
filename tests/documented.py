"""The API's description as tests read it: strictly, so that a field that it does not name is found."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jsonschema_rs

from notifications.api.schema.document import document

METHODS = frozenset({"get", "post", "put", "patch", "delete"})


class Example(NamedTuple):
    """A body that the description shows; of which operation, under which name."""

    method: str
    path: str
    media_type: str
    name: str
    value: Any

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path} {self.name}"


def strict(node: Any) -> Any:
    """The description with every object closed, and with a query's parameters as they are where they are empty."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: strict(value) for key, value in node.items()}
    # A struct; what has no title is a condition beside one.
    if closed.get("type") == "object" and "properties" in closed and "title" in closed:
        closed.setdefault("additionalProperties", False)
    if closed.pop("allowEmptyValue", False):
        closed["schema"] = {"anyOf": [closed["schema"], {"const": ""}]}
    return closed


def operations(described: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation with its method and its path."""
    for path, item in described["paths"].items():
        for method in METHODS & item.keys():
            yield method, path, item[method]


def resolved(described: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference leads to, with what stands beside it."""
    if "$ref" not in node:
        return node
    found: Any = described
    for name in node["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return {**found, **{key: value for key, value in node.items() if key != "$ref"}}


def faults(described: Mapping[str, Any], schema: Mapping[str, Any], value: Any) -> list[str]:
    """What in a value does not fit a schema of the description."""
    validator = jsonschema_rs.Draft202012Validator(
        {**schema, "components": described["components"]}, validate_formats=True
    )
    return [f"{fault.instance_path}: {fault.message}" for fault in validator.iter_errors(value)]


def sent(described: Mapping[str, Any]) -> list[Example]:
    """Every body that the description shows how to send."""
    return [
        Example(method, path, media_type, name, example["value"])
        for method, path, operation in operations(described)
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items()
        for name, example in content["examples"].items()
    ]


def answers(described: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Every answer that the description shows: where, its schema, the body."""
    for method, path, operation in operations(described):
        for status, response in operation["responses"].items():
            for media_type, content in resolved(described, response).get("content", {}).items():
                shown = [*content.get("examples", {}).values()]
                shown += [{"value": content["example"]}] if "example" in content else []
                for example in shown:
                    yield f"{method.upper()} {path} {status} {media_type}", content["schema"], example["value"]


def deviations(
    described: Mapping[str, Any], operation: Mapping[str, Any], status: int, headers: Mapping[str, str], body: Any
) -> list[str]:
    """How an answer differs from what an operation says of itself; `body` is None where there was none."""
    if str(status) not in operation["responses"]:
        return [f"{status} is not documented"]
    response = resolved(described, operation["responses"][str(status)])
    required = {
        name for name, header in response.get("headers", {}).items() if resolved(described, header).get("required")
    }
    found = [f"{name} is missing" for name in required if name not in headers]
    content = response.get("content", {})
    if not content:
        return [*found, *(["there is a body"] if body is not None else [])]
    media_type = headers["Content-Type"].partition(";")[0]
    if media_type not in content:
        return [*found, f"{media_type} is not documented"]
    return [*found, *faults(described, content[media_type]["schema"], body)]


STRICT: Any = strict(document())
