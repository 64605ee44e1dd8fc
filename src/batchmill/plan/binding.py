"""One job's raw parameters -> what the plan fixes of it: canonical parameters, code version, input files, key.

What is wrong with parameters is told as Faults, whose place in the manifest or table the caller knows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails

from batchmill.errors import BatchmillError, TaskError
from batchmill.model.jobs import FileIdentity, missing
from batchmill.model.near import did_you_mean
from batchmill.model.states import Mode
from batchmill.model.tasks import InputMark, Task
from batchmill.model.text import one_line
from batchmill.plan.keys import canonical, canonical_params, identity, job_key


class Fault(NamedTuple):
    """One thing that is wrong with parameters. `location` begins with the parameter; `absent`: it is not given."""

    location: tuple[str | int, ...]
    message: str
    hint: str = ""
    absent: bool = False
    key: bool = False  # the parameter's name is wrong, not its value


class Unfit(Exception):
    """The parameters do not fit the task."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("; ".join(fault.message for fault in faults[:5]))


class Ready(NamedTuple):
    """What the plan fixes of one job. `key` is None when it has input files: they are digested before its start."""

    params: str
    version: str
    inputs: tuple[FileIdentity, ...]
    key: str | None
    timeout: float | None = None  # seconds, where neither the job nor the limits say


class Binder:
    """Binds raw parameters to one task. `folder` is what relative paths mean.

    Errors of type `task` (`PydanticCustomError("task", message, {"hint": hint})`) that the task's validators or its
    `bind` raise are told in their own words.
    """

    def __init__(self, task: Task, folder: str) -> None:
        self.task = task
        self.fields = _names(task.params)
        self._folder = folder
        self._validate = task.params.__pydantic_validator__.validate_python
        self._plain = task.params.__pydantic_serializer__.to_python
        self._input_fields = sorted(name for name, field in task.params.model_fields.items() if _holds_input(field))
        self._reads_files = bool(self._input_fields) or task.inputs is not None

    def ready(self, raw: Mapping[str, Any], file: FileIdentity | None = None) -> Ready:
        """Raises Unfit. `file` is the file of a file set that the job is made for: an input, declared or not."""
        task = self.task
        try:
            params = self._validate(raw)
            text, version, timeout = self._canonical(params)
        except ValidationError as error:
            raise Unfit([self._fault(d) for d in error.errors(include_url=False, include_input=False)]) from None
        except Unfit:
            raise
        except UnicodeEncodeError as error:
            raise Unfit([_no_text(error)]) from None
        except Exception as error:  # noqa: BLE001 - validators are the task's own code
            raise Unfit([Fault((), f"the parameters cannot be used: {_why(error)}")]) from None
        if not self._reads_files and file is None:
            return Ready(text, version, (), job_key(task.name, version, text), timeout)
        inputs = tuple(self._inputs(params))
        if file is not None and all(file[1:] != known[1:] for known in inputs):
            inputs = (*inputs, file)
        return Ready(text, version, inputs, None if inputs else job_key(task.name, version, text), timeout)

    def _canonical(self, params: BaseModel) -> tuple[str, str, float | None]:
        """Canonical parameters, code version, and time limit."""
        bind = self.task.bind
        if bind is None:
            return canonical_params(params), self.task.version, None
        try:
            bound = bind(self._plain(params, by_alias=True, round_trip=True), self._folder)
        except (ValidationError, UnicodeEncodeError):
            raise
        except Exception as error:  # noqa: BLE001 - the task's own code
            raise Unfit([Fault((), _why(error), getattr(error, "hint", None) or "")]) from None
        return canonical(bound.params), bound.version, bound.timeout

    def _inputs(self, params: BaseModel) -> list[FileIdentity]:
        found: dict[str, FileIdentity] = {}
        faults: list[Fault] = []
        for name, path in self._input_paths(params):
            place = os.path.abspath(os.path.join(self._folder, path))
            try:
                found.setdefault(place, identity(place))
            except (OSError, ValueError) as error:
                if self.task.unreadable == "skip" and not isinstance(error, ValueError):
                    found.setdefault(place, missing(place))
                    continue
                reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {_why(error)}"
                hint = "paths are relative to the manifest's folder"
                faults.append(Fault((name,) if name else (), f"the file `{path}` {reason}", hint))
        if faults:
            raise Unfit(faults)
        return list(found.values())

    def _input_paths(self, params: BaseModel) -> Iterator[tuple[str, str]]:
        """(parameter, path) of each input file, by the parameters' names and not the order they are declared in."""
        for name in self._input_fields:
            alias = self.task.params.model_fields[name].alias or name
            yield from ((alias, path) for path in _texts(getattr(params, name)))
        if self.task.inputs is not None:
            try:
                yield from (("", os.fspath(path)) for path in self.task.inputs(params))
            except Exception as error:  # noqa: BLE001 - the task's own code
                hint = getattr(error, "hint", None) or ""
                raise Unfit([Fault((), f"its input files cannot be told: {_why(error)}", hint)]) from None

    def _fault(self, detail: ErrorDetails) -> Fault:
        # without the parts that name a type of a union
        location = tuple(part for part in detail["loc"] if "[" not in str(part))
        name = self.task.name
        field = str(location[0]) if location else ""
        if detail["type"] == "extra_forbidden" and len(location) == 1:
            known = ", ".join(f"`{known}`" for known in self.fields) or "it has none"
            hint = did_you_mean(field, self.fields) or f"its parameters: {known}"
            return Fault(location, f"the task `{name}` has no parameter `{field}`", hint, key=True)
        if detail["type"] == "missing" and len(location) == 1:
            return Fault(location, f"the task `{name}` needs the parameter `{field}`", absent=True)
        if detail["type"] == "task":
            context = detail.get("ctx", {})
            return Fault(location, detail["msg"], str(context.get("hint", "")), key=bool(context.get("key")))
        text = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        path = ".".join(map(str, location))
        return Fault(location, f"`{path}`: {_lower_first(text)}" if path else _lower_first(text))


def placeholder(name: str) -> Task:
    """Stands for a task of a foreign format that is not installed: its jobs can be planned, not run."""

    params = create_model(f"{name} parameters", __config__=ConfigDict(extra="allow"))
    return Task(name, "", _not_installed, params, Mode.PROCESS)


def is_placeholder(task: Task) -> bool:
    """Whether this only stands for a task that is not installed."""
    return task.fn is _not_installed


def _not_installed(params: BaseModel) -> None:
    raise TaskError("this task is not installed")


def best_effort(raw: Mapping[str, Any]) -> str:
    """Parameters that do not fit, as JSON to be shown: what JSON cannot hold is spelled as text."""
    try:
        return canonical(dict(raw))
    except (TypeError, ValueError):
        return canonical({str(key): one_line(repr(value), 200) for key, value in raw.items()})


def _names(params: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in params.model_fields.items()]


def _holds_input(annotation: Any) -> bool:
    """Whether an InputMark is anywhere in a field or its annotation: `InputFile | None`, `list[InputFile]`, ..."""
    marks: Any = getattr(annotation, "metadata", None) or getattr(annotation, "__metadata__", ())
    if any(isinstance(mark, InputMark) for mark in marks):
        return True
    inner: tuple[Any, ...] = get_args(getattr(annotation, "annotation", annotation))
    return any(_holds_input(part) for part in inner)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str | os.PathLike):
        yield os.fspath(value)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from _texts(value[key])
    elif isinstance(value, set | frozenset):
        yield from sorted(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _no_text(error: UnicodeEncodeError) -> Fault:
    """JSON can hold no bytes that are not UTF-8, such as those in names of files from other systems."""
    before, after = error.object[: error.start], error.object[error.start :]
    text = before.rpartition('"')[2] + after.partition('"')[0]
    hint = "if it is the name of a file, rename the file"
    return Fault((), f"{one_line(ascii(text), 200)} is not UTF-8 text", hint)


def _why(error: Exception) -> str:
    if isinstance(error, BatchmillError | ValueError):
        return str(error)
    return str(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}")


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
