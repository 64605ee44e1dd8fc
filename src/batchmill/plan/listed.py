"""Jobs that are listed one by one: in `jobs`, and as rows of a table. Both are checked whole before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Any

from batchmill.errors import PlanError, Problem, TaskError
from batchmill.manifest import template
from batchmill.model.manifest import JobSection, TableSection
from batchmill.model.tasks import Task
from batchmill.plan import cells, keys
from batchmill.plan.binding import Binder, Fault, Ready, Unfit
from batchmill.plan.checker import Checker, Location
from batchmill.plan.expand import Draft, job_name, labelled
from batchmill.plan.tables import Table, TableRow

MAX_LABEL = 80


class ExplicitJobs:
    """The jobs under `jobs`."""

    def __init__(self, checker: Checker) -> None:
        """Checks them all."""
        self._checker = checker
        found = (self._draft(number, job) for number, job in enumerate(checker.manifest.jobs))
        self._drafts = [draft for draft in found if draft is not None]

    @property
    def ranked(self) -> bool:
        """Whether some have priorities."""
        return any(draft.options is not None and draft.options.priority for draft in self._drafts)

    def count(self) -> int:
        """How many."""
        return len(self._drafts)

    def drafts(self, start: int = 0) -> Iterator[Draft]:
        """From the `start`-th (from 0) on."""
        return iter(self._drafts[start:])

    def digest_parts(self) -> dict[str, str]:
        """The digest of all that they say."""
        told = [[d.name, d.group, d.options and d.options.model_dump(mode="json"), d.ready] for d in self._drafts]
        return {"jobs": keys.digest(told)}

    def _draft(self, number: int, job: JobSection) -> Draft | None:
        here: Location = ("jobs", number)
        checker = self._checker
        binder = checker.binder(job.task, (*here, "task") if job.task else ("task",))
        if job.name is not None and not checker.is_new(job.name):
            hint = "give each job a name of its own"
            checker.problem((*here, "name"), f"two jobs are named `{job.name}`", hint, "manifest/duplicate-job")
        if binder is None:
            return None
        try:
            ready = checker.ready(binder, {**checker.manifest.defaults, **job.params})
        except Unfit as unfit:
            for fault in unfit.faults:
                checker.place(fault, (((*here, "params"), job.params),), here)
            return None
        name = job_name(job.name or _default_name(number, job, binder.task))
        return Draft({}, name, job.group, job.name is None, job, ready=ready)


def _default_name(number: int, job: JobSection, task: Task) -> str:
    """Made from the parameters, as in a matrix, unless they are too long to be a name."""
    label = labelled(job.params, task.short_names)
    return f"job_{label}" if 0 < len(label) <= MAX_LABEL and "\n" not in label else f"job_{number + 1}"


class Rows:
    """The rows of the table. They are read twice: to check them all, and to run them."""

    def __init__(self, checker: Checker, section: TableSection) -> None:
        """Checks them all."""
        self._checker = checker
        self._section = section
        self._table = Table(section, checker.folder)
        self._name = template.parse(section.name) if section.name is not None else None
        self._content = blake2b(digest_size=16)  # of the table, and of the files that its rows name
        self._count = 0
        self.ranked = False
        try:
            self._identity = keys.identity(self._table.path)
            self._content.update(keys.digest_file(self._table.path).encode())
            self._check()
        except (OSError, ValueError, PlanError) as error:
            self._refuse(error)

    def count(self) -> int:
        """How many."""
        return self._count

    def drafts(self, start: int = 0) -> Iterator[Draft]:
        """From the `start`-th (from 0) on. Raises PlanError when the table changed since it was checked."""
        if start >= self._count:
            return
        if keys.identity(self._table.path) != self._identity:
            raise PlanError(f"the table `{self._table.name}` changed while it was planned", hint="run it again")
        rows = (row for row in self._table if isinstance(row, TableRow))
        yield from (self._draft(row)[0] for row in islice(rows, start, None))

    def digest_parts(self) -> dict[str, str]:
        """The digest of the table's content."""
        return {"table": keys.digest([self._section.model_dump(), self._content.hexdigest()])}

    def _refuse(self, error: Exception) -> None:
        hint = getattr(error, "hint", None) or "paths are relative to the manifest's folder"
        if isinstance(error, FileNotFoundError):
            message = f"there is no table `{self._table.name}`"
        elif isinstance(error, PlanError):
            message = error.message
        else:
            message = f"cannot read the table `{self._table.name}`: {getattr(error, 'strerror', None) or error}"
        self._checker.problem(("table", "from"), message, hint, "plan/table")

    def _check(self) -> None:
        for row in self._table:
            if isinstance(row, Problem):
                self._checker.problems.append(row)
                continue
            self._count += 1
            self.ranked = self.ranked or "priority" in row.cells
            ready = self._check_row(row)
            if ready is not None and (ready.inputs or ready.version):
                self._content.update(repr((ready.version, ready.inputs)).encode())

    def _check_row(self, row: TableRow) -> Ready | None:
        try:
            draft, binder = self._draft(row)
            if not draft.generated and not self._checker.is_new(draft.name):
                raise Unfit([Fault(("name",), f"two jobs are named `{draft.name}`", "names of jobs are unique")])
            return self._checker.ready(binder, draft.params)
        except TaskError:
            return None  # the manifest's own task is told once
        except Unfit as unfit:
            for fault in unfit.faults:
                self._tell(row, fault)
            return None

    def _tell(self, row: TableRow, fault: Fault) -> None:
        field = str(fault.location[0]) if fault.location else ""
        if field in self._checker.manifest.defaults and field not in row.cells:
            self._checker.place(fault, (), ("table",))
            return
        column = row.columns.index(field) + 1 if field in row.columns else 1
        self._checker.problems.append(self._table.problem(row.line, column, fault.message, fault.hint))

    def _draft(self, row: TableRow) -> tuple[Draft, Binder]:
        """Raises Unfit, and TaskError where the manifest's task is unusable."""
        options = cells.options_of(row)
        binder = self._binder(options.task)
        params = {**self._checker.manifest.defaults, **cells.params_of(row, binder.task.params)}
        name = options.name or self._rendered(row, params) or f"row_{row.number}"
        return Draft(params, job_name(name), options.group, options.name is None, options), binder

    def _binder(self, task: str | None) -> Binder:
        if task is None:
            binder = self._checker.binder(None, ("table",))
            if binder is None:
                raise TaskError("there is no task")
            return binder
        try:
            return self._checker.find(task)
        except TaskError as error:
            raise Unfit([Fault(("task",), error.message, error.hint or "")]) from None

    def _rendered(self, row: TableRow, params: Mapping[str, Any]) -> str | None:
        if self._name is None:
            return None
        try:
            return self._name.render({**params, **row.cells})
        except template.TemplateError as error:
            raise Unfit([Fault((), f"this row has no name: {error}")]) from None
