"""What a task is: a function, the types of its parameters and result, how it runs, and its optional hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

import pydantic_core
from pydantic import BaseModel, Field, PydanticUserError, TypeAdapter, ValidationError

from batchmill.model.states import FailureKind, Mode


class InputMark(NamedTuple):
    """Marks a parameter as the path of an input file (see `InputFile`)."""


class ShortName(NamedTuple):
    """The short form of a parameter's name, used in default job names: `Annotated[int, ShortName("leaf")]`.

    `value` makes the text of a value, where that is not simply how it is written: the stem of a path, say.
    """

    text: str
    value: Callable[[Any], str] | None = None


InputFile = Annotated[str, InputMark(), Field(json_schema_extra={"format": "path"})]
"""The path of a file that a job reads. Its content, not its date, is part of the job's key."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A flat result column: its unit, a label for people, and which direction is better."""

    name: str
    unit: str = ""
    label: str = ""
    better: Literal["higher", "lower", "none"] = "none"


@dataclass(frozen=True, slots=True)
class Invalid:
    """What `expand` returns for a file that holds no usable job: the reason is recorded, other files go on."""

    reason: str


class Bound(NamedTuple):
    """Parameters of one job after its task looked at them: canonical values, the version of the code, and the seconds
    that the job may take where neither it nor the limits say so (None: the task's own)."""

    params: dict[str, Any]
    version: str
    timeout: float | None = None


class TaskSource(NamedTuple):
    """Where a worker finds a task: `entry` (an entry point's name), `module` or `file` (with the qualified
    name of a function), or `pickle` (bytes by cloudpickle, for notebooks)."""

    kind: Literal["entry", "module", "file", "pickle"]
    name: str
    attribute: str = ""
    payload: bytes = b""
    search_path: tuple[str, ...] = ()


class Estimate(NamedTuple):
    """What one job may come to before it runs, each as (least, most): tokens in and out, and US dollars (None: no
    price is known)."""

    tokens: tuple[float, float]
    cost: tuple[float, float] | None = None


@dataclass(frozen=True)
class Task:
    """A task: what is done for each job. Make one with the `task` decorator.

    `params` is the model of its parameters; `takes_model` says whether the function wants that model as its
    first argument or the fields as keyword arguments; `context` names the argument that takes the `Context`.
    """

    name: str
    version: str
    fn: Callable[..., Any]
    params: type[BaseModel]
    mode: Mode = Mode.PROCESS
    takes_model: bool = True
    context: str | None = None
    result: Any = None  # the annotated return type, None when there is none
    source: TaskSource | None = None
    timeout: float | None = None  # seconds; the default when neither job nor limits set one
    concurrency: int | None = None  # of an async task: jobs in flight, when the limits do not say
    memory: int | None = None
    attempts: Mapping[FailureKind, int] = field(default_factory=dict)
    reuse: Literal["any", "name", "never"] = "name"
    isolation: Literal["worker", "job"] = "worker"
    metric_columns: tuple[Metric, ...] = ()
    metrics: Callable[[Any], Mapping[str, Any]] | None = None
    expand: Callable[[str], list[dict[str, Any]] | Invalid] | None = None
    inputs: Callable[[Any], list[str]] | None = None  # paths of input files, beyond the InputFile fields
    unreadable: Literal["fail", "skip"] = "fail"  # what an input file does that is not there or cannot be read
    bind: Callable[[Mapping[str, Any], str], Bound] | None = None  # (params, folder of the manifest)
    estimate: Callable[[Any], Estimate] | None = None  # of validated parameters, for `plan`
    prepare: Callable[..., Any] | None = None
    # `prepare` is a check: in every invocation, of the jobs that are planned by then; it waits for no others
    prepare_early: bool = False
    setup: Callable[[], None] | None = None
    summarise: Callable[..., Any] | None = None
    report: Callable[..., str] | None = None
    short_names: Mapping[str, ShortName] = field(default_factory=dict)

    def call(self, params: BaseModel, ctx: Any = None) -> Any:
        """Call the function with validated parameters and, where it takes one, the context; returns its result."""
        context = {} if self.context is None else {self.context: ctx}
        if self.takes_model:
            return self.fn(params, **context)
        return self.fn(**{**dict(params), **context})

    def checked(self, value: Any) -> Any:
        """What the function returned, as its annotation has it. Raises pydantic's ValidationError when it differs."""
        if self._adapter is None:
            return value
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            # numbers of numpy and the like do not fit as objects, but as the JSON that they become
            try:
                return self._adapter.validate_json(
                    pydantic_core.to_json(value, inf_nan_mode="strings", fallback=plain_value)
                )
            except (ValueError, TypeError, RecursionError):
                raise error from None

    @cached_property
    def _adapter(self) -> TypeAdapter[Any] | None:
        """A validator of results, costly to make; None for types that pydantic does not know."""
        if self.result is None or self.result is Any:
            return None
        try:
            return TypeAdapter(self.result)
        except PydanticUserError:
            return None


def plain_value(value: Any) -> Any:
    """Scalars and arrays of numpy (and what looks like them) as Python's own numbers and lists. Raises TypeError."""
    if callable(convert := getattr(value, "tolist", None)):
        return convert()
    raise TypeError(f"a `{type(value).__name__}` has no JSON form")
