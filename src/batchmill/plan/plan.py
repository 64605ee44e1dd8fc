"""The plan of a batch: its jobs, numbered from 1, made lazily and the same each time; and the digest that tells
whether a manifest still means the same jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

from batchmill.errors import PlanError, Problem
from batchmill.manifest.document import Document
from batchmill.model.jobs import PlannedJob
from batchmill.model.tasks import Task
from batchmill.plan import keys
from batchmill.plan.binding import is_placeholder
from batchmill.plan.part import Part, Source
from batchmill.plugins import code, find

MAX_PROBLEMS = 100


def build(document: Document, tasks: Callable[[str], Task] = find, *, now: float | None = None) -> Plan:
    """The plan of a document (and of its further parts). `tasks` finds a task by name, or raises TaskError; `now` is
    the wall time that `modified_since: 7d` counts from.

    Explicit jobs, tables and the values of axes are read and checked here. Raises PlanError with all that is wrong.
    """
    code.forget()
    problems: list[Problem] = []
    now = time.time() if now is None else now
    parts = [Part(part, tasks, now, problems) for part in document.parts]
    if problems:
        raise _plan_error(problems)
    return Plan(document, parts)


def _plan_error(problems: list[Problem]) -> PlanError:
    ordered = sorted(dict.fromkeys(problems), key=lambda p: (p.source, p.line, p.column))
    kept = tuple(ordered[:MAX_PROBLEMS])
    more = f" (the first {MAX_PROBLEMS} of {len(ordered)})" if len(ordered) > MAX_PROBLEMS else ""
    if len(kept) == 1:
        return PlanError(kept[0].message, problems=kept, hint=kept[0].hint or None, code=kept[0].code)
    return PlanError(f"found {len(ordered)} errors{more}; nothing was run", problems=kept)


class Plan:
    """The jobs of a batch. Nothing is held that grows with their number, except what the manifest itself spells out."""

    def __init__(self, document: Document, parts: Sequence[Part]) -> None:
        self._parts = parts
        self.name = document.name
        self.task = document.manifest.task
        self.folder = Path(document.folder)

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks in use, by name."""
        return {task.name: task for part in self._parts for task in part.checker.tasks}

    @property
    def missing_tasks(self) -> list[str]:
        """Tasks that a foreign format names and that are not installed: such a plan can be shown, not run."""
        return sorted(name for name, task in self.tasks.items() if is_placeholder(task))

    @cached_property
    def digest_parts(self) -> dict[str, str]:
        """What the digest is made of, so that a changed plan can say where it changed. Walks the file set once."""
        several = len(self._parts) > 1
        found = ((number, part.digest_parts()) for number, part in enumerate(self._parts, start=1))
        return {f"{key} {number}" if several else key: d for number, part in found for key, d in part.items()}

    @property
    def digest(self) -> str:
        """The digest (32 hex digits) of all that decides jobs, parameters and inputs, not limits, retries, reports."""
        return keys.digest(self.digest_parts)

    def count(self) -> int | None:
        """The number of jobs; None when files stream, and only planning them all can tell."""
        total = 0
        for _, source in self._sources():
            count = source.count()
            if count is None:
                return None
            total += count
        return total

    @property
    def urgent(self) -> int:
        """How many jobs from the start there are up to the last of those that may have priorities of their own."""
        total = last = 0
        for _, source in self._sources():
            total += source.count() or 0
            last = total if source.ranked else last
        return last

    def jobs(self, start: int = 0) -> Iterator[PlannedJob]:
        """The jobs after the first `start`, in the order of the plan. Raises PlanError when a source changed."""
        number, lanes = start, _Lanes(any(part.manifest.order == "group" for part in self._parts))
        for part, source in self._sources():
            skipped = self._skip(source, start, lanes) if start else 0
            start -= skipped
            for draft in source.drafts(skipped) if not start else ():
                number += 1
                yield part.planned(draft, number, lanes.of(draft.group))

    def _sources(self) -> Iterator[tuple[Part, Source]]:
        return ((part, source) for part in self._parts for source in part.sources)

    def _skip(self, source: Source, start: int, lanes: _Lanes) -> int:
        """How many of the first `start` jobs are this source's. The lanes of groups need to see each of them."""
        count = source.count()
        if count is not None and not lanes.wanted:
            return min(start, count)
        if not lanes.wanted and source is self._parts[-1].sources[-1]:
            return start
        skipped = 0
        for draft in islice(source.drafts(), start):
            lanes.of(draft.group)
            skipped += 1
        return skipped


class _Lanes:
    """Numbers groups in the order of their first job."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self._numbers: dict[str | None, int] = {}

    def of(self, group: str | None) -> int:
        return self._numbers.setdefault(group, len(self._numbers)) if self.wanted else 0
