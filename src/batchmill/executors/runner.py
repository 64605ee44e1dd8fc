"""A task made ready to run: parameters in, result checked and encoded. Nothing here measures or reports."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Literal

import pydantic_core
from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError

from batchmill.model.states import Mode
from batchmill.model.tasks import Task


class InvalidJob(Exception):
    """The parameters, an input file or the result of a job are not what they have to be."""


def to_json(value: Any, non_finite: Literal["strings", "constants"] = "strings") -> bytes:
    """JSON of a value: integers exact, NaN and infinities as strings (or as JavaScript's words). Raises InvalidJob."""
    try:
        return pydantic_core.to_json(value, inf_nan_mode=non_finite, fallback=_plain)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidJob(f"a value cannot be written as JSON: {error}") from error


def _plain(value: Any) -> Any:
    """Scalars and arrays of numpy (and what looks like them) as Python's own numbers and lists."""
    if callable(convert := getattr(value, "tolist", None)):
        return convert()
    raise TypeError(f"a `{type(value).__name__}` has no JSON form")


class Runner:
    """What one task needs to run, built once: validators are costly to make and cheap to use."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.isolated = task.isolation == "job"
        self.is_async = task.mode is Mode.ASYNC or inspect.iscoroutinefunction(task.fn)
        self.wants_context = task.context is not None
        self._validate: Callable[[str], BaseModel] = task.params.__pydantic_validator__.validate_json
        self._extra = task.params.model_config.get("extra") == "allow"
        self._adapter = _adapter(task.result)

    def params(self, text: str) -> BaseModel:
        """The job's parameters. Raises InvalidJob."""
        try:
            return self._validate(text)
        except ValidationError as error:
            raise InvalidJob(f"the parameters do not fit task `{self.task.name}`: {_said(error)}") from error

    def call(self, params: BaseModel, context: Any) -> Any:
        """What the task's function returns: for a coroutine function, an awaitable."""
        task = self.task
        keywords = {} if task.context is None else {task.context: context}
        if task.takes_model:
            return task.fn(params, **keywords)
        # the instance's dict holds the fields; reading them as attributes takes the detour over pydantic's __getattr__
        keywords.update(params.__dict__)
        if self._extra:
            keywords.update(params.model_extra or {})
        return task.fn(**keywords)

    def run(self, params: BaseModel, context: Any) -> Any:
        """The function's value; a coroutine function gets a loop of its own."""
        value = self.call(params, context)
        return asyncio.run(_wait(value)) if self.is_async else value

    def finish(self, value: Any) -> tuple[bytes, bytes | None]:
        """The result as JSON, checked against its annotation, and the metrics as JSON. Raises InvalidJob."""
        if self._adapter is not None:
            value = self._checked(self._adapter, value)
        result = to_json(value)
        if self.task.metrics is None:
            return result, None
        return result, to_json(dict(self.task.metrics(value)))

    def _checked(self, adapter: TypeAdapter[Any], value: Any) -> Any:
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            # numbers of numpy and the like do not fit as objects, but as the JSON that they become
            try:
                return adapter.validate_json(to_json(value))
            except ValidationError:
                raise InvalidJob(f"the result is not what `{self.task.name}` declares: {_said(error)}") from error


async def _wait(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    """A validator of the result; None for types that pydantic does not know."""
    if annotation is None or annotation is Any:
        return None
    try:
        return TypeAdapter(annotation)
    except PydanticUserError:
        return None


def _said(error: ValidationError) -> str:
    """All that pydantic found, on one line, without its links."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"`{'.'.join(map(str, e['loc'])) or 'value'}`: {e['msg']}" for e in found[:20])
