"""A batch: a checked manifest, its tasks and its plan, from a file or from a Python call."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchmill import plugins
from batchmill.manifest.document import Document, from_values, read
from batchmill.model.manifest import Manifest
from batchmill.model.tasks import Task
from batchmill.plan.plan import Plan, build
from batchmill.plugins.source import function_name

Target = Task | Callable[..., Any] | str | os.PathLike[str] | None


class TaskBook:
    """Finds tasks by name, each once: those given first, then the installed ones. Called, it loads."""

    def __init__(self, given: Mapping[str, Task] | None = None) -> None:
        self.tasks: dict[str, Task] = dict(given or {})

    def __call__(self, name: str) -> Task:
        if name not in self.tasks:
            self.tasks[name] = plugins.find(name)
        return self.tasks[name]


@dataclass(frozen=True)
class Batch:
    """What is to be done. `plan` is lazy: nothing is expanded until its jobs are asked for."""

    document: Document
    plan: Plan
    overrides: tuple[str, ...] = ()  # what was set over the document's text

    @property
    def manifest(self) -> Manifest:
        """The validated manifest."""
        return self.document.manifest

    @property
    def name(self) -> str:
        """The name of its runs."""
        return self.document.name


def from_file(path: str | Path, overrides: Sequence[str] = ()) -> Batch:
    """The batch that a manifest describes. Raises ManifestError, PlanError or TaskError."""
    return _batch(read(path, overrides), TaskBook(), overrides)


def from_call(target: Target, **values: Any) -> Batch:
    """The batch of a Python call: `target` is a function, a Task, the path of a manifest, or None.

    `values` are what a manifest holds. Raises ManifestError, PlanError or TaskError.
    """
    values = {name: value for name, value in values.items() if value is not None}
    overrides = values.pop("overrides", ())
    if isinstance(target, str | os.PathLike):
        overrides = [*overrides, *_as_overrides(values)]
        return _batch(read(Path(target), overrides), TaskBook(), overrides)
    given = {}
    if target is not None:
        task = target if isinstance(target, Task) else plugins.make_task(target)
        given = {task.name: task}
        values["task"] = task.name
    name = values.get("name") or (function_name(target) if callable(target) else values.get("task", "batch"))
    if values.get("task") and not any(values.get(source) for source in ("jobs", "matrix", "files", "table")):
        values["jobs"] = [{"params": {}}]  # a call without any source is one job
    document = from_values(values, folder=Path.cwd(), name=str(name), overrides=overrides, known_tasks=tuple(given))
    return _batch(document, TaskBook(given), overrides)


def _as_overrides(values: Mapping[str, Any]) -> list[str]:
    """Values over a manifest file's own, in the form of `--set`."""
    return [f"{name}={json.dumps(value)}" for name, value in values.items()]


def _batch(document: Document, book: TaskBook, overrides: Sequence[str]) -> Batch:
    return Batch(document, build(document, book), tuple(overrides))
