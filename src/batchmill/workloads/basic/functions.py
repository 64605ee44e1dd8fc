"""The task `python`: calls `module:name` with the other parameters. Planning reads the module's source and imports
nothing; the worker imports it."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import keyword
import os
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from batchmill import Bound, ManifestError, Permanent, Task, TaskError, function_signature, source_digest, task

if TYPE_CHECKING:
    from batchmill import Context

_PLAIN = {"", "int", "float", "str", "bool", "list", "dict", "Any", "object", "bytes"}


class PythonParams(BaseModel):
    """`function` is `module:name`; all other parameters are the function's own."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    function: str = Field(description="`module:name`; the module is beside the manifest or on `PYTHONPATH`")


def bind(params: Mapping[str, Any], folder: str) -> Bound:
    """The parameters with the function's plain defaults filled in, and the digest of its project's code.

    Raises ValidationError for a function that is not there, and for arguments that it lacks or does not take.
    """
    function = params["function"]
    search = _search_path(folder)
    try:
        module, name = _split(function)
        file = _module_file(module, search)
        version = source_digest(file, search)
        expected = _expected(file, name, version)
    except TaskError as error:
        raise _wrong("function", error.message, error.hint or "") from None
    if expected is None:
        return Bound({**params, "function": f"{module}:{name}"}, version)
    expected.check(function, params)
    return Bound({**expected.defaults, **params, "function": f"{module}:{name}"}, version)


def _wrong(parameter: str, message: str, hint: str, *, key: bool = False) -> ValidationError:
    error = PydanticCustomError("task", "{message}", {"message": message, "hint": hint, "key": key})
    return ValidationError.from_exception_data("python", [{"type": error, "loc": (parameter,), "input": None}])


class _Arguments:
    """What a function takes besides the context."""

    def __init__(self, function: str, arguments: Sequence[Any]) -> None:
        self.named = {argument.name: argument for argument in arguments if not argument.variadic}
        if "function" in self.named:
            raise TaskError(f"`{function}` has an argument `function`, which names the function here", hint="rename it")
        self.takes_any = any(argument.variadic for argument in arguments)
        self.allowed = {*self.named, "function"}
        self.required = {name for name, argument in self.named.items() if not argument.has_default}
        self.defaults = {name: a.default for name, a in self.named.items() if a.has_default and _is_json(a.default)}
        only = arguments[0] if len(arguments) == 1 and not arguments[0].variadic else None
        # a pydantic model, perhaps: only running the module would tell its fields
        self.model = only.name if only is not None and _may_be_a_model(only.annotation) else None

    def check(self, function: str, given: Mapping[str, Any]) -> None:
        """Raises ValidationError for arguments that are missing or not known."""
        if self.model is not None and self.model not in given:
            return
        if not self.takes_any and not given.keys() <= self.allowed:
            unknown = next(name for name in given if name not in self.allowed)
            known = ", ".join(f"`{name}`" for name in self.named) or "it has none"
            raise _wrong(unknown, f"`{function}` has no argument `{unknown}`", f"its arguments: {known}", key=True)
        if not self.required <= given.keys():
            missing = next(name for name in self.named if name in self.required and name not in given)
            raise _wrong(missing, f"`{function}` needs the argument `{missing}`", f"add `{missing}:` to the parameters")


@lru_cache(maxsize=64)
def _expected(file: str, name: str, version: str) -> _Arguments | None:
    """None where the source does not tell. The version is of the source: with it, what is cached is never stale."""
    arguments = function_signature(file, name)
    if arguments is None:
        return None
    return _Arguments(name, [argument for argument in arguments if not _is_context(argument)])


@lru_cache(maxsize=64)
def _split(function: str) -> tuple[str, str]:
    module, _, name = (part.strip() for part in function.partition(":"))
    words = [*module.split("."), *name.split(".")]
    if not all(word.isidentifier() and not keyword.iskeyword(word) for word in words):
        raise TaskError(f"`{function}` does not name a function", hint="write `module:name`, as in `analysis:fit`")
    return module, name


def _search_path(folder: str) -> tuple[str, ...]:
    return (folder, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))


def _module_file(module: str, search_path: Sequence[str]) -> str:
    for root in search_path:
        base = os.path.join(root, *module.split("."))
        for file in (os.path.join(base, "__init__.py"), f"{base}.py"):
            if os.path.isfile(file):
                return file
    raise TaskError(
        f"there is no module `{module}` beside the manifest or on `PYTHONPATH`",
        hint=f"put `{module.replace('.', '/')}.py` into the manifest's folder",
    )


def _is_context(argument: Any) -> bool:
    kind: str = argument.annotation.partition("|")[0].strip().rpartition(".")[2]
    return argument.name == "ctx" or kind == "Context"


def _may_be_a_model(annotation: str) -> bool:
    return annotation.replace(".", "").isidentifier() and annotation not in _PLAIN


def _is_json(value: Any) -> bool:
    """Whether JSON keeps a default as it is: a tuple or a set would come back as a list."""
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)


@lru_cache(maxsize=64)
def _loaded(function: str, folder: str, version: str) -> Task:
    module, name = _split(function)
    search = _search_path(folder)
    file = _module_file(module, search)
    if source_digest(file, search) != version:  # what other code returns must not be stored under this version
        raise ManifestError(f"the code of `{function}` changed after this job was planned; run the same command again")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    found: Any = importlib.import_module(module)
    origin = getattr(found, "__file__", None)
    if origin is None or not os.path.samefile(origin, file):
        raise Permanent(f"`{module}` is also the name of another module, {origin or 'a built-in one'}: rename yours")
    for part in name.split("."):
        found = getattr(found, part)
    return found if isinstance(found, Task) else task(found)


@task(name="python", version="1", bind=bind)
def python(params: PythonParams, ctx: Context) -> Any:
    """Call a Python function: `function: module:name`, and its arguments as the other parameters."""
    called = _loaded(params.function, os.getcwd(), ctx.version)
    try:
        arguments = called.params.model_validate(params.model_extra or {})
    except ValidationError as error:
        raise ManifestError(f"`{params.function}` does not take these arguments: {_said(error)}") from None
    waits = called.mode == "async" and called.context is not None
    result = called.call(arguments, ctx.awaitable() if waits else ctx)
    result = asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result
    try:
        return called.checked(result)
    except ValidationError as error:
        raise ManifestError(f"the result is not what `{params.function}` declares: {_said(error)}") from None


def _said(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"`{'.'.join(map(str, e['loc'])) or 'value'}`: {e['msg']}" for e in found[:20])


async def _awaited(result: Any) -> Any:
    return await result
