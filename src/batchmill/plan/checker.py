"""What the sources of one document's jobs share while they are checked: the tasks in use, and what is wrong, told
where the manifest says it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from batchmill.errors import Problem, TaskError
from batchmill.manifest.document import Document
from batchmill.model.jobs import FileIdentity
from batchmill.model.tasks import Task
from batchmill.plan.binding import Binder, Fault, Ready, placeholder

Location = tuple[str | int, ...]
Layers = Sequence[tuple[Location, Mapping[str, Any]]]


class Checker:
    """Finds tasks, and appends what is wrong to `problems`, each once."""

    def __init__(self, document: Document, tasks: Callable[[str], Task], problems: list[Problem]) -> None:
        self.document = document
        self.manifest = document.manifest
        self.folder = os.path.abspath(document.folder)
        self.problems = problems
        self.versions: set[tuple[str, str]] = set()  # (task, code version) of the jobs seen so far
        self.filled_in = blake2b(digest_size=16)  # parameters of jobs whose task fills in what no manifest says
        self._find = tasks
        self._binders: dict[str, Binder | None] = {}
        self._names: set[int] = set()  # hashes of explicit names: a table may have millions
        self._told: set[tuple[Location, str]] = set()

    @property
    def tasks(self) -> list[Task]:
        """The tasks in use."""
        return [binder.task for binder in self._binders.values() if binder is not None]

    def find(self, name: str) -> Binder:
        """The binder of a task. Raises TaskError when there is no such task."""
        binder = self._binders.get(name)
        if binder is None:
            try:
                binder = Binder(self._find(name), self.folder)
            except TaskError as error:
                if not self.document.foreign or error.code != "task/unknown":
                    raise
                binder = Binder(placeholder(name), self.folder)
            self._binders[name] = binder
        return binder

    def binder(self, name: str | None, location: Location) -> Binder | None:
        """The binder of a task, by default the manifest's; None, and a problem, when there is no such task."""
        name = name or self.manifest.task
        if name is None:
            self.problem(location, "no task is named: nothing says what is done for each job", "add `task:`")
        elif name in self._binders:
            return self._binders[name]
        else:
            try:
                return self.find(name)
            except TaskError as error:
                self._binders[name] = None
                self.problem(location, error.message, error.hint or "", code=error.code)
        return None

    def ready(self, binder: Binder, raw: Mapping[str, Any], file: FileIdentity | None = None) -> Ready:
        """What `Binder.ready` gives; its code version is noted, and what a task fills in. Raises Unfit."""
        ready = binder.ready(raw, file)
        self.versions.add((binder.task.name, ready.version))
        if binder.task.bind is not None:
            self.filled_in.update(ready.params.encode())
        return ready

    def problem(
        self, location: Location, message: str, hint: str = "", code: str = "plan/parameter", key: bool = False
    ) -> None:
        """Tell a problem at a location of the manifest (with `key`, at the key that stands there)."""
        if (location, message) not in self._told:
            self._told.add((location, message))
            self.problems.append(self.document.problem(location, code, message, hint=hint, key=key))

    def place(self, fault: Fault, layers: Layers, otherwise: Location) -> None:
        """Tell a fault where the manifest gives the value: in the first of the layers that has it, or the defaults."""
        for prefix, values in (*layers, (("defaults",), self.manifest.defaults)):
            if fault.location and not fault.absent and fault.location[0] in values:
                return self.problem((*prefix, *fault.location), fault.message, fault.hint, key=fault.key)
        return self.problem(otherwise, fault.message, fault.hint)

    def is_new(self, name: str) -> bool:
        """Whether this explicit name is the first of its kind; it is noted."""
        before = len(self._names)
        self._names.add(hash(name))
        return len(self._names) > before
