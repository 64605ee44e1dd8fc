"""What is done to runs that exist: finding, listing, cancelling, retrying, deleting, collecting garbage, verifying.

Nothing here makes a home. A live run is changed by its own driver, which is asked through `ledger.requests`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from batchmill.errors import HomeError, RunHeld, RunNotFound, UsageError
from batchmill.ledger import invocation
from batchmill.ledger.home import Home, RunInfo
from batchmill.ledger.invocation import cancel_job, retry_jobs, set_run_state
from batchmill.ledger.lease import Owner, acquire, holder
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.requests import What, send_request, take_requests
from batchmill.ledger.verify import Finding
from batchmill.ledger.verify import verify as verify_run
from batchmill.model.states import JobState, RunState
from batchmill.report.query import RunView
from batchmill.report.summary import rewrite_reports

_HEARING_SECONDS = 5.0  # a driver looks for requests twice a second


def existing_home(home: Path) -> Home:
    """The home, if there is one. Raises RunNotFound where nothing was run yet."""
    if not (home / "runs").is_dir():
        raise RunNotFound(
            f"there are no runs: `{home}` is no home yet",
            hint="`batchmill run FILE` makes it; `--home DIR` names another",
        )
    return Home(home)


def list_runs(home: Path) -> list[RunInfo]:
    """All runs, oldest first; none when there is no home yet."""
    return Home(home).runs() if (home / "runs").is_dir() else []


def damaged_runs(home: Path) -> list[str]:
    """Ids of runs whose ledger cannot be read."""
    if not (home / "runs").is_dir():
        return []
    readable = {info.id for info in list_runs(home)}
    return [paths.id for paths in Home(home).all_paths() if paths.id not in readable]


def find(home: Path, reference: str) -> RunPaths:
    """The run of an id, a name (its newest run) or `last`. Raises RunNotFound."""
    return existing_home(home).find(reference)


def owner_of(paths: RunPaths) -> Owner | None:
    """The process that works on the run now, if any."""
    return holder(paths)


def view_of(home: Path, reference: str) -> RunView:
    """The run, to be read. Raises RunNotFound, LedgerError."""
    return RunView(find(home, reference).folder)


class Change(NamedTuple):
    """What came of a wish: the live driver was `asked`, or so many `jobs` were changed at once."""

    run: str
    asked: bool
    jobs: int = 0


def cancel(home: Path, reference: str, job: str | None = None) -> Change:
    """Cancel a run, or one of its jobs. Raises RunNotFound, and UsageError for a job that is unknown or has ended."""
    paths = find(home, reference)
    number = _pending_job(paths, job) if job is not None else _refuse_ended(paths)

    def change() -> int:
        if number:
            return int(cancel_job(paths, number))
        set_run_state(paths, RunState.CANCELLED, "cancelled")
        return 0

    return _changed(paths, change, "cancel", [number])


def _changed(paths: RunPaths, change: Callable[[], int], what: What, numbers: Sequence[int]) -> Change:
    """Make a change, or have it made by the run's driver; if that leaves without having heard, make it after all."""
    try:
        with acquire(paths):
            return Change(paths.id, False, change())
    except RunHeld:
        files = [send_request(paths, what, number) for number in numbers]
    until = time.monotonic() + _HEARING_SECONDS
    while any(file.exists() for file in files) and time.monotonic() < until:
        if holder(paths) is None:
            take_requests(paths)
            return _changed(paths, change, what, numbers)
        time.sleep(0.02)
    return Change(paths.id, True, len(numbers))


def _pending_job(paths: RunPaths, name: str) -> int:
    with RunView(paths.folder) as view:
        job = view.job(name)
    if job.state != JobState.PENDING:
        raise UsageError(f"job `{job.name}` has ended: {job.state}", hint="`batchmill retry` runs a job again")
    return job.number


def _refuse_ended(paths: RunPaths) -> int:
    with RunView(paths.folder) as view:
        info, pending = view.info, view.counts()[JobState.PENDING]
    if info.state in (RunState.FINISHED, RunState.CANCELLED):
        raise UsageError(f"run `{paths.id}` is {info.state}: there is nothing to cancel", hint=_after(pending))
    return 0


def _after(pending: int) -> str:
    return "`batchmill resume` runs what is left" if pending else "`batchmill rm` deletes a run"


def retry(home: Path, reference: str, names: Sequence[str] = ()) -> Change:
    """Make jobs pending again: those named, or all that failed, quarantined ones too. Does not run them.

    Raises RunNotFound, and UsageError for a job that is unknown or has succeeded.
    """
    paths = find(home, reference)
    numbers = _ended_jobs(paths, names) if names else _failed_jobs(paths)
    if not numbers:
        return Change(paths.id, False)
    return _changed(paths, lambda: retry_jobs(paths, numbers), "retry", numbers)


def _ended_jobs(paths: RunPaths, names: Sequence[str]) -> list[int]:
    with RunView(paths.folder) as view:
        jobs = [view.job(name) for name in names]
    for job in jobs:
        if job.state == JobState.SUCCEEDED:
            hint = "a job runs again when its parameters, its code or its input files change"
            raise UsageError(f"job `{job.name}` has succeeded", hint=hint)
    return [job.number for job in jobs]


def _failed_jobs(paths: RunPaths) -> list[int]:
    with RunView(paths.folder) as view:
        return [number for page in view.pages("number", JobState.FAILED) for (number,) in page]


class SettledCalls(NamedTuple):
    """Calls that were possibly billed and are so no longer: how many, and the micro-cents that they held."""

    run: str
    calls: int
    held: int


def settle_calls(home: Path, reference: str, *, billed: bool = False) -> SettledCalls:
    """Release what is held for calls without an answer, or with `billed` count it as spent.

    Raises RunNotFound, RunHeld.
    """
    from batchmill.driver.lender import settle_day  # it brings the driver, which nothing else here needs

    paths = find(home, reference)
    with acquire(paths):
        settled = SettledCalls(paths.id, *invocation.settle_calls(paths, billed=billed))
        settle_day(paths)
    with RunView(paths.folder) as view:
        rewrite_reports(view)
    return settled


def remove(home: Path, references: Sequence[str]) -> list[str]:
    """Delete runs; returns their ids. All are found before the first is deleted. Raises RunNotFound, RunHeld."""
    place = existing_home(home)
    found = {paths.id: paths for paths in map(place.find, references)}
    with _deleting(home):
        for paths in found.values():
            place.remove(paths)
    return list(found)


def collect_garbage(home: Path) -> int:
    """Delete what no run needs any more; returns the bytes that were freed. Raises LedgerError."""
    with _deleting(home):
        return Home(home).gc() if (home / "runs").is_dir() else 0


@contextmanager
def _deleting(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HomeError(f"nothing can be deleted in the home `{home}`: {error.strerror}") from error


def verify(home: Path, reference: str | None = None) -> dict[str, list[Finding]]:
    """What is wrong with a run, or with each run of the home, by id. Raises RunNotFound."""
    place = existing_home(home)
    found = [place.find(reference)] if reference is not None else place.all_paths()
    return {paths.id: verify_run(paths) for paths in found}
