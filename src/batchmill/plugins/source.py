"""Where a worker finds a function again, and the version of its code."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from types import CodeType, FunctionType, ModuleType
from typing import Any

from batchmill.model.tasks import Task, TaskSource
from batchmill.plugins.code import project_digest

SCRIPT = "__batchmill_main__"  # the name under which a worker imports the running script
_MAIN = {"__main__", "__mp_main__", SCRIPT}


def function_name(fn: Callable[..., Any]) -> str:
    """A name for people: `count`, or `lambda`, or the name of the class of a callable object."""
    if isinstance(fn, functools.partial):
        return function_name(fn.func)
    return str(getattr(fn, "__name__", type(fn).__name__)).strip("<>")


def source_of(fn: Callable[..., Any], options: Mapping[str, Any] | None = None) -> TaskSource:
    """How a worker gets this function: from its module, from the running script's file, or pickled.

    Notebook cells, lambdas, closures and functions of a REPL are pickled with cloudpickle. So is a function that is
    made a task with `options` without replacing the name in its module: a worker that imports it would not see them.
    """
    kind, place = _home(fn)
    if kind == "pickle" or (options and _attribute(fn) is fn):
        return TaskSource("pickle", function_name(fn), payload=_pickled(fn, options or {}), search_path=search_path())
    return TaskSource(kind, place, fn.__qualname__, search_path=search_path())  # type: ignore[arg-type]


def version_of(fn: Callable[..., Any]) -> str:
    """The digest of the project files behind a function; of its code, where no file holds it that can be imported."""
    kind, place = _home(fn)
    if kind == "file":
        return project_digest(place, search_path())
    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if kind == "module" and file and file.endswith(".py"):
        return project_digest(file, search_path())
    return code_digest(fn)


def search_path() -> tuple[str, ...]:
    """`sys.path`, absolute: what the importing process sees must be seen by its workers."""
    return tuple(dict.fromkeys(os.path.abspath(entry or ".") for entry in sys.path if isinstance(entry, str)))


def _home(fn: Callable[..., Any]) -> tuple[str, str]:
    name, qualname = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
    if not inspect.isroutine(fn) or not name or not qualname or "<" in qualname or inspect.ismethod(fn):
        return "pickle", ""
    if name in _MAIN:
        return _home_in_main(fn, sys.modules.get(name))
    attribute = _attribute(fn)
    if attribute is None or attribute is fn or isinstance(attribute, Task):
        return ("module", name) if _importable(name) else ("pickle", "")
    return "pickle", ""


def _home_in_main(fn: Callable[..., Any], main: ModuleType | None) -> tuple[str, str]:
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    code = getattr(fn, "__code__", None)
    if not file or code is None or os.path.abspath(code.co_filename) != os.path.abspath(file):
        return "pickle", ""  # a notebook cell or a REPL
    if spec is not None and spec.name not in _MAIN:
        return "module", spec.name  # python -m package.module
    return "file", os.path.abspath(file)


def _attribute(fn: Callable[..., Any]) -> Any:
    """What the function's module holds under its name now; None while a decorator runs."""
    found: Any = sys.modules.get(getattr(fn, "__module__", None) or "")
    for part in getattr(fn, "__qualname__", "<none>").split("."):
        found = getattr(found, part, None)
    return found


def _importable(module: str) -> bool:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return False
    loaded = getattr(sys.modules.get(module), "__file__", None)
    return spec is not None and (loaded is None or spec.origin is None or os.path.samefile(spec.origin, loaded))


def _pickled(fn: Callable[..., Any], options: Mapping[str, Any]) -> bytes:
    import cloudpickle

    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    by_value = module is not None and module.__name__ not in _MAIN and not _importable(module.__name__)
    if by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps((fn, dict(options))))
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)


def code_digest(fn: Callable[..., Any]) -> str:
    """A hex digest of what a function does: its byte code, constants, defaults, what it closes over, and the functions
    of the same session that it calls. Line numbers and names of variables do not count, the Python version does."""
    whole = blake2b(digest_size=16)
    for piece in _value_pieces(fn, set()):
        whole.update(b"%d:" % len(piece) + piece)
    return whole.hexdigest()


def _value_pieces(value: Any, seen: set[int]) -> Iterator[bytes]:
    if id(value) in seen:
        yield b"again"
        return
    if isinstance(value, functools.partial):
        yield from _value_pieces((value.func, value.args, value.keywords), seen)
    elif isinstance(value, FunctionType):
        seen.add(id(value))
        yield from _function_pieces(value, seen)
    elif isinstance(value, CodeType):
        yield from _code_pieces(value, seen)
    elif isinstance(value, Task):
        yield from _value_pieces(value.fn, seen)
    elif isinstance(value, dict):
        for key in sorted(value, key=repr):
            yield repr(key).encode()
            yield from _value_pieces(value[key], seen)
    elif isinstance(value, tuple | list):
        yield type(value).__name__.encode()
        for item in value:
            yield from _value_pieces(item, seen)
    elif isinstance(value, set | frozenset):
        yield repr(sorted(map(repr, value))).encode()
    else:
        yield _atom(value)


def _function_pieces(fn: FunctionType, seen: set[int]) -> Iterator[bytes]:
    yield from _code_pieces(fn.__code__, seen)
    yield from _value_pieces((fn.__defaults__, fn.__kwdefaults__), seen)
    for cell in fn.__closure__ or ():
        yield from _value_pieces(_contents(cell), seen)
    for name in sorted(_global_names(fn.__code__)):
        if name in fn.__globals__:
            yield name.encode()
            yield from _value_pieces(fn.__globals__[name], seen)


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _global_names(code: CodeType) -> set[str]:
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*map(_global_names, inner))


def _code_pieces(code: CodeType, seen: set[int]) -> Iterator[bytes]:
    yield code.co_code
    yield repr(code.co_names).encode()
    for constant in code.co_consts:
        yield from _value_pieces(constant, seen)


def _atom(value: Any) -> bytes:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes) or value is ...:
        return repr(value).encode("utf-8", "surrogatepass")
    if isinstance(value, ModuleType):
        return f"module {value.__name__}".encode()
    if isinstance(value, type) or inspect.isroutine(value):
        module = getattr(value, "__module__", None) or ""
        if module not in _MAIN:
            return f"{module}.{getattr(value, '__qualname__', '')}".encode()
    import cloudpickle

    try:  # an unstable pickle only means that the job runs again
        return bytes(cloudpickle.dumps(value))
    except Exception:  # noqa: BLE001 - pickling a stranger's object may raise anything
        return repr(type(value)).encode()
