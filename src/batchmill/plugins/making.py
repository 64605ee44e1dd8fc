"""Makes a Task from a function: its parameters' model from the annotations, its source and its version."""

from __future__ import annotations

import functools
import inspect
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack, overload

from pydantic import BaseModel, ConfigDict, PydanticSchemaGenerationError, create_model

from batchmill.errors import TaskError
from batchmill.model import units
from batchmill.model.near import did_you_mean
from batchmill.model.states import FailureKind, Mode
from batchmill.model.tasks import Bound, Estimate, Invalid, Metric, ShortName, Task, TaskSource
from batchmill.plugins import source as sources

Function = Callable[..., Any]


class Options(TypedDict, total=False):
    """What the maker of a task may say about it; the fields of `Task` tell what each means."""

    name: str | None
    version: str | None
    mode: str | None
    timeout: float | str | None
    concurrency: int | None
    memory: int | str | None
    attempts: Mapping[str, int]
    reuse: Literal["any", "name", "never"]
    isolation: Literal["worker", "job"]
    metrics: Callable[[Any], Mapping[str, Any]] | None
    metric_columns: Sequence[Metric]
    expand: Callable[[str], list[dict[str, Any]] | Invalid] | None
    inputs: Callable[[Any], list[str]] | None
    unreadable: Literal["fail", "skip"]
    bind: Callable[[Mapping[str, Any], str], Bound] | None
    estimate: Callable[[Any], Estimate] | None
    prepare: Function | None
    prepare_early: bool
    setup: Callable[[], None] | None
    summarise: Function | None
    report: Callable[..., str] | None


@overload
def make_task(fn: Function, **options: Unpack[Options]) -> Task: ...
@overload
def make_task(fn: None = None, **options: Unpack[Options]) -> Callable[[Function], Task]: ...
def make_task(fn: Function | None = None, **options: Unpack[Options]) -> Task | Callable[[Function], Task]:
    """A Task from a function, or (without one) a decorator that makes it. A Task is returned as it is.

    The parameters are the pydantic model that is the function's only argument, or its annotated arguments; an
    argument annotated `Context`, or named `ctx`, takes the context. Without a `version`, the digest of the project's
    code is the version. `async def` runs in mode `async`, everything else in `process`, unless `mode` is given.
    Raises TaskError when the signature cannot be used.
    """
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        raise TaskError(f"a task has no option `{unknown[0]}`", hint=did_you_mean(unknown[0], Options.__annotations__))
    if fn is None:
        return lambda function: from_function(function, options)
    return fn if isinstance(fn, Task) else from_function(fn, options)


def from_function(fn: Function, options: Options | Mapping[str, Any], source: TaskSource | None = None) -> Task:
    """What `make_task` makes; `source` is given where the task was loaded from it."""
    values: dict[str, Any] = dict(options)
    signature = _Signature(fn, values.get("name") or sources.function_name(fn))
    for key, read in (("timeout", units.duration), ("memory", units.size)):
        if values.get(key) is not None:
            values[key] = read(values[key])
    values["mode"] = Mode(values.get("mode") or (Mode.ASYNC if _is_async(fn) else Mode.PROCESS))
    values["attempts"] = {FailureKind(kind): n for kind, n in (values.get("attempts") or {}).items()}
    values["metric_columns"] = tuple(values.get("metric_columns") or ())
    values["name"] = signature.task
    values["version"] = values.get("version") or sources.version_of(fn)
    return Task(
        fn=signature.callable,
        params=signature.params,
        takes_model=signature.takes_model,
        context=signature.context,
        result=signature.result,
        source=source or sources.source_of(fn, options),
        short_names=_short_names(signature.params),
        **values,
    )


def _is_async(fn: Function) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


class _Signature:
    """A function's arguments, read as a task's parameters."""

    def __init__(self, fn: Function, task: str) -> None:
        self.task = task
        try:
            self.arguments = list(inspect.signature(fn).parameters.values())
        except (TypeError, ValueError) as error:
            raise TaskError(
                f"`{task}` does not tell its arguments: {error}", hint="wrap it in a function with named arguments"
            ) from error
        self.context = next((a.name for a in self.arguments if _takes_context(a)), None)
        self.hints = _hints(fn)
        self.result = self.hints.get("return")
        if self.result is type(None):
            self.result = None
        own = [a for a in self.arguments if a.name != self.context]
        self.callable = fn if all(a.kind is not a.POSITIONAL_ONLY for a in self.arguments) else _by_keyword(fn)
        model = self.hints.get(own[0].name) if len(own) == 1 else None
        self.takes_model = isinstance(model, type) and issubclass(model, BaseModel)
        self.params: type[BaseModel] = model if self.takes_model and model is not None else self._model(own)

    def _model(self, arguments: Sequence[inspect.Parameter]) -> type[BaseModel]:
        extra: Literal["allow", "forbid"] = "forbid"
        fields: dict[str, Any] = {}
        for argument in arguments:
            if argument.kind is argument.VAR_KEYWORD:
                extra = "allow"
            elif argument.kind is argument.VAR_POSITIONAL:
                raise TaskError(f"`{self.task}` takes `*{argument.name}`", hint="give each argument a name")
            elif argument.name.startswith("_"):
                raise TaskError(f"the argument `{argument.name}` of `{self.task}` starts with an underscore")
            else:
                default = ... if argument.default is argument.empty else argument.default
                fields[argument.name] = (self.hints.get(argument.name, Any), default)
        config = ConfigDict(extra=extra, protected_namespaces=(), arbitrary_types_allowed=False)
        with warnings.catch_warnings():  # an argument may be called `copy` or `json`: nobody calls those methods here
            warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
            try:
                return create_model(f"{self.task} parameters", __config__=config, **fields)
            except (PydanticSchemaGenerationError, NameError, TypeError) as error:
                raise TaskError(
                    f"the arguments of `{self.task}` cannot be read from a manifest: {str(error).splitlines()[0]}",
                    hint="use numbers, texts, lists, mappings, dataclasses or pydantic models",
                ) from error


def _takes_context(argument: inspect.Parameter) -> bool:
    """By the annotation's name: importing the class would pull the engine into every task module."""
    kind = argument.annotation
    text = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return argument.name == "ctx" or text.strip("\"' ").partition("|")[0].strip().rpartition(".")[2] == "Context"


def _hints(fn: Function) -> dict[str, Any]:
    """Resolved annotations; one that only a type checker can resolve counts as Any."""
    target = fn if inspect.isroutine(fn) or isinstance(fn, functools.partial) else getattr(fn, "__call__", fn)  # noqa: B004
    target = inspect.unwrap(target.func if isinstance(target, functools.partial) else target)
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception:  # noqa: BLE001 - evaluating a stranger's annotation may raise anything
        return {name: _hint(target, kind) for name, kind in getattr(target, "__annotations__", {}).items()}


def _hint(fn: Function, annotation: Any) -> Any:
    probe = type("probe", (), {"__annotations__": {"value": annotation}})
    try:
        return typing.get_type_hints(probe, getattr(fn, "__globals__", {}), include_extras=True)["value"]
    except Exception:  # noqa: BLE001 - see above
        return Any


def _by_keyword(fn: Function) -> Function:
    """The function with its positional-only arguments taken by name, as parameters come from a manifest."""
    order = [a.name for a in inspect.signature(fn).parameters.values() if a.kind is a.POSITIONAL_ONLY]

    @functools.wraps(fn)
    def call(**arguments: Any) -> Any:
        return fn(*[arguments.pop(name) for name in order], **arguments)

    return call


def _short_names(params: type[BaseModel]) -> dict[str, ShortName]:
    return {
        name: mark
        for name, field in params.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, ShortName)
    }
