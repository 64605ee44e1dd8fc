"""Finds tasks by entry point, and loads a task from where its source says it is."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from batchmill.errors import TaskError
from batchmill.model.near import did_you_mean
from batchmill.model.tasks import Task, TaskSource
from batchmill.plugins.entries import entry_points, imported
from batchmill.plugins.making import from_function
from batchmill.plugins.source import SCRIPT

TASKS = "batchmill.tasks"

_importing: list[str] = []  # the script that a worker is importing now


def task_names() -> list[str]:
    """Names of the installed tasks, sorted. No task is imported."""
    return sorted({entry.name for entry in entry_points(group=TASKS)})


def find(name: str) -> Task:
    """The installed task of that name. Raises TaskError when there is none, or when it does not import."""
    entry = next(iter(entry_points(group=TASKS, name=name)), None)
    if entry is None:
        known = task_names()
        hint = did_you_mean(name, known) or f"installed tasks: {', '.join(f'`{n}`' for n in known)}"
        raise TaskError(f"unknown task `{name}`", hint=hint, code="task/unknown")
    task = imported(entry, "task")
    if not isinstance(task, Task):
        if not callable(task):
            raise TaskError(
                f"the plug-in `{name}` ({entry.value}) is not a task", hint="make it with `@batchmill.task`"
            )
        task = from_function(task, {"name": name}, TaskSource("entry", name))
    return replace(task, name=name, source=TaskSource("entry", name))


def load(source: TaskSource) -> Task:
    """The task that a source names, imported here. Raises TaskError when it cannot be had."""
    if source.kind == "entry":
        return find(source.name)
    _extend_path(source)
    if source.kind == "pickle":
        # only ever bytes that the driver of this run sent over an inherited socket
        fn, options = pickle.loads(source.payload)
        return from_function(fn, options, source)
    module = _script(source.name) if source.kind == "file" else _module(source.name)
    found: Any = module
    for part in source.attribute.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Task):
        return replace(found, source=source)
    if not callable(found):
        raise TaskError(f"`{source.name}` has no function `{source.attribute}` when a worker imports it")
    return from_function(found, {}, source)


def _extend_path(source: TaskSource) -> None:
    first = [os.path.dirname(source.name)] if source.kind == "file" else []
    missing = [entry for entry in source.search_path if entry not in sys.path]
    sys.path[:] = [*first, *missing, *(entry for entry in sys.path if entry not in first)]


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(f"the module `{name}` does not import: {type(error).__name__}: {error}") from error


def _script(file: str) -> Any:
    """The running script, imported a second time under another name, so that its main guard is false."""
    known = sys.modules.get(SCRIPT)
    if known is not None and getattr(known, "__file__", None) == file:
        return known
    spec = importlib.util.spec_from_file_location(SCRIPT, file)
    if spec is None or spec.loader is None:
        raise TaskError(f"`{file}` cannot be imported by a worker", hint="its name should end in `.py`")
    module = importlib.util.module_from_spec(spec)
    sys.modules[SCRIPT] = module
    try:
        with _marked(file):
            spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(SCRIPT, None)
        if isinstance(error, TaskError | KeyboardInterrupt):
            raise
        raise TaskError(f"`{file}` does not import in a worker: {type(error).__name__}: {error}") from error
    return module


@contextmanager
def _marked(file: str) -> Iterator[None]:
    _importing.append(file)
    try:
        yield
    finally:
        _importing.pop()


def refuse_inside_import() -> None:
    """Called wherever a batch starts: raises TaskError when a worker is just importing the script that starts it."""
    if _importing:
        raise TaskError(
            f"`{os.path.basename(_importing[-1])}` starts a batch whenever it is imported, and workers import it:"
            ' put the code that starts it under `if __name__ == "__main__":`',
            code="task/no-main-guard",
        )
