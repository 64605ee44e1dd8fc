"""A task made ready to run: parameters in, result checked and encoded. Nothing here measures or reports."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Literal

import pydantic_core
from pydantic import BaseModel, ValidationError

from batchmill.model.states import Mode
from batchmill.model.tasks import Task, plain_value


class InvalidJob(Exception):
    """The parameters, an input file or the result of a job are not what they have to be."""


def to_json(value: Any, non_finite: Literal["strings", "constants"] = "strings") -> bytes:
    """JSON of a value: integers exact, NaN and infinities as strings (or as JavaScript's words). Raises InvalidJob."""
    try:
        return pydantic_core.to_json(value, inf_nan_mode=non_finite, fallback=plain_value)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidJob(f"a value cannot be written as JSON: {error}") from error


class Runner:
    """What one task needs to run, built once: validators are costly to make and cheap to use."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.isolated = task.isolation == "job"
        self.is_async = task.mode is Mode.ASYNC or inspect.iscoroutinefunction(task.fn)
        self.wants_context = task.context is not None
        self._validate: Callable[[str], BaseModel] = task.params.__pydantic_validator__.validate_json
        self._extra = task.params.model_config.get("extra") == "allow"

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
        try:
            value = self.task.checked(value)
        except ValidationError as error:
            raise InvalidJob(f"the result is not what `{self.task.name}` declares: {_said(error)}") from error
        result = to_json(value)
        if self.task.metrics is None:
            return result, None
        return result, to_json(dict(self.task.metrics(value)))


async def _wait(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _said(error: ValidationError) -> str:
    """All that pydantic found, on one line, without its links."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"`{'.'.join(map(str, e['loc'])) or 'value'}`: {e['msg']}" for e in found[:20])
