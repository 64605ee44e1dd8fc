"""Every exception that Batchmill raises, and the exit code each one means.

::

    BatchmillError                     exit code, code, hint
    ├── UsageError                 2   a wrong flag, name or combination
    ├── ManifestError              2   the manifest (or a model, a table) is wrong; holds Problems
    │   └── PlanError              2   the plan cannot be made from a valid manifest
    ├── TaskError                  2   a task cannot be found, imported or used
    ├── LedgerError                5   the ledger is damaged or cannot be written
    │   ├── HomeError              5   the home cannot hold ledgers (network file system, read-only)
    │   ├── RunHeld                5   another live process runs this run
    │   └── RunNotFound            2   no run of that name or id
    ├── JobFailed                  1   raised by `outcome.value`: the job's own failure
    └── InternalError              4   a broken promise of Batchmill itself
    Signals of a task to the engine (not failures of Batchmill):
    ├── RetryLater                     try this job again, not before `after` seconds
    ├── Permanent                      do not try this job again
    └── Skip                           this job has nothing to do
"""

from __future__ import annotations

from dataclasses import dataclass


class BatchmillError(Exception):
    """The root of all errors: `message`, a stable `code`, an optional `hint`, and the `exit_code` it means."""

    exit_code = 4
    code = "internal"

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code
        if hint:
            self.add_note(f"hint: {hint}")  # Python shows notes below a traceback

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.__dict__))


def _rebuild(kind: type[BatchmillError], message: str, state: dict[str, object]) -> BatchmillError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class UsageError(BatchmillError):
    """A wrong flag, name or combination of them."""

    exit_code = 2
    code = "usage"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a text, with its place (1-based line and column) and what to do."""

    code: str
    message: str
    source: str = ""
    line: int = 0
    column: int = 0
    length: int = 1
    text: str = ""
    note: str = ""
    hint: str = ""


class ManifestError(BatchmillError):
    """A text that a user wrote is wrong; `problems` holds everything found, in the order of the text."""

    exit_code = 2
    code = "manifest/invalid"

    def __init__(
        self,
        message: str,
        *,
        problems: tuple[Problem, ...] = (),
        hint: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.problems = problems
        for problem in problems if len(problems) > 1 else ():
            place = f"{problem.source}:{problem.line}:{problem.column}: " if problem.line else ""
            self.add_note(f"{place}{problem.message}" + (f" (hint: {problem.hint})" if problem.hint else ""))


class PlanError(ManifestError):
    """The manifest is well formed, but no plan can be made from it (a missing folder, a bad table)."""

    code = "plan/invalid"


class TaskError(BatchmillError):
    """A task cannot be found, imported or used as it is."""

    exit_code = 2
    code = "task/unusable"


class LedgerError(BatchmillError):
    """The ledger is damaged, held or cannot be written."""

    exit_code = 5
    code = "ledger/damaged"


class HomeError(LedgerError):
    """The home folder cannot hold ledgers."""

    code = "home/unusable"


class RunHeld(LedgerError):
    """Another live process works on this run."""

    code = "run/held"


class RunNotFound(LedgerError):
    """No run goes by that name or id."""

    exit_code = 2
    code = "run/not-found"


class JobFailed(BatchmillError):
    """A job ended without a result; `kind` and `message` say how."""

    exit_code = 1
    code = "job/failed"

    def __init__(self, message: str, *, kind: str = "error", job: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.job = job


class InternalError(BatchmillError):
    """Batchmill broke a promise of its own."""

    exit_code = 4
    code = "internal"


class RetryLater(Exception):
    """Raised by a task: try this job again, not before `after` seconds from now."""

    def __init__(self, message: str = "", *, after: float = 0.0) -> None:
        super().__init__(message or f"try again after {after:g} s")
        self.after = after


class Permanent(Exception):
    """Raised by a task: this job fails for good, whatever its retry policy says; as `invalid`, where it is that."""

    invalid = False


class Skip(Exception):
    """Raised by a task: this job has nothing to do; it ends `skipped` with this reason, and with a `kind` if one is
    given (a word of the task's own, such as `empty` or `too_large`)."""

    def __init__(self, message: str = "", *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind
