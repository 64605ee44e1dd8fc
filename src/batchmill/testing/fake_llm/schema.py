"""A value that fits a JSON Schema, made from a digest. The parts of the standard that structured outputs use."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from batchmill.testing.fake_llm import chance

_DEEPEST = 24
_FORMATS = {
    "date": "2024-05-17",
    "date-time": "2024-05-17T12:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.org",
    "uri": "https://example.org/",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
}


def example(schema: Mapping[str, Any], digest: bytes) -> Any:
    """A value that fits; every property is there, also the optional ones, down to a depth of 24."""
    return _Maker(schema, int.from_bytes(digest[:8], "little")).make(schema, 0)


class _Maker:
    def __init__(self, root: Mapping[str, Any], number: int) -> None:
        self._root = root
        self._seed = number
        self._draws = count()

    def make(self, schema: Any, depth: int) -> Any:
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._pick(schema["enum"])
        for name in ("anyOf", "oneOf"):
            if schema.get(name):
                return self.make(self._simplest(schema[name], depth), depth + 1)
        maker = getattr(self, f"_{self._type(schema)}")
        return maker(schema, depth)

    def _resolved(self, schema: Any) -> Mapping[str, Any]:
        """Without `$ref` and `allOf`; what is no mapping (`true`) allows everything."""
        for _ in range(_DEEPEST):
            if not isinstance(schema, Mapping):
                return {}
            if isinstance(schema.get("$ref"), str):
                schema = self._target(schema["$ref"])
            elif schema.get("allOf"):
                parts = [self._resolved(part) for part in schema["allOf"]]
                schema = _merged([{k: v for k, v in schema.items() if k != "allOf"}, *parts])
            else:
                return schema
        return {}

    def _target(self, reference: str) -> Any:
        place: Any = self._root
        for step in reference.removeprefix("#").split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            place = place.get(name, {}) if name and isinstance(place, Mapping) else place
        return place

    def _simplest(self, choices: list[Any], depth: int) -> Any:
        """One of the choices; where it is deep, one that ends there."""
        flat = [c for c in choices if self._type(self._resolved(c)) not in ("object", "array")]
        return flat[0] if flat and depth > _DEEPEST // 2 else self._pick(choices)

    def _type(self, schema: Mapping[str, Any]) -> str:
        kinds = schema.get("type")
        kind = kinds[0] if isinstance(kinds, list) and kinds else kinds
        if isinstance(kind, str):
            known = kind.lower()  # Gemini writes them in capitals
            return known if known in ("object", "array", "string", "integer", "number", "boolean") else "null"
        return "object" if "properties" in schema else "array" if "items" in schema else "string"

    def _draw(self, bound: int) -> int:
        return int(chance.uniform(self._seed, chance.CONTENT, next(self._draws)) * bound)

    def _pick(self, choices: list[Any]) -> Any:
        return choices[self._draw(len(choices))]

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        names = properties if depth < _DEEPEST else set(schema.get("required") or ()) & set(properties)
        return {name: self.make(properties[name], depth + 1) for name in properties if name in names}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        least = int(schema.get("minItems") or 0)
        most = int(schema.get("maxItems", max(least, 3)))
        length = least if depth >= _DEEPEST // 2 else least + self._draw(max(0, min(most, least + 3) - least) + 1)
        items = [self.make(part, depth + 1) for part in schema.get("prefixItems") or ()]
        return items + [self.make(schema.get("items", {}), depth + 1) for _ in range(length - len(items))]

    def _string(self, schema: Mapping[str, Any], depth: int) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        least = int(schema.get("minLength") or 0)
        text = f"text {self._draw(10_000)}"
        return text.ljust(least, "x")[: int(schema.get("maxLength", max(least, len(text))))]

    def _integer(self, schema: Mapping[str, Any], depth: int) -> int:
        step = int(schema.get("multipleOf") or 1)
        low, high = _bounds(schema, 1)
        first = -(-int(low) // step)
        last = int(high) // step
        return step * (first + self._draw(max(1, last - first + 1)))

    def _number(self, schema: Mapping[str, Any], depth: int) -> float:
        low, high = _bounds(schema, 0.01)
        return round(low + (high - low) * self._draw(101) / 100, 6)

    def _boolean(self, schema: Mapping[str, Any], depth: int) -> bool:
        return bool(self._draw(2))

    def _null(self, schema: Mapping[str, Any], depth: int) -> None:
        return None


def _bounds(schema: Mapping[str, Any], step: float) -> tuple[float, float]:
    low = schema.get("minimum", None)
    high = schema.get("maximum", None)
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + step
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - step
    if low is None:
        low = 0 if high is None or high >= 0 else high - 100
    return low, high if high is not None else low + 100


def _merged(parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name == "properties":
                merged[name] = {**merged.get(name, {}), **value}
            elif name == "required":
                merged[name] = [*merged.get(name, []), *value]
            else:
                merged[name] = value
    return merged
