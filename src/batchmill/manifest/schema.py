"""What the models allow, as JSON Schema (draft 2020-12), in words for messages, and as the reference of the docs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from batchmill.manifest.findings import listed
from batchmill.manifest.yaml_source import Location
from batchmill.model.manifest import Manifest

Schema = dict[str, Any]

_WORDS = {
    "string": "text",
    "boolean": "`true` or `false`",
    "object": "a mapping",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
}


@cache
def _schema() -> Schema:
    return Manifest.model_json_schema(by_alias=True, mode="validation")


def json_schema() -> Schema:
    """The JSON Schema of a manifest.

    It accepts every manifest that the parser accepts, and rejects what the parser finds wrong in structure. The
    texts of units (`300s`, `2GB`), and what `checks` finds, are the parser's alone; a schema also takes `2.0` for 2.
    """
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Batchmill manifest"}
    body = {key: value for key, value in _schema().items() if key != "title"}
    return head | body


def at(location: Location) -> list[Schema]:
    """The alternatives that the schema allows at a location, without `null`; empty where anything goes."""
    found = _alternatives(_schema())
    for step in location:
        found = [inner for schema in found for inner in _inside(schema, step)]
    return found


def keys_at(location: Location) -> list[str]:
    """The keys that the section at a location knows."""
    return [key for schema in at(location) for key in schema.get("properties", ())]


def sections_with(key: str) -> list[str]:
    """The sections of the manifest that know a key."""
    return [name for name in _schema()["properties"] if key in keys_at((name,)) or key in keys_at((name, 0))]


def words(alternatives: list[Schema], value: object = None) -> str:
    """What is allowed, in plain words; `value` is what was given instead."""
    return " or ".join(dict.fromkeys(_one_in_words(schema, value) for schema in alternatives)) or "something else"


def choices(alternatives: list[Schema]) -> list[str]:
    """The words to choose from, where the schema names them."""
    return [word for schema in alternatives for word in schema.get("enum", [])]


def types(alternatives: list[Schema]) -> set[str]:
    """The JSON types allowed."""
    found = (schema.get("type", []) for schema in alternatives)
    return {name for names in found for name in ([names] if isinstance(names, str) else names)}


def _alternatives(schema: Schema) -> list[Schema]:
    if "$ref" in schema:
        return _alternatives(_schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    several = schema.get("anyOf") or schema.get("oneOf")
    if several and "properties" not in schema:
        return [found for inner in several for found in _alternatives(inner)]
    return [] if schema.get("type") == "null" or not schema else [schema]


def _inside(schema: Schema, step: str | int) -> Iterator[Schema]:
    further = schema.get("additionalProperties")
    if isinstance(step, int):
        yield from _alternatives(schema.get("items", {}))
    elif step in schema.get("properties", {}):
        yield from _alternatives(schema["properties"][step])
    elif isinstance(further, dict):
        yield from _alternatives(further)


def _one_in_words(schema: Schema, value: object) -> str:
    if "enum" in schema:
        return listed(schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "examples" in schema:
        article = "an" if schema["title"][0] in "aeiou" else "a"
        return f"{article} {schema['title']} such as `{schema['examples'][0]}`"
    kind = schema.get("type", "")
    if kind == "object" and schema.get("required"):
        return f"a mapping with {listed(schema['required'], 'and')}"
    return _WORDS.get(kind, "a value") + _bounds(schema, value)


def _bounds(schema: Schema, value: Any) -> str:
    if schema.get("type") in ("integer", "number"):
        return _number_bounds(schema, value)
    if schema.get("items", {}).get("type") == "string" and "enum" not in schema["items"]:
        return " of texts"
    if "minItems" in schema:
        return f" of {schema['minItems']} to {schema['maxItems']} items"
    if isinstance(value, str) and "maxLength" in schema:
        return f" of at most {schema['maxLength']} characters" if value else " that is not empty"
    return ""


def _number_bounds(schema: Schema, value: Any) -> str:
    low, high, limit = schema.get("minimum"), schema.get("maximum"), schema.get("exclusiveMaximum")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and high is not None and value > high:
        return f" up to {high}"
    if is_number and limit is not None and value >= limit:
        return f" below {limit}"
    if low is None or low < 0:
        return f" from {low}" if low is not None and is_number and value < low else ""
    if low == 1 and schema["type"] == "integer":
        return " above zero"
    return f", {low:g} or more"


def reference_markdown() -> str:
    """The manifest reference: a table a section (key, type, default, meaning), made from the models."""
    parts = [_section("The manifest", _schema())]
    parts += [_section(f"`{name}`", schema) for name, schema in _sections(_schema(), "", set())]
    return "\n".join(parts)


def _sections(schema: Schema, prefix: str, seen: set[str]) -> Iterator[tuple[str, Schema]]:
    for key, field in schema.get("properties", {}).items():
        path = f"{prefix}{key}"
        for suffix, inner in _nested(field):
            if inner["title"] not in seen:
                seen.add(inner["title"])
                yield path + suffix, inner
                yield from _sections(inner, path + suffix + ".", seen)


def _nested(field: Schema) -> Iterator[tuple[str, Schema]]:
    """The sections inside a field: itself, the items of a list, the values of a mapping."""
    for schema in _alternatives(field):
        if "properties" in schema:
            yield "", schema
        for suffix, inner in (("[]", schema.get("items")), (".NAME", schema.get("additionalProperties"))):
            if isinstance(inner, dict):
                yield from ((suffix, found) for found in _alternatives(inner) if "properties" in found)


def _section(title: str, schema: Schema) -> str:
    rows = [_row(key, field, key in schema.get("required", ())) for key, field in schema["properties"].items()]
    head = ["| key | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## {title}", "", _sentence(schema["description"]), "", *head, *rows, ""])


def _row(key: str, field: Schema, required: bool) -> str:
    kind = words(_alternatives(field))
    cells = (f"`{key}`", kind, "required" if required else _default(field), field.get("description", ""))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: Schema) -> str:
    value = field.get("default")
    if isinstance(value, list):
        return listed(value, "and")
    if value is None or isinstance(value, dict):
        return ""
    return f"`{json.dumps(value).strip(chr(34))}`"


def _sentence(text: str) -> str:
    return " ".join(text.split())
