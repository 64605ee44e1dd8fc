"""Values that the fake models make up fit the schema they were asked for."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.testing.fake_llm.schema import example

_LEAVES = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "minLength": 12, "maxLength": 15},
        {"type": "string", "maxLength": 3},
        {"type": "string", "enum": ["yes", "no"]},
        {"type": "string", "format": "date"},
        {"type": "integer"},
        {"type": "integer", "minimum": 3, "maximum": 4},
        {"type": "integer", "multipleOf": 5, "maximum": -7},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        {"type": "boolean"},
        {"type": "null"},
        {"type": ["string", "null"]},
        {"const": 7},
        {},
        True,
    ]
)


def _deeper(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.dictionaries(st.sampled_from("abcd"), children, max_size=3)
    return st.one_of(
        names.map(lambda p: {"type": "object", "properties": p, "required": sorted(p), "additionalProperties": False}),
        children.map(lambda c: {"type": "array", "items": c, "minItems": 1, "maxItems": 2}),
        st.lists(children, min_size=1, max_size=3).map(lambda c: {"anyOf": c}),
        names.map(lambda p: {"allOf": [{"type": "object", "properties": p}, {"required": sorted(p)}]}),
    )


@given(st.recursive(_LEAVES, _deeper, max_leaves=12), st.binary(min_size=16, max_size=16))
def test_a_value_fits_its_schema_and_depends_on_nothing_else(schema: Any, digest: bytes) -> None:
    value = example(schema, digest)
    jsonschema.validate(value, schema)
    assert example(schema, digest) == value


def test_a_schema_that_names_itself_ends() -> None:
    node = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "required": ["name", "children"],
    }
    schema = {"$ref": "#/$defs/node", "$defs": {"node": node}}
    for n in range(20):
        value = example(schema, bytes([n] * 16))
        jsonschema.validate(value, schema)
        assert len(str(value)) < 10_000


@pytest.mark.parametrize(
    "schema", [{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, {"$ref": "#/nothing"}]
)
def test_a_schema_that_leads_nowhere_allows_everything(schema: dict[str, Any]) -> None:
    assert example(schema, bytes(16)) is not None
