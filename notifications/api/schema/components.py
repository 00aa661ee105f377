"""Types as JSON Schema, with the structs in them as components of the document."""

from typing import Any, Final, TypeAlias

import msgspec
from drf_spectacular.plumbing import ComponentRegistry, ResolvedComponent

from notifications.api.schema.operation import OneOf

Schema: TypeAlias = dict[str, Any]

REF: Final = "#/components/schemas/"
# What a struct is called where its own name would say less to a producer.
NAMES: Final = {"Draft": "Event"}


def schema_of(kind: Any, registry: ComponentRegistry) -> Schema:  # noqa: ANN401 - a type
    """The schema of a type, or of a `OneOf`; the structs in it are registered.

    Raises ValueError where two have the same name.
    """
    if isinstance(kind, OneOf):
        return {"oneOf": [schema_of(one, registry) for one in kind.kinds]}
    (schema,), structs = msgspec.json.schema_components([kind], ref_template=REF + "{name}")
    for name, found in structs.items():
        _register(NAMES.get(name, name), _portable(found), registry)
    portable: Schema = _portable(schema)
    return portable


def _register(name: str, schema: Schema, registry: ComponentRegistry) -> None:
    kind = ResolvedComponent.SCHEMA
    component = ResolvedComponent(name=name, type=kind, schema=schema, object=name)  # type: ignore[no-untyped-call]
    known = registry[component].schema if component in registry else None
    if known is None:
        registry.register(component)
    elif known != schema:
        raise ValueError(f"two structs are called {name}")


def _portable(node: Any) -> Any:  # noqa: ANN401 - any JSON
    """What msgspec writes, as other languages read it: `$` where Python says `\\Z`, and our names."""
    if isinstance(node, list):
        return [_portable(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: _VALUES.get(key, _portable)(value) for key, value in node.items()}


def _pattern(value: Any) -> Any:  # noqa: ANN401 - a field may be called "pattern"
    return value.replace(r"\Z", "$") if isinstance(value, str) else _portable(value)


def _ref(value: Any) -> Any:  # noqa: ANN401 - as above
    return REF + _title(value.removeprefix(REF)) if isinstance(value, str) else _portable(value)


def _title(value: Any) -> Any:  # noqa: ANN401 - as above
    return NAMES.get(value, value) if isinstance(value, str) else _portable(value)


_VALUES: Final = {"pattern": _pattern, "$ref": _ref, "title": _title}
