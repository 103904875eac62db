"""So much of JSON Schema 2020-12 as ours use, strictly: what is not described is a mistake."""

import base64
import re
from collections.abc import Iterator
from typing import Any, Final

_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_KNOWN: Final = {
    *("$schema", "$id", "title", "$defs", "$ref", "anyOf", "enum", "type", "properties"),
    *("required", "additionalProperties", "items", "pattern", "minimum", "maximum"),
    "contentEncoding",
}


def mistakes(value: object, schema: dict[str, Any], whole: dict[str, Any]) -> list[str]:
    """What is wrong with the value, each with its path; ``whole`` is the schema with $defs."""
    return list(_mistakes(value, schema, whole, ""))


def _mistakes(
    value: Any,
    schema: dict[str, Any],
    whole: dict[str, Any],
    path: str,
) -> Iterator[str]:
    assert set(schema) <= _KNOWN, f"a keyword that this does not know: {set(schema) - _KNOWN}"
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        yield from _mistakes(value, whole["$defs"][name], whole, path)
    if "anyOf" in schema:
        tried = [list(_mistakes(value, each, whole, path)) for each in schema["anyOf"]]
        if all(tried):
            yield f"{path}: none of {len(tried)}: {min(tried, key=len)}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if "type" not in schema:
        return
    kind = schema["type"]
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        yield f"{path}: {value!r} is no {kind}"
        return
    yield from _contents(value, schema, whole, path)


def _contents(
    value: Any,
    schema: dict[str, Any],
    whole: dict[str, Any],
    path: str,
) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{path}: no {key}" for key in schema.get("required", ()) if key not in value)
        for key, item in value.items():
            known = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if known is None:
                yield f"{path}.{key} is not described"
            else:
                yield from _mistakes(item, known, whole, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _mistakes(item, schema["items"], whole, f"{path}[{number}]")
    elif isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{path}: {value!r} does not match {schema['pattern']}"
        if schema.get("contentEncoding") == "base64":
            base64.b64decode(value, validate=True)
    elif not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{path}: {value!r} is out of range"
