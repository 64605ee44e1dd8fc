"""A run as its user holds it: state, counts, and the outcome of every job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.api.managing import find
from batchmill.errors import JobFailed, UsageError
from batchmill.model.states import UNPREPARED, JobState, RunState
from batchmill.report.exports import FORMATS, Format, Shape, write_export
from batchmill.report.query import RunView
from batchmill.report.records import JobView, RunInfo
from batchmill.report.summary import summarise

if TYPE_CHECKING:
    import pandas as pd

HOME_VARIABLE = "BATCHMILL_HOME"
DEFAULT_HOME = ".batchmill"


def home_path(home: str | Path | None = None) -> Path:
    """The home folder: the one given, else `BATCHMILL_HOME`, else `.batchmill` in the current folder."""
    import os

    return Path(home or os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).absolute()


class JobOutcome:
    """How one job ended. `value` is its result, or raises the job's error."""

    def __init__(self, view: JobView) -> None:
        self._view = view

    @property
    def name(self) -> str:
        """The job's name."""
        return self._view.name

    @property
    def state(self) -> str:
        """`succeeded`, `failed`, `skipped`, `cancelled` or `pending`."""
        return self._view.state

    @property
    def cached(self) -> bool:
        """Whether the result is that of another job with the same key."""
        return self._view.cached

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, defaults filled in."""
        return self._view.params

    @property
    def result(self) -> Any:
        """The result as JSON data; None when there is none."""
        return self._view.result

    @property
    def metrics(self) -> dict[str, Any]:
        """The task's flat columns."""
        return self._view.metrics

    @property
    def error(self) -> tuple[str, str] | None:
        """The failure's kind and message, or None."""
        failure = self._view.error
        return None if failure is None else (failure.kind, failure.message)

    @property
    def reason(self) -> str:
        """Why it failed or was skipped, as `kind: message`; empty when it did neither."""
        return ": ".join(part for part in (self._view.kind, self._view.message) if part)

    @property
    def group(self) -> str | None:
        """The job's group."""
        return self._view.group

    @property
    def attempts(self) -> int:
        """How often it was tried, all invocations."""
        return self._view.attempts

    @property
    def wall_s(self) -> float | None:
        """Seconds that the last attempt took."""
        return self._view.wall_s

    @property
    def cpu_s(self) -> float | None:
        """CPU seconds of the last attempt."""
        return self._view.cpu_s

    @property
    def peak_rss_bytes(self) -> int | None:
        """The highest resident memory of the last attempt."""
        return self._view.peak_rss_bytes

    @property
    def value(self) -> Any:
        """The result. Raises JobFailed when the job has none."""
        if self.state == JobState.SUCCEEDED:
            return self.result
        kind, message = self.error or (self.state, "the job has no result")
        raise JobFailed(f"job `{self.name}`: {kind}: {message}", kind=kind, job=self.name)

    def __repr__(self) -> str:
        return f"<JobOutcome {self.name!r} {self.state}>"


class Run:
    """A run, live or ended. Every property reads the ledger anew; nothing is kept in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def _info(self) -> RunInfo:
        with RunView(self.folder) as view:
            return view.info

    @property
    def id(self) -> str:
        """The run's id, such as `sweep-3`."""
        return self.folder.name

    @property
    def name(self) -> str:
        """The name that it shares with other runs of the same batch."""
        return self._info.name

    @property
    def state(self) -> str:
        """`running`, `finished`, `stopped`, `interrupted`, ..."""
        return self._info.state

    @property
    def reason(self) -> str:
        """Why it is in that state, where there is a reason."""
        return self._info.reason

    @property
    def counts(self) -> dict[str, int]:
        """Jobs in each state; `cached` and `retried` count among them."""
        with RunView(self.folder) as view:
            return dict(view.counts())

    @property
    def exit_code(self) -> int:
        """What the command line would exit with: 0, 1 (failed jobs), 2 (`prepare` failed: nothing ran), 3 (stopped by
        policy), 130 (interrupted)."""
        return exit_code(self.state, self.reason, self.counts)

    def results(self, state: str | None = None, group: str | None = None) -> Iterator[JobOutcome]:
        """The jobs in plan order, a page at a time."""
        with RunView(self.folder) as view:
            for job in view.jobs(state=state, group=group):
                yield JobOutcome(job)

    def job(self, name: str | int) -> JobOutcome:
        """One job, by name or plan number. Raises RunNotFound."""
        with RunView(self.folder) as view:
            return JobOutcome(view.job(name))

    def summary(self) -> dict[str, Any]:
        """Totals, rates and statistics, as in `summary.json`."""
        with RunView(self.folder) as view:
            return summarise(view)

    def export(self, path: str | Path, fmt: str | None = None, *, stable: bool = False, shape: Shape = "run") -> Path:
        """Write the results to a file; the format is `json`, `jsonl`, `csv` or `md`, by default the suffix.

        The shape `files` has one entry a file: file, status, result, processing time in seconds, error.
        """
        path = Path(path)
        with RunView(self.folder) as view:
            write_export(
                view, _format(fmt or path.suffix.lstrip(".").lower() or "json"), path, stable=stable, shape=shape
            )
        return path

    def to_frame(self) -> pd.DataFrame:
        """One row a job as a pandas DataFrame; parameters, metrics and scalar results are columns."""
        from batchmill.api.frames import frame

        return frame(self.results())

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items() if n)
        return f"<Run {self.id!r} {self.state}: {counts}>"


def _format(text: str) -> Format:
    if text not in FORMATS:
        raise UsageError(f"`{text}` is not an export format", hint=f"use one of {', '.join(FORMATS)}")
    return text


def exit_code(state: str, reason: str, counts: dict[str, int]) -> int:
    """The exit code that a run's state means (the signal's own code is known to its driver alone)."""
    if state in (RunState.INTERRUPTED, RunState.CANCELLED):
        return 130
    if state == RunState.STOPPED and reason.startswith(UNPREPARED):
        return 2
    if state == RunState.STOPPED and reason != "selection":
        return 3
    return 1 if counts.get(JobState.FAILED) else 0


def open_run(ref: str = "last", *, home: str | Path | None = None) -> Run:
    """The run of an id (`sweep-3`), a name (its newest run) or `last`. Raises RunNotFound."""
    return Run(find(home_path(home), ref).folder)
