"""Answers that have to fit a schema: what a reply's text is worth, and what to say when it does not fit.

No request leaves from here. A reply is untrusted text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

import pydantic_core
from pydantic import BaseModel, ValidationError

from batchmill import UsageError
from batchmill.llm.extras import needed
from batchmill.llm.messages import Message, Request

_REPAIRED = 20_000_000  # characters times quotes and brackets: at worst a second of `json_repair`, which is not linear
_SHOWN = 1_000  # characters of what is wrong that a model is told, and a user
_LISTED = 8  # things that are wrong
_BRACKET = re.compile(r"[\[{]")
_FENCE = re.compile(r"```[\w-]*[ \t]*\n(.*?)```", re.DOTALL)
_JSON_ONLY = "Answer with one JSON value that fits this JSON Schema, and with nothing else:\n"


class Misfit(ValueError):
    """A text is not what the schema wants; the message says why, in words for the model."""


class Shape(Protocol):
    """What an answer must be. `schema` is its JSON Schema."""

    schema: Mapping[str, Any]

    def read(self, text: str) -> Any:
        """The value in a text that is JSON and nothing else. Raises Misfit."""
        ...

    def check(self, value: Any) -> Any:
        """The value that plain JSON data stands for. Raises Misfit."""
        ...


Schema = Mapping[str, Any] | type[BaseModel] | Shape


class ModelShape:
    """The instances of a pydantic model."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.schema: Mapping[str, Any] = model.model_json_schema()
        self._validate = model.__pydantic_validator__.validate_json

    def read(self, text: str) -> Any:
        """See Shape."""
        try:
            return self._validate(text)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise Misfit(_listed((e["loc"], e["msg"]) for e in found)) from error

    def check(self, value: Any) -> Any:
        """See Shape."""
        return self.read(json.dumps(value))


class SchemaShape:
    """The values that a JSON Schema admits: of draft 2020-12, unless it names another."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        jsonschema, referencing = needed("jsonschema"), needed("referencing")
        self.schema = schema
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(schema)
        except jsonschema.SchemaError as error:
            raise UsageError(f"the schema is no JSON Schema: {error.message[:_SHOWN]}") from error
        # an empty registry: a reference to elsewhere is never fetched
        self._validator = kind(schema, registry=referencing.Registry())
        self._unresolvable = referencing.exceptions.Unresolvable

    def read(self, text: str) -> Any:
        """See Shape."""
        try:
            value = pydantic_core.from_json(text, allow_inf_nan=False, cache_strings="keys")
        except ValueError as error:
            raise Misfit(f"it is not JSON: {error}") from error
        return self.check(value)

    def check(self, value: Any) -> Any:
        """See Shape. Raises UsageError for a schema that refers to what is not in it."""
        try:
            found = [(e.absolute_path, e.message) for e in islice(self._validator.iter_errors(value), _LISTED)]
        except self._unresolvable as error:
            raise UsageError(f"the schema refers to what is not in it: {error}") from error
        if found:
            raise Misfit(_listed(found))
        return value


def shape_of(schema: Schema) -> Shape:
    """The shape of a JSON Schema or of a pydantic model; a shape is its own. Raises UsageError for anything else."""
    if isinstance(schema, ModelShape | SchemaShape):
        return schema
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return _shape_of_model(schema)
    if isinstance(schema, Mapping):
        return _shape_of_text(json.dumps(schema))
    raise UsageError("a schema is a JSON Schema (a mapping) or a pydantic model")


@lru_cache(maxsize=256)
def _shape_of_model(model: type[BaseModel]) -> Shape:
    return ModelShape(model)


@lru_cache(maxsize=256)
def _shape_of_text(text: str) -> Shape:
    return SchemaShape(json.loads(text))


def repaired(shape: Shape, text: str) -> Any:
    """The value that a text was meant to hold: in a fence, with talk around it, or with slips. Raises Misfit."""
    _, tag, said = text.rpartition("</think>")  # which may also stand in the value itself
    texts = (said, text) if tag else (text,)
    for candidate in (candidate for part in texts for candidate in _candidates(part)):
        try:
            return shape.read(candidate)
        except Misfit:
            continue
    return shape.check(_mended(said if _BRACKET.search(said) else text))


def _candidates(text: str) -> Iterator[str]:
    """Where JSON is looked for: in fences, then from the first bracket to the last."""
    yield from (found[1] for found in _FENCE.finditer(text))
    first, end = _BRACKET.search(text), max(text.rfind("}"), text.rfind("]"))
    if first and first.start() < end:
        yield text[first.start() : end + 1]


def _mended(text: str) -> Any:
    marks = sum(map(text.count, "\"'{["))
    if not _BRACKET.search(text) or len(text) * marks > _REPAIRED:
        raise Misfit("it is not JSON")
    try:
        return needed("json_repair").loads(text)
    except (ValueError, RecursionError) as error:
        raise Misfit("it is not JSON") from error


def _listed(errors: Iterable[tuple[Iterable[Any], str]]) -> str:
    lines = (f"`{'.'.join(map(str, place)) or 'the value'}`: {message}" for place, message in islice(errors, _LISTED))
    return "; ".join(lines)[:_SHOWN]


def prompted(request: Request) -> Request:
    """The request with its schema in words, for a service that takes no schema."""
    assert request.schema is not None
    rule = _JSON_ONLY + json.dumps(request.schema)
    first, *rest = request.messages
    if first.role == "system":
        told = Message("system", (*first.parts, rule))
        return replace(request, messages=(told, *rest))
    return replace(request, messages=(Message("system", (rule,)), *request.messages))


def again(request: Request, answer: str, why: str) -> Request:
    """The request that shows a model its answer, and why that does not fit."""
    assert request.schema is not None
    rule = f"That does not fit. {why}\n{_JSON_ONLY}{json.dumps(request.schema)}"
    more = (Message("assistant", (answer,)), Message("user", (rule,)))
    return replace(request, messages=(*request.messages, *more))
